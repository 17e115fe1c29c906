//! The command line: which task, with which settings.

use std::ffi::OsString;
use std::path::Path;

use clap::Command;
use fantail_config::{Config, Faults, LogFormat, Logging, Parsed, clap_args, parse_flags_of, resolve};
use fantail_telemetry::logging;

/// What the command line asks for.
pub(crate) enum Task {
    /// Serve streams.
    Serve(Box<Config>),
    /// Print a text, such as the help, and end.
    Print(String),
}

/// Reads arguments and environment, without touching anything else than the configuration file. All faults at once.
pub(crate) fn parse(
    args: impl Iterator<Item = OsString>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Task, Faults> {
    let args: Vec<OsString> = args.skip(1).collect();
    let serve = Command::new("fantail serve").about("Serve streams").args(clap_args());
    match args.first().and_then(|task| task.to_str()) {
        Some("serve") => {
            let variables: Vec<_> = variables.collect();
            match parse_flags_of(&serve, &args[1..]) {
                Parsed::Text(text) => Ok(Task::Print(text)),
                Parsed::Run { flags, .. } => {
                    let read_file = |path: &Path| std::fs::read_to_string(path);
                    Ok(Task::Serve(Box::new(resolve(&flags, &variables, &read_file)?)))
                }
            }
        }
        _ => Ok(Task::Print("usage: fantail serve\n".to_owned())),
    }
}

/// Starts the log as configured.
pub(crate) fn start_logging(settings: &Logging) -> anyhow::Result<()> {
    let format = match settings.log_format {
        LogFormat::Text => logging::Format::Text,
        LogFormat::Json => logging::Format::Json,
    };
    Ok(logging::init(&settings.log_level, format)?)
}
