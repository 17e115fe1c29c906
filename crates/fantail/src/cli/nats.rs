//! The settings of NATS as flags of a command that is no node.

use clap::{Arg, ArgMatches};
use fantail_config::{Faults, Location};
use fantail_feed::NatsSettings;

use super::broker_flags::BrokerFlags;
use crate::broker::nats_settings;

const FLAGS: BrokerFlags = BrokerFlags { prefix: "nats_", for_nodes: &["nats_password"] };

/// The flags.
pub(super) fn args() -> Vec<Arg> {
    FLAGS.args()
}

/// The settings in the flags, if any is given.
pub(super) fn read(matches: &ArgMatches, faults: &mut Faults) -> Option<NatsSettings> {
    let config = FLAGS.read(matches, faults)?;
    let in_url = || Location::Flag("--nats-url".into());
    match nats_settings(&config) {
        Ok(Some(settings)) => {
            // The error names the file, and the setting that names it.
            settings.check_files().map_err(|error| faults.push(Location::CommandLine, error.to_string())).ok()?;
            Some(settings)
        }
        // For example an empty variable of a shell: the event must not go elsewhere unnoticed.
        Ok(None) => {
            faults.push(in_url(), "names no nats server; give an address, or leave out all that is about nats");
            None
        }
        Err(error) => {
            faults.push(in_url(), error.to_string());
            None
        }
    }
}
