//! The settings of Redis as flags of a command that is no node: the same names, rules and messages.
//!
//! Passwords come from files or in the URL here: every user of the machine can see a flag.

use clap::{Arg, ArgMatches};
use fantail_config::{Faults, Location, Parsed, SETTINGS, Setting, clap_args, parse_flags, resolve};
use fantail_feed::RedisSettings;

use super::given;
use crate::redis_settings::redis_settings;

/// The flags.
pub(super) fn args() -> Vec<Arg> {
    let of_redis = |arg: &Arg| settings().any(|setting| arg.get_id() == setting.key);
    let explained = |arg: Arg| {
        let doc = settings().find(|setting| arg.get_id() == setting.key).map_or("", |setting| setting.doc);
        // The whole help names a variable, but only a node reads variables.
        arg.help(doc)
    };
    clap_args().into_iter().filter(of_redis).map(explained).collect()
}

/// The settings in the flags, if any is given.
pub(super) fn read(matches: &ArgMatches, faults: &mut Faults) -> Option<RedisSettings> {
    let flags = given(matches, settings());
    if flags.is_empty() {
        return None;
    }
    let config = match parse_flags(&flags) {
        Parsed::Run { flags, .. } => resolve(&flags, &[], &|_| Ok(String::new())),
        Parsed::Text(_) => return None,
    };
    let config = match config {
        Ok(config) => config,
        Err(found) => {
            found.iter().for_each(|fault| faults.push(fault.location.clone(), fault.message.clone()));
            return None;
        }
    };
    let in_url = || Location::Flag("--redis-url".into());
    match redis_settings(&config) {
        Ok(Some(settings)) => {
            // The error names the file, and the setting that names it.
            settings.check_files().map_err(|error| faults.push(Location::CommandLine, error.to_string())).ok()?;
            Some(settings)
        }
        // For example an empty variable of a shell: the event must not go elsewhere unnoticed.
        Ok(None) => {
            faults.push(in_url(), "names no redis; give an address, or leave out all that is about redis");
            None
        }
        Err(error) => {
            faults.push(in_url(), error.to_string());
            None
        }
    }
}

fn settings() -> impl Iterator<Item = &'static Setting> {
    // Only nodes decide how much Redis keeps and which lanes are served.
    let is_for_nodes = |key: &str| {
        let of_log = ["redis_log_events_max", "redis_log_age_max", "redis_log_lanes"];
        matches!(key, "redis_password" | "redis_sentinel_password") || of_log.contains(&key)
    };
    SETTINGS.iter().filter(move |setting| setting.key.starts_with("redis_") && !is_for_nodes(setting.key))
}
