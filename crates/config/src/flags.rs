//! The command line: one flag per setting, read by clap, with every fault collected.
//!
//! clap stops at the first mistake. Here the mistaken argument is noted and taken out, and clap is asked again, so that
//! one run reports all of them. Values are not judged here but in the layers, with the same messages as those from file
//! and environment.

use std::ffi::{OsStr, OsString};

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::fault::{Faults, Location};
use crate::form::Shape;
use crate::layers::Given;
use crate::settings::{GROUPS, SETTINGS, Setting};
use crate::suggest;

const AFTER_HELP: &str = "\
A setting may stand in the file, in its variable or in its flag; of these the later wins.
Durations have a unit (500ms, 15s, 5m), sizes are bytes or KiB, MiB, GiB.";

/// The settings given as flags, and the faults of the command line.
///
/// Faults travel with the flags, so that `resolve` can report them together with its own.
#[derive(Clone, Default)]
pub struct Flags {
    pub(crate) given: Vec<Given>,
    pub(crate) faults: Faults,
}

/// The request of the command line.
pub enum Parsed {
    /// Go on with these flags; the matches hold the other arguments of the command.
    Run {
        /// The settings among the flags.
        flags: Flags,
        /// All that clap matched.
        matches: Box<ArgMatches>,
    },
    /// Print this text, help or version, and exit successfully.
    Text(String),
}

/// One argument per setting, with headings, bounds, default and variable in the help.
pub fn clap_args() -> Vec<Arg> {
    SETTINGS.iter().map(clap_arg).collect()
}

/// The program's command with all settings and nothing else.
pub fn command() -> Command {
    Command::new("fantail")
        .about("An edge fan-out proxy for Server-Sent Events")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(AFTER_HELP)
        .max_term_width(100)
        .args(clap_args())
}

/// Reads the arguments, without the program's name, with [`command`].
pub fn parse_flags(args: &[OsString]) -> Parsed {
    parse_flags_of(&command(), args)
}

/// Reads the arguments, without the program's name, with a command that holds [`clap_args`] and
/// perhaps more.
pub fn parse_flags_of(command: &Command, args: &[OsString]) -> Parsed {
    let command = command.clone().no_binary_name(true);
    let mut args = args.to_vec();
    let mut faults = Faults::default();
    // Each round takes out at least one argument or returns.
    loop {
        let error = match command.clone().try_get_matches_from(&args) {
            Ok(matches) => return run(matches, faults),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Parsed::Text(error.render().to_string());
        }
        if !take_out(&command, &error, &mut args, &mut faults) {
            faults.push(Location::CommandLine, first_line(&error));
            return run(ArgMatches::default(), faults);
        }
    }
}

fn clap_arg(setting: &'static Setting) -> Arg {
    let heading = GROUPS.iter().find(|(group, _)| *group == setting.group).map(|(_, heading)| *heading);
    let arg = Arg::new(setting.key);
    // Only behind an equals sign, else the flag alone would swallow the next argument.
    let arg = match setting.form.shape() {
        Shape::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => arg,
    };
    arg.long(setting.flag().trim_start_matches('-').to_owned())
        .value_name(setting.form.value_name())
        .help(help_of(setting))
        .help_heading(heading)
        // Appending, so that a flag given twice is counted here and not refused there.
        .action(ArgAction::Append)
        .value_parser(ValueParser::os_string())
        .allow_negative_numbers(true)
}

fn help_of(setting: &Setting) -> String {
    let default = if setting.default.is_empty() { "none" } else { setting.default };
    let more = if setting.is_repeatable() { " May be repeated." } else { "" };
    format!("{}{more} [default: {default}] [env: {}]", setting.doc, setting.variable())
}

fn run(matches: ArgMatches, faults: Faults) -> Parsed {
    let mut flags = Flags { given: Vec::new(), faults };
    for setting in SETTINGS {
        // An error means that these matches have no such setting, so it was not given.
        if let Ok(Some(values)) = matches.try_get_many::<OsString>(setting.key) {
            flags.take(setting, &values.collect::<Vec<_>>());
        }
    }
    Parsed::Run { flags, matches: Box::new(matches) }
}

impl Flags {
    fn take(&mut self, setting: &'static Setting, values: &[&OsString]) {
        let place = Location::Flag(setting.flag());
        let texts: Option<Vec<_>> = values.iter().map(|value| value.to_str().map(str::to_owned)).collect();
        match texts {
            None => self.faults.push(place, "the value is not UTF-8"),
            Some(texts) if texts.len() > 1 && !setting.is_repeatable() => {
                self.faults.push(place, format!("given {} times; give it once", texts.len()));
            }
            Some(texts) => self.given.push(Given { setting, texts, place }),
        }
    }
}

/// Notes the fault that clap saw and removes its cause. False if it is of another sort.
fn take_out(command: &Command, error: &clap::Error, args: &mut Vec<OsString>, faults: &mut Faults) -> bool {
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else {
        return false;
    };
    let index = match error.kind() {
        ErrorKind::UnknownArgument => args.iter().rposition(|arg| is_spelled(arg, named)),
        ErrorKind::InvalidValue => position_without_value(args, flag_of(named)),
        _ => None,
    };
    let Some(index) = index else {
        return false;
    };
    if error.kind() == ErrorKind::InvalidValue {
        faults.push(Location::Flag(flag_of(named).to_owned()), "the value is missing");
    } else {
        let (place, message) = unknown(command, named);
        faults.push(place, message);
        take_out_value_after(args, index);
    }
    args.remove(index);
    true
}

/// clap names `--x` for `--x=1`, and `-x` for `-abx`.
fn is_spelled(arg: &OsStr, named: &str) -> bool {
    let arg = arg.to_string_lossy();
    let short = named.strip_prefix('-').filter(|rest| !rest.starts_with('-') && rest.chars().count() == 1);
    arg == named
        || arg.strip_prefix(named).is_some_and(|rest| rest.starts_with('='))
        || short.is_some_and(|letter| arg.starts_with('-') && !arg.starts_with("--") && arg.contains(letter))
}

/// Takes out the argument behind an unknown flag: it was most likely meant as its value, and may be a secret.
fn take_out_value_after(args: &mut Vec<OsString>, index: usize) {
    let is_flag = |arg: &OsString| arg.to_string_lossy().starts_with('-');
    let lacks_value = args[index].to_string_lossy().starts_with("--") && !args[index].to_string_lossy().contains('=');
    if lacks_value && args.get(index + 1).is_some_and(|next| !is_flag(next)) {
        args.remove(index + 1);
    }
}

fn position_without_value(args: &[OsString], flag: &str) -> Option<usize> {
    args.iter().enumerate().position(|(index, arg)| {
        let next = args.get(index + 1).map(|next| next.to_string_lossy());
        arg == flag && next.is_none_or(|next| next.starts_with('-'))
    })
}

/// clap names a flag together with its placeholder: `--workers <N>`.
fn flag_of(named: &str) -> &str {
    named.split(' ').next().unwrap_or(named)
}

fn unknown(command: &Command, named: &str) -> (Location, String) {
    if !named.starts_with('-') {
        return (
            Location::CommandLine,
            format!("unexpected argument {:?}; settings are given as flags", hide_url(named)),
        );
    }
    let flags: Vec<_> = command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect();
    let advice = suggest::advice(named, flags.iter().map(String::as_str));
    (Location::Flag(named.to_owned()), format!("unknown flag; {advice}"))
}

/// A stray argument is quoted back, but a URL in it may hold a password.
fn hide_url(text: &str) -> String {
    text.split_once("://").map_or_else(|| text.to_owned(), |(scheme, _)| format!("{scheme}://***"))
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
