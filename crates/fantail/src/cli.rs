//! The command line: the task and its settings.
//!
//! Nothing here binds, connects or prints; only `serve` reads a file, its configuration. All faults are told together,
//! in one text.

mod broker_flags;
mod config;
mod health;
mod nats;
mod overview;
mod publish;
mod redis;
mod serve;
mod server;
mod subscribe;
mod token;

use std::ffi::OsString;
use std::iter;

use clap::ArgMatches;
use fantail_config::{Config, Faults, LogFormat, Setting};
use fantail_telemetry::logging;

use crate::health_command::HealthCommand;
use crate::publish_command::Publish;
use crate::subscribe_command::Subscribe;
use crate::token_command::TokenCommand;

pub(crate) enum Task {
    /// Serve streams.
    Serve(Box<Config>),
    /// Print a stream's events.
    Subscribe(Box<Subscribe>),
    /// Publish events.
    Publish(Box<Publish>),
    /// Make a development token, or check one.
    Token(Box<TokenCommand>),
    /// Ask a node whether it is ready.
    Health(Box<HealthCommand>),
    /// Print a text, such as the help, and end.
    Print(String),
}

/// Why there is no task.
pub(crate) struct Refusal {
    /// The message for the person who wrote the arguments, in lines.
    text: String,
    /// How the log would be written.
    format: logging::Format,
}

impl Refusal {
    pub(crate) fn tell(&self) {
        self.text.lines().for_each(|line| logging::write_last(self.format, line));
    }
}

/// A message for a person at a prompt.
impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self { text, format: logging::Format::Text }
    }
}

/// Reads arguments and environment.
pub(crate) fn parse(
    args: impl Iterator<Item = OsString>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Task, Refusal> {
    let args: Vec<OsString> = args.skip(1).collect();
    // Its settings are read in a way of their own, which finds every fault and not the first alone.
    match args.first().and_then(|task| task.to_str()) {
        Some(serve::NAME) => return serve::read(&args[1..], &variables.collect::<Vec<_>>()),
        Some(serve::NAME_IN_OWNCLOUD) => return serve::read_in_owncloud(&args[1..], &variables.collect::<Vec<_>>()),
        Some(config::NAME) if args.get(1).is_some_and(|what| what == config::SHOW) => {
            return config::show(&args[2..], &variables.collect::<Vec<_>>());
        }
        _ => {}
    }
    let matches = match overview::command().try_get_matches_from(iter::once(overview::NAME.into()).chain(args)) {
        Ok(matches) => matches,
        Err(asked) if !asked.use_stderr() => return Ok(Task::Print(asked.render().to_string())),
        Err(error) => return Err(error.render().to_string().into()),
    };
    match matches.subcommand() {
        Some((subscribe::NAME, matches)) => {
            let read = subscribe::read(matches).map_err(|faults| lines(&faults))?;
            Ok(Task::Subscribe(Box::new(read)))
        }
        Some((publish::NAME, matches)) => {
            let read = publish::read(matches).map_err(|faults| lines(&faults))?;
            Ok(Task::Publish(Box::new(read)))
        }
        Some((health::NAME, matches)) => {
            let read = health::read(matches, &variables.collect::<Vec<_>>()).map_err(|faults| lines(&faults))?;
            Ok(Task::Health(Box::new(read)))
        }
        Some((token::NAME, matches)) => {
            let read = token::read(matches, &variables.collect::<Vec<_>>()).map_err(|faults| lines(&faults))?;
            Ok(Task::Token(Box::new(read)))
        }
        Some((overview::VERSION, _)) => Ok(Task::Print(overview::command().render_version())),
        _ => Ok(Task::Print(overview::command().render_help().to_string())),
    }
}

/// The shape of the log's lines.
pub(crate) fn format_of(setting: LogFormat) -> logging::Format {
    match setting {
        LogFormat::Text => logging::Format::Text,
        LogFormat::Json => logging::Format::Json,
    }
}

/// Faults as lines.
fn lines(faults: &Faults) -> String {
    format!("{faults}\n")
}

/// The text of an argument, if it was given.
fn text<'a>(matches: &'a ArgMatches, id: &str) -> Option<&'a str> {
    matches.get_one::<String>(id).map(String::as_str)
}

/// Every text that was given for an argument.
fn texts<'a>(matches: &'a ArgMatches, id: &str) -> impl Iterator<Item = &'a str> {
    matches.get_many::<String>(id).into_iter().flatten().map(String::as_str)
}

/// The settings among the arguments of a task that is no node, as they were written: for the parser of all settings.
fn given(matches: &ArgMatches, settings: impl Iterator<Item = &'static Setting>) -> Vec<OsString> {
    let mut flags = Vec::new();
    for setting in settings {
        for value in matches.get_many::<OsString>(setting.key).into_iter().flatten() {
            let mut flag = OsString::from(format!("{}=", setting.flag()));
            flag.push(value);
            flags.push(flag);
        }
    }
    flags
}
