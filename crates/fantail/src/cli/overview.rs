//! The program's overview: its tasks, and a quick start.

use clap::Command;

use super::{config, health, publish, serve, subscribe, token};

pub(super) const NAME: &str = "fantail";
/// The task that tells the version, beside the flag.
pub(super) const VERSION: &str = "version";

/// Every line may be pasted as it stands; the addresses are the defaults.
const QUICK_START: &str = r#"Quick start, in three terminals:
  fantail serve
  fantail subscribe http://127.0.0.1:8080/sse/demo
  fantail publish demo hello

The same with nothing but curl:
  curl -N http://127.0.0.1:8080/sse/demo
  curl -d hello http://127.0.0.1:8081/publish/demo

Through Redis, on as many nodes as you like:
  fantail serve --redis-url redis://127.0.0.1:6379
  redis-cli PUBLISH fantail:demo hello

In a browser:
  new EventSource("http://127.0.0.1:8080/sse/demo").onmessage = (e) => console.log(e.data);

`fantail help serve` lists all settings."#;

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("An edge fan-out proxy for Server-Sent Events")
        .version(env!("CARGO_PKG_VERSION"))
        .bin_name(NAME)
        .max_term_width(100)
        .after_help(QUICK_START)
        .subcommands([serve::command(), subscribe::command(), publish::command(), health::command(), token::command()])
        .subcommands([config::command(), serve::command_in_owncloud()])
        .subcommand(Command::new(VERSION).about("Tell the version"))
}

#[cfg(test)]
mod tests {
    use fantail_config::SETTINGS;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_in_the_eyes_of_clap() {
        command().debug_assert();
    }

    #[test]
    fn the_quick_start_uses_the_default_addresses() {
        for key in ["listen", "internal_listen", "path"] {
            let setting = SETTINGS.iter().find(|setting| setting.key == key).expect("a setting");
            assert!(QUICK_START.contains(setting.default), "{key}");
        }
    }
}
