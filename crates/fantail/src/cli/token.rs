//! `fantail token`: its arguments.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use fantail_access::KeyAlgorithm;
use fantail_config::{
    AccessMode, Config, Faults, Location, Parsed, SETTINGS, Setting, clap_args, parse_duration, parse_flags, resolve,
};
use serde_json::{Map, Value};

use super::{given, text, texts};
use crate::access::{check_key_files, read_file};
use crate::token_command::{Inspect, Mint, TokenCommand};

pub(super) const NAME: &str = "token";

const MINT: &str = "mint";
const INSPECT: &str = "inspect";

/// A token that lives longer is no development token.
const LIFE_MAX: Duration = Duration::from_hours(24 * 366);

const MINT_HELP: &str = "\
Examples:
  openssl rand -hex 32 > key
  fantail serve --access token --token-keys HS256:key --channel-templates 'user:{sub}'
  fantail token mint --key-file key --algorithm HS256 --sub u1 --channels news
  fantail token mint --key-file private.pem --algorithm ES256 --kid main --sub u1 --claim 'org={\"id\":7}'

In production the login of your application makes tokens.

Exit status: 0 made, 1 the key cannot sign, 2 wrong usage.";

const INSPECT_HELP: &str = "\
Examples:
  fantail token inspect --config /etc/fantail/fantail.toml < token
  fantail token inspect --token-keys HS256:key --channel-templates 'user:{sub}' < token

Prints header, claims, and the channels that the token gives. If the server would refuse it, says by which check, and why. \
Settings come from the file, from variables and from flags, as for fantail serve; without any, access is token. A token \
among the arguments can be seen by other users of the machine.

Exit status: 0 good, 1 refused, 2 wrong usage.";

/// The sub-command.
pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Make a token for development, or say what the server makes of one")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([mint_command(), inspect_command()])
}

fn mint_command() -> Command {
    let valued = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    Command::new(MINT)
        .about("Make a token for development")
        .after_help(MINT_HELP)
        .arg(valued("key-file", "FILE").required(true).help(
            "File with the secret for HS256, HS384 and HS512, or with the private key in PEM form for the others",
        ))
        .arg(
            valued("algorithm", "ALGORITHM").required(true).help("The algorithm, such as HS256, ES256, RS256 or EdDSA"),
        )
        .arg(valued("kid", "NAME").help("The key's name, for a server that knows several keys"))
        .arg(valued("sub", "SUBJECT").help("The reader"))
        .arg(
            valued("channels", "CHANNEL")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("Channels and * patterns, for the claim channels. May be repeated"),
        )
        .arg(
            valued("claim", "NAME=VALUE")
                .action(ArgAction::Append)
                .help("Another claim; the value is JSON if it can be read so, else text. May be repeated"),
        )
        .arg(valued("expires-in", "DURATION").default_value("1h").help("The token's life; it has an end in any case"))
}

fn inspect_command() -> Command {
    Command::new(INSPECT)
        .about("Say what the server makes of a token, and why")
        .after_help(INSPECT_HELP)
        .arg(Arg::new("token").value_name("TOKEN").help("The token; from standard input if it is - or missing"))
        .args(clap_args().into_iter().filter(|arg| settings().any(|setting| arg.get_id() == setting.key)))
}

/// The settings that decide about a token.
fn settings() -> impl Iterator<Item = &'static Setting> {
    let is_asked = |key: &str| key.starts_with("origin_") || key == "stream_lifetime_max";
    let decides = move |setting: &&Setting| setting.group == "access" && !is_asked(setting.key);
    SETTINGS.iter().filter(move |setting| decides(setting) || ["config", "preset"].contains(&setting.key))
}

/// The arguments, or all of their faults.
pub(super) fn read(matches: &ArgMatches, variables: &[(OsString, OsString)]) -> Result<TokenCommand, Faults> {
    match matches.subcommand() {
        Some((MINT, matches)) => mint(matches).map(TokenCommand::Mint),
        Some((_, matches)) => inspect(matches, variables).map(|inspect| TokenCommand::Inspect(Box::new(inspect))),
        None => unreachable!("one of the two is required"),
    }
}

fn mint(matches: &ArgMatches) -> Result<Mint, Faults> {
    let mut faults = Faults::default();
    let at = |flag: &str| Location::Flag(format!("--{flag}"));
    let (name, path) = (text(matches, "algorithm").unwrap_or_default(), text(matches, "key-file").unwrap_or_default());
    let algorithm: Result<KeyAlgorithm, _> = name.parse();
    let algorithm = algorithm.map_err(|error| faults.push(at("algorithm"), error.to_string())).ok();
    let key = read_file(Path::new(path));
    let key = key.map_err(|error| faults.push(at("key-file"), format!("{path}: {error:#}"))).ok();
    let life = text(matches, "expires-in").unwrap_or_default();
    let life = parse_duration(life, Duration::from_secs(1), LIFE_MAX);
    let life = life.map_err(|reason| faults.push(at("expires-in"), reason)).ok();
    let claims = claims(matches).map_err(|reason| faults.push(at("claim"), reason)).ok();
    match (algorithm, key, life, claims) {
        (Some(algorithm), Some(key), Some(life), Some(claims)) => {
            Ok(Mint { algorithm, id: text(matches, "kid").map(str::to_owned), key, claims, life })
        }
        _ => Err(faults),
    }
}

fn claims(matches: &ArgMatches) -> Result<Map<String, Value>, String> {
    let mut claims = Map::new();
    if let Some(subject) = text(matches, "sub") {
        claims.insert("sub".into(), subject.into());
    }
    let channels: Vec<_> = texts(matches, "channels").collect();
    if !channels.is_empty() {
        claims.insert("channels".into(), channels.into());
    }
    for claim in texts(matches, "claim") {
        let (name, value) = claim.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            format!("{claim:?} is no claim; write name=value, such as org=o1 or 'groups=[\"a\",\"b\"]'")
        })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        if claims.insert(name.to_owned(), value).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    Ok(claims)
}

fn inspect(matches: &ArgMatches, variables: &[(OsString, OsString)]) -> Result<Inspect, Faults> {
    let mut faults = Faults::default();
    let config = config(matches, variables)?;
    let mode = config.access.access.unwrap_or(AccessMode::Open);
    if !mode.checks_tokens() {
        let told = "checks no token with these settings; access must be token or token+origin for that";
        faults.push(Location::Settings, format!("the server {told}"));
        return Err(faults);
    }
    if let Err(error) = check_key_files(&config.access) {
        faults.push(Location::Settings, format!("{error:#}"));
        return Err(faults);
    }
    let token = text(matches, "token").filter(|token| *token != "-").map(str::to_owned);
    Ok(Inspect { access: config.access, token })
}

/// The settings as a server would have them. Where nothing says who may read, it is those with a token.
fn config(matches: &ArgMatches, variables: &[(OsString, OsString)]) -> Result<Config, Faults> {
    let mut flags = given(matches, settings());
    let is_given = |key: &str| {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).expect("a setting");
        matches.contains_id(key) || variables.iter().any(|(name, _)| *name == *setting.variable())
    };
    if !["access", "config", "preset"].into_iter().any(is_given) {
        flags.push("--access=token".into());
    }
    match parse_flags(&flags) {
        Parsed::Run { flags, .. } => resolve(&flags, variables, &|path| std::fs::read_to_string(path)),
        Parsed::Text(_) => unreachable!("no setting is called help or version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_claims(args: &[&str]) -> Result<Value, String> {
        let args = [&["--key-file", "k", "--algorithm", "HS256"], args].concat();
        let matches = mint_command().no_binary_name(true).try_get_matches_from(args).expect("arguments");
        claims(&matches).map(Value::Object)
    }

    #[test]
    fn claims_are_json_where_that_can_be_read_and_text_elsewhere() {
        let read = read_claims(&[
            "--sub=42",
            "--channels=a,b*",
            "--channels=c",
            "--claim=org={\"id\":7}",
            "--claim=name=Ann=Bee",
            "--claim=n=1",
            "--claim=t=\"1\"",
        ]);
        let expected = serde_json::json!(
            {"sub": "42", "channels": ["a", "b*", "c"], "org": {"id": 7}, "name": "Ann=Bee", "n": 1, "t": "1"}
        );
        assert_eq!(read, Ok(expected));
        for (args, reason) in [(&["--claim=x"][..], "is no claim"), (&["--sub=a", "--claim=sub=b"], "given twice")] {
            assert!(read_claims(args).expect_err("a fault").contains(reason), "{args:?}");
        }
    }
}
