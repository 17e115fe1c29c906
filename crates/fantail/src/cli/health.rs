//! `fantail health`: its arguments.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use fantail_config::{
    Config, Faults, ListenAddress, Location, Parsed, SETTINGS, Setting, clap_args, parse_flags, resolve,
};

use super::{given, server, text};
use crate::health_command::{Asked, HealthCommand};
use crate::http_client::ServerUrl;

pub(super) const NAME: &str = "health";

const AFTER_HELP: &str = "\
Examples:
  fantail health
  fantail health --live --health-listen unix:/run/fantail/health.sock
  fantail health --url https://node-7.example:8081 --ca /etc/fantail/ca.crt

For images without a shell: HEALTHCHECK CMD [\"/usr/bin/fantail\", \"health\"]. Without --url it finds the node by the settings \
that the node itself reads, from file, variables and flags: health_listen if there is one, else internal_listen.

Exit status: 0 ready (with --live: alive), 1 not, 2 wrong usage.";

/// The sub-command.
pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Ask a node whether it is ready")
        .after_help(AFTER_HELP)
        .arg(
            Arg::new("live")
                .long("live")
                .action(ArgAction::SetTrue)
                .help("Ask whether the process lives (/livez), and not whether it is ready for clients (/readyz)"),
        )
        .arg(Arg::new("url").long("url").value_name("URL").help("The node's health or internal listener"))
        .args(server::tls_args())
        .args(clap_args().into_iter().filter(|arg| settings().any(|setting| arg.get_id() == setting.key)))
}

/// The settings that say where a node tells its health.
fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| ["config", "preset", "health_listen", "internal_listen"].contains(&setting.key))
}

/// The arguments, or all of their faults.
pub(super) fn read(matches: &ArgMatches, variables: &[(OsString, OsString)]) -> Result<HealthCommand, Faults> {
    let path = if matches.get_flag("live") { "/livez" } else { "/readyz" };
    let mut faults = Faults::default();
    let asked = if text(matches, "url").is_some() {
        server::read(matches, (Location::Flag("--url".into()), ""), |_| Ok(()), &mut faults).map(Asked::Server)
    } else {
        match node_of(&config(matches, variables)?) {
            Ok(Found::Socket(path)) => Some(Asked::Socket(path)),
            Ok(Found::Url(url)) => {
                server::of_url(url, matches, (Location::CommandLine, ""), &mut faults).map(Asked::Server)
            }
            Err(reason) => {
                faults.push(Location::CommandLine, reason);
                None
            }
        }
    };
    asked.map(|asked| HealthCommand { asked, path }).ok_or(faults)
}

/// The place where a node tells its health.
enum Found {
    Url(ServerUrl),
    Socket(PathBuf),
}

/// The settings of the node's own listeners. Without a file the others do not matter: the node may have them as flags, which are
/// not seen here.
fn config(matches: &ArgMatches, variables: &[(OsString, OsString)]) -> Result<Config, Faults> {
    let mut flags = given(matches, settings());
    let mut variables = variables.to_vec();
    let is_named = |key: &str| {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).expect("a setting");
        matches.contains_id(key) || variables.iter().any(|(name, _)| *name == *setting.variable())
    };
    if !is_named("config") && !is_named("preset") {
        let internal: Vec<_> = SETTINGS.iter().filter(|it| it.group == "internal").map(Setting::variable).collect();
        variables.retain(|(name, _)| internal.iter().any(|variable| *name == **variable));
        flags.push("--access=open".into());
    }
    match parse_flags(&flags) {
        Parsed::Run { flags, .. } => resolve(&flags, &variables, &|path| std::fs::read_to_string(path)),
        Parsed::Text(_) => unreachable!("settings alone ask for no help"),
    }
}

/// The node that runs with these settings on this machine.
fn node_of(config: &Config) -> Result<Found, String> {
    let internal = &config.internal;
    let is_tls = internal.health_listen.is_none() && internal.internal_tls_cert.is_some();
    match internal.health_listen.as_ref().unwrap_or(&internal.internal_listen) {
        ListenAddress::Unix(_) if is_tls => Err("a unix socket with TLS cannot be asked; set health_listen".to_owned()),
        ListenAddress::Unix(path) => Ok(Found::Socket(path.clone())),
        ListenAddress::Ip(address) => {
            let loopback: IpAddr =
                if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            let ip = if address.ip().is_unspecified() { loopback } else { address.ip() };
            let scheme = if is_tls { "https" } else { "http" };
            ServerUrl::parse(&format!("{scheme}://{}", SocketAddr::new(ip, address.port()))).map(Found::Url)
        }
    }
}
