//! The settings of Redis as flags of a command that is no node.

use clap::{Arg, ArgMatches};
use fantail_config::{Faults, Location};
use fantail_feed::RedisSettings;

use super::broker_flags::BrokerFlags;
use crate::redis_settings::redis_settings;

// Only nodes decide how much Redis keeps and which lanes are served.
const FLAGS: BrokerFlags = BrokerFlags {
    prefix: "redis_",
    for_nodes: &[
        "redis_password",
        "redis_sentinel_password",
        "redis_log_events_max",
        "redis_log_age_max",
        "redis_log_lanes",
    ],
};

/// The flags.
pub(super) fn args() -> Vec<Arg> {
    FLAGS.args()
}

/// The settings in the flags, if any is given.
pub(super) fn read(matches: &ArgMatches, faults: &mut Faults) -> Option<RedisSettings> {
    let config = FLAGS.read(matches, faults)?;
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
