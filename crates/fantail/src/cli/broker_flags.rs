//! The settings of a broker as flags of a command that is no node: the same names, rules and messages.
//!
//! Secrets come from files here: every user of the machine can see a flag.

use clap::{Arg, ArgMatches};
use fantail_config::{Config, Faults, Parsed, SETTINGS, Setting, clap_args, parse_flags, resolve};

use super::given;

/// Settings that begin alike, less those that are for nodes alone.
#[derive(Clone, Copy)]
pub(super) struct BrokerFlags {
    pub(super) prefix: &'static str,
    pub(super) for_nodes: &'static [&'static str],
}

impl BrokerFlags {
    /// The flags.
    pub(super) fn args(self) -> Vec<Arg> {
        let is_of_broker = |arg: &Arg| self.settings().any(|setting| arg.get_id() == setting.key);
        let explained = |arg: Arg| {
            let doc = self.settings().find(|setting| arg.get_id() == setting.key).map_or("", |setting| setting.doc);
            // The whole help names a variable, but only a node reads variables.
            arg.help(doc)
        };
        clap_args().into_iter().filter(is_of_broker).map(explained).collect()
    }

    /// The settings in the flags, if any is given.
    pub(super) fn read(self, matches: &ArgMatches, faults: &mut Faults) -> Option<Config> {
        let flags = given(matches, self.settings());
        if flags.is_empty() {
            return None;
        }
        let config = match parse_flags(&flags) {
            Parsed::Run { flags, .. } => resolve(&flags, &[], &|_| Ok(String::new())),
            Parsed::Text(_) => return None,
        };
        let tell = |found: Faults| {
            found.iter().for_each(|fault| faults.push(fault.location.clone(), fault.message.clone()));
        };
        config.map_err(tell).ok()
    }

    fn settings(self) -> impl Iterator<Item = &'static Setting> {
        let is_for_publishers = move |key: &str| key.starts_with(self.prefix) && !self.for_nodes.contains(&key);
        SETTINGS.iter().filter(move |setting| is_for_publishers(setting.key))
    }
}
