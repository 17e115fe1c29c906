//! `fantail serve`: settings from flags, environment and file, checked by every part that uses them.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{ArgMatches, Command};
use fantail_config::{Config, Faults, Location, Parsed, RedisUrl, Source, log_format, parse_flags_of, resolve};
use fantail_feed::RedisSettings;

use super::{Refusal, Task, format_of, lines};
use crate::access::check_key_files;
use crate::broker::Broker;
use crate::internal_access::InternalAccess;
use crate::tls;

pub(super) const NAME: &str = "serve";
/// The name of the same task in ownCloud's own service.
pub(super) const NAME_IN_OWNCLOUD: &str = "server";

const REDIS_URL: &str = "redis_url";

/// The sub-command with all settings.
pub(super) fn command() -> Command {
    let settings = fantail_config::command().name(NAME).display_name("fantail").bin_name("fantail serve");
    settings.about("Hold streams and hand them their events")
}

/// The same with the settings of ownCloud's service, so that an image can take the place of its image.
pub(super) fn command_in_owncloud() -> Command {
    command().name(NAME_IN_OWNCLOUD).bin_name("fantail server").about("The same as serve --preset owncloud")
}

/// Reads the arguments behind the task's name.
pub(super) fn read(args: &[OsString], variables: &[(OsString, OsString)]) -> Result<Task, Refusal> {
    read_with(&command(), args, variables, |config| Task::Serve(Box::new(config)))
}

/// The same for ownCloud's name of the task.
pub(super) fn read_in_owncloud(args: &[OsString], variables: &[(OsString, OsString)]) -> Result<Task, Refusal> {
    let names_it = args.iter().any(|arg| arg.to_string_lossy().split('=').next() == Some("--preset"));
    let preset = (!names_it).then(|| OsString::from("--preset=owncloud"));
    let args: Vec<_> = preset.into_iter().chain(args.iter().cloned()).collect();
    read_with(&command_in_owncloud(), &args, variables, |config| Task::Serve(Box::new(config)))
}

/// Reads and checks all settings, and makes a task of them.
pub(super) fn read_with(
    command: &Command,
    args: &[OsString],
    variables: &[(OsString, OsString)],
    task: impl FnOnce(Config) -> Task,
) -> Result<Task, Refusal> {
    let (flags, matches) = match parse_flags_of(command, args) {
        Parsed::Text(text) => return Ok(Task::Print(text)),
        Parsed::Run { flags, matches } => (flags, matches),
    };
    let read_file = |path: &Path| std::fs::read_to_string(path);
    let resolved = resolve(&flags, variables, &read_file);
    let mut faults = resolved.as_ref().err().cloned().unwrap_or_default();
    check_redis_urls(&matches, variables, resolved.as_ref().ok(), &mut faults);
    if let Ok(config) = &resolved {
        check_broker(config, &mut faults);
        let tokens = InternalAccess::load(&config.internal.internal_tokens).map(drop);
        let tls = tls::check(&config.tls, &config.http2, &config.internal);
        for error in [check_key_files(&config.access), tokens, tls].into_iter().filter_map(Result::err) {
            faults.push(Location::Settings, format!("{error:#}"));
        }
    }
    match resolved {
        Ok(config) if faults.is_empty() => Ok(task(config)),
        _ => Err(Refusal { text: lines(&faults), format: format_of(log_format(&flags, variables, &read_file)) }),
    }
}

/// The Redis client reads more of a URL than the settings do. Flag and variable are checked even beside other faults,
/// so that all are told at once. The value in a file is known only without faults.
fn check_redis_urls(
    matches: &ArgMatches,
    variables: &[(OsString, OsString)],
    config: Option<&Config>,
    faults: &mut Faults,
) {
    let mut check = |place: Location, url: &str| {
        // The settings have refused it already, with a better message.
        if RedisUrl::parse(url).is_ok_and(|url| url.names_server())
            && let Err(error) = RedisSettings::parse(url)
        {
            faults.push(place, error.to_string());
        }
    };
    let in_flags = matches.try_get_many::<OsString>(REDIS_URL).ok().flatten().into_iter().flatten();
    for url in in_flags.filter_map(|url| url.to_str()) {
        check(Location::Flag("--redis-url".into()), url);
    }
    let variable = "FANTAIL_REDIS_URL";
    for (_, url) in variables.iter().filter(|(name, _)| name == OsStr::new(variable)) {
        check(Location::Variable(variable.into()), url.to_str().unwrap_or_default());
    }
    if let Some(config) = config
        && let Some(url) = &config.feed.redis_url
        && let Some(path) = &config.file.config
        && config.effective().iter().any(|setting| setting.key == REDIS_URL && setting.source == Source::File)
    {
        check(Location::File { path: path.display().to_string(), line: line_of(path, REDIS_URL) }, url.expose());
    }
}

/// The line that begins with a key; the file has just been read and its keys stand at the top level.
fn line_of(path: &Path, key: &str) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().position(|line| line.trim_start().starts_with(key)).map_or(1, |index| index + 1)
}

/// Refuses missing files before the start. Otherwise the node would start, fail at its first connection, and never be
/// ready.
fn check_broker(config: &Config, faults: &mut Faults) {
    let error = match Broker::of(config) {
        Ok(broker) => broker.and_then(|broker| broker.check_files().err()),
        // A bad address of Redis has been told already, with its place.
        Err(_) if config.nats.nats_url.is_empty() => None,
        Err(error) => Some(error),
    };
    if let Some(error) = error {
        faults.push(Location::Settings, format!("{error:#}"));
    }
}
