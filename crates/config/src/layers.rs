//! Defaults, file, environment and flags, laid over each other in this order and then checked.
//!
//! Every given value is read, even if a later layer hides it: a wrong value that is hidden today is in force tomorrow.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::available_parallelism;

use crate::choices::{ControlThread, LogFormat, Preset};
use crate::fault::{Faults, Location};
use crate::flags::Flags;
use crate::form::Form;
use crate::forms::words::Word;
use crate::settings::{Config, FILE_KEY, PRESET_KEY, SETTINGS, Setting};
use crate::{access_rules, environment, file, listener_rules, nats_rules, preset, redis_rules};

/// One setting as one layer gave it.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) setting: &'static Setting,
    /// More than one only for a list.
    pub(crate) texts: Vec<String>,
    pub(crate) place: Location,
}

/// The layer that decided a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// No layer gave a value.
    Default,
    /// The settings of the program in whose place this one stands.
    Preset,
    /// The configuration file.
    File,
    /// An environment variable.
    Env,
    /// The command line.
    Flag,
}

/// A setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The setting's key.
    pub key: &'static str,
    /// Its value in the form an operator would write it, secrets hidden, empty for none.
    pub value: String,
    /// The layer that decided it.
    pub source: Source,
    /// The place in that layer; none for a default.
    pub place: Option<String>,
}

/// The form of log lines, as far as it is known while other settings, or this one itself, may be at fault.
pub fn log_format(
    flags: &Flags,
    variables: &[(OsString, OsString)],
    read_file: &dyn Fn(&Path) -> io::Result<String>,
) -> LogFormat {
    lay(flags, variables, read_file).config.logging.log_format
}

/// Lays all layers over the defaults. The environment comes whole, as `std::env::vars_os` gives it, because unknown
/// variables are faults too; `read_file` is asked for the file of the settings, and for those of a preset.
pub fn resolve(
    flags: &Flags,
    variables: &[(OsString, OsString)],
    read_file: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Config, Faults> {
    lay(flags, variables, read_file).finish()
}

fn lay(flags: &Flags, variables: &[(OsString, OsString)], read_file: &dyn Fn(&Path) -> io::Result<String>) -> Layers {
    let (from_variables, variable_faults) = environment::read(variables);
    let last = |key: &str| flags.given.iter().rev().chain(from_variables.iter().rev()).find(|it| it.setting.key == key);
    let (from_file, file_faults) = last(FILE_KEY).map_or_else(Default::default, |given| load_file(given, read_file));
    let is_given = |key: &str| last(key).is_some() || from_file.iter().any(|given| given.setting.key == key);
    let preset = last(PRESET_KEY).and_then(|given| Word::<Preset>::new().parse(&given.texts.concat()).ok());
    let (from_preset, preset_faults) =
        preset.map_or_else(Default::default, |preset| preset::read(preset, variables, read_file, &is_given));

    let mut layers = Layers::over_defaults();
    layers.faults.extend(preset_faults);
    layers.apply(from_preset, Source::Preset);
    layers.faults.extend(file_faults);
    layers.apply(from_file, Source::File);
    layers.faults.extend(variable_faults);
    layers.apply(from_variables, Source::Env);
    layers.faults.extend(flags.faults.clone());
    layers.apply(flags.given.clone(), Source::Flag);
    layers
}

impl Config {
    /// Every setting as it is in force, in the order of the table, with secrets hidden.
    pub fn effective(&self) -> Vec<Effective> {
        let rows = SETTINGS.iter().zip(&self.sources);
        let effective = |(setting, (source, place)): (&Setting, &(Source, Option<Location>))| {
            let place = place.as_ref().map(ToString::to_string);
            Effective { key: setting.key, value: (setting.show)(self), source: *source, place }
        };
        rows.map(effective).collect()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Preset => "preset",
            Self::File => "file",
            Self::Env => "env",
            Self::Flag => "flag",
        })
    }
}

fn load_file(given: &Given, read_file: &dyn Fn(&Path) -> io::Result<String>) -> (Vec<Given>, Faults) {
    let path = given.texts.concat();
    if path.is_empty() {
        return Default::default();
    }
    match read_file(Path::new(&path)) {
        Ok(text) => file::read(&path, &text),
        Err(error) => {
            let mut faults = Faults::default();
            faults.push(given.place.clone(), format!("cannot read {path}: {error}"));
            (Vec::new(), faults)
        }
    }
}

/// The config under construction, and the state of each setting so far.
struct Layers {
    config: Config,
    faults: Faults,
    /// The place of each value in force; a setting at its default has none.
    places: HashMap<&'static str, Location>,
    /// Settings with a bad value somewhere. Rules about them are not checked, since the value in force is not the one
    /// that was meant.
    broken: Vec<&'static str>,
}

impl Layers {
    fn over_defaults() -> Self {
        Self { config: Config::defaults(), faults: Faults::default(), places: HashMap::new(), broken: Vec::new() }
    }

    fn apply(&mut self, layer: Vec<Given>, source: Source) {
        for Given { setting, texts, place } in layer {
            match setting.apply(&mut self.config, &texts) {
                Ok(()) => self.note(setting, place, source),
                Err(message) => {
                    let message = match place {
                        // Our variables and flags name their setting; a line does not, and no other program's name.
                        Location::File { .. } | Location::Preset(_) => format!("{}: {message}", setting.key),
                        _ if source == Source::Preset => format!("{}: {message}", setting.key),
                        _ => message,
                    };
                    self.faults.push(place, message);
                    self.broken.push(setting.key);
                }
            }
        }
    }

    fn note(&mut self, setting: &'static Setting, place: Location, source: Source) {
        let row = SETTINGS.iter().position(|row| row.key == setting.key).expect("a given setting is a row");
        self.config.sources[row] = (source, Some(place.clone()));
        self.places.insert(setting.key, place);
    }

    fn finish(mut self) -> Result<Config, Faults> {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        let engine = &mut self.config.engine;
        if engine.workers == 0 {
            engine.workers = cores.min(256);
        }
        if engine.control_thread == ControlThread::Auto {
            engine.control_thread = if cores > engine.workers { ControlThread::Own } else { ControlThread::Shared };
        }
        let of_brokers = redis_rules::RULES.into_iter().chain(nats_rules::RULES);
        for rule in RULES.into_iter().chain(listener_rules::RULES).chain(of_brokers).chain(access_rules::RULES) {
            self.check(rule);
        }
        self.check_channels();
        if self.faults.is_empty() { Ok(self.config) } else { Err(self.faults) }
    }

    fn check(&mut self, rule: Rule) {
        let &[key, other, ..] = rule.keys else { unreachable!("a rule is about two settings at least") };
        if rule.keys.iter().any(|key| self.broken.contains(key)) || (rule.holds)(&self.config) {
            return;
        }
        // Blame the one that was written; if both were, the first.
        let blamed = if self.places.contains_key(key) { key } else { other };
        let place = self.places.get(blamed).cloned().unwrap_or(Location::Settings);
        self.faults.push(place, format!("{} {} {}", self.told(key), rule.must, self.told(other)));
    }

    /// The rule of `log_bytes_max` also holds where a channel has its own.
    fn check_channels(&mut self) {
        if ["channel", "event_bytes_max", "logs_bytes_max"].iter().any(|key| self.broken.contains(key)) {
            return;
        }
        let (least, most) = (self.config.limits.event_bytes_max, self.config.logs.logs_bytes_max);
        let rules = self.config.channels.channel.iter();
        let sizes = rules.filter_map(|rule| Some((rule.pattern.as_str().to_owned(), rule.log_bytes_max?)));
        for (pattern, bytes) in sizes.collect::<Vec<_>>() {
            let (must, other) = match bytes {
                _ if bytes < least => ("smaller", "event_bytes_max"),
                _ if bytes > most => ("larger", "logs_bytes_max"),
                _ => continue,
            };
            let place = self.places.get("channel").cloned().unwrap_or(Location::Settings);
            let told = format!("log_bytes_max of channel {pattern:?} must not be {must} than {}", self.told(other));
            self.faults.push(place, told);
        }
    }

    /// `drain_window (10s, default)`.
    fn told(&self, key: &str) -> String {
        let setting = Setting::find(key).expect("a rule names settings of the table");
        let place = self.places.get(key).map_or_else(|| "default".to_owned(), ToString::to_string);
        let value = (setting.show)(&self.config);
        if value.is_empty() { format!("{key} (none, {place})") } else { format!("{key} ({value}, {place})") }
    }
}

/// A rule between two settings.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    /// The two, then others that it looks at: if one of them could not be read there is no verdict.
    pub(crate) keys: &'static [&'static str],
    pub(crate) must: &'static str,
    pub(crate) holds: fn(&Config) -> bool,
}

const RULES: [Rule; 7] = [
    Rule {
        keys: &["cors_credentials", "cors_origin"],
        must: "needs exact origins in",
        holds: |config| {
            !config.cors.cors_credentials || !matches!(config.cors.cors_origin.join(",").as_str(), "" | "*")
        },
    },
    Rule {
        keys: &["drain_deadline", "drain_window"],
        must: "must not be shorter than",
        holds: |config| config.drain.drain_deadline >= config.drain.drain_window,
    },
    Rule {
        keys: &["redis_log", "redis_url", "redis_sentinels", "redis_cluster_nodes"],
        must: "must not be on without",
        holds: |config| !config.feed.redis_log || redis_rules::is_redis(config),
    },
    Rule {
        keys: &["redis_log_lanes", "redis_log"],
        must: "take effect only with",
        holds: |config| config.feed.redis_log_lanes.is_empty() || config.feed.redis_log,
    },
    // An event that fits into no log would be lost to every client that is not ready at once.
    Rule {
        keys: &["log_bytes_max", "event_bytes_max"],
        must: "must not be smaller than",
        holds: |config| config.logs.log_bytes_max >= config.limits.event_bytes_max,
    },
    Rule {
        keys: &["logs_bytes_max", "log_bytes_max"],
        must: "must not be smaller than",
        holds: |config| config.logs.logs_bytes_max >= config.logs.log_bytes_max,
    },
    Rule {
        keys: &["head_bytes_max", "uri_bytes_max"],
        must: "must not be smaller than",
        holds: |config| config.limits.head_bytes_max >= config.limits.uri_bytes_max,
    },
];
