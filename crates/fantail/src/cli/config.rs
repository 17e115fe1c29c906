//! `fantail config show`: the settings in force, each with its source.

use std::ffi::OsString;
use std::fmt::Write;

use clap::Command;
use fantail_config::{Config, Source};

use super::{Refusal, Task, serve};

pub(super) const NAME: &str = "config";
pub(super) const SHOW: &str = "show";

const HEAD: &str = "# The settings in force, each with its source. Secrets are hidden.\n";

/// The sub-command.
pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Check the settings, and show those in force with their sources")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(show_command())
}

fn show_command() -> Command {
    fantail_config::command()
        .name(SHOW)
        .display_name("fantail")
        .bin_name("fantail config show")
        .about("Show the settings that `fantail serve` would have, from the same file, variables and flags")
}

/// Reads and checks all that `serve` reads, and shows it.
pub(super) fn show(args: &[OsString], variables: &[(OsString, OsString)]) -> Result<Task, Refusal> {
    let task = serve::read_with(&show_command(), args, variables, |config| Task::Print(shown(&config)));
    // A person reads its faults, whatever form the server's log has.
    task.map_err(|refusal| refusal.text.into())
}

/// One line for each setting, in the form of the file as far as a text can be.
fn shown(config: &Config) -> String {
    let mut text = HEAD.to_owned();
    for setting in config.effective() {
        let source = match (setting.source, setting.place) {
            (Source::Default, _) | (_, None) => "default".to_owned(),
            (_, Some(place)) => place,
        };
        writeln!(text, "{} = {:?}  # {source}", setting.key, setting.value).expect("a String takes everything");
    }
    text
}
