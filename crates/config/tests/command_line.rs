//! The reading of a command line, and its help.

// A failed unwrap is how a test fails.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;

use fantail_config::{Parsed, SETTINGS, clap_args, command, parse_flags, parse_flags_of, resolve};

fn parse(args: &[&str]) -> Parsed {
    parse_flags(&args.iter().map(OsString::from).collect::<Vec<_>>())
}

fn faults_of(args: &[&str]) -> Vec<String> {
    let Parsed::Run { flags, .. } = parse(args) else {
        panic!("{args:?} asked for text");
    };
    match resolve(&flags, &[], &|_| Ok(String::new())) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_arguments_are_consistent_in_the_eyes_of_clap() {
    command().debug_assert();
    assert_eq!(clap_args().len(), SETTINGS.len());
}

#[test]
fn each_fault_of_a_command_line_is_told_once() {
    let table: [(&[&str], &[&str]); 15] = [
        (&[], &[]),
        (&["--workers=2", "--retry", "1s"], &[]),
        (&["--worker", "2"], &["--worker: unknown flag; did you mean --workers?"]),
        (&["--worker=2"], &["--worker: unknown flag; did you mean --workers?"]),
        (&["--log_level", "info"], &["--log_level: unknown flag; did you mean --log-level?"]),
        (&["--prot", "1"], &["--prot: unknown flag; did you mean --listen?"]),
        (&["--keepalive=1s"], &["--keepalive: unknown flag; did you mean --keepalive-interval?"]),
        (&["--frobnicate"], &["--frobnicate: unknown flag; --help lists all settings"]),
        (&["-x"], &["-x: unknown flag; --help lists all settings"]),
        (&["--workers"], &["--workers: the value is missing"]),
        (&["--workers", "--retry", "1s"], &["--workers: the value is missing"]),
        (&["--workers", "-1"], &["--workers: \"-1\" is not a whole number"]),
        (&["--workers="], &["--workers: \"\" is not a whole number"]),
        (&["--workers", "1", "--workers", "2"], &["--workers: given 2 times; give it once"]),
        (
            &["serve", "--worker", "2", "--path", "--linger"],
            &[
                "--linger: the value is missing",
                "--path: the value is missing",
                "--worker: unknown flag; did you mean --workers?",
                "command line: unexpected argument \"serve\"; settings are given as flags",
            ],
        ),
    ];
    for (args, expected) in table {
        let mut faults = faults_of(args);
        // clap decides which of several mistakes it sees first.
        faults.sort();
        assert_eq!(faults, expected, "{args:?}");
    }
}

#[test]
fn an_empty_number_is_not_a_number() {
    assert_eq!(faults_of(&["--workers", ""]).len(), 1);
}

#[cfg(unix)]
#[test]
fn a_flag_value_that_is_not_utf8_is_a_fault() {
    use std::os::unix::ffi::OsStringExt;
    let Parsed::Run { flags, .. } = parse_flags(&["--path".into(), OsString::from_vec(vec![b'/', 0xff])]) else {
        panic!("asked for text");
    };
    let faults = resolve(&flags, &[], &|_| Ok(String::new())).unwrap_err();
    assert_eq!(faults.to_string(), "--path: the value is not UTF-8");
}

#[test]
fn help_and_version_are_texts_even_beside_mistakes() {
    for args in [&["--help"][..], &["-h"], &["--worker", "2", "--help"], &["--workers", "x", "-h"]] {
        let Parsed::Text(text) = parse(args) else {
            panic!("{args:?} was not taken as a question");
        };
        assert!(text.contains("Usage: fantail"), "{text}");
    }
    let Parsed::Text(version) = parse(&["--version"]) else {
        panic!("--version was not taken as a question");
    };
    assert_eq!(version.trim(), format!("fantail {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_tells_flag_default_and_variable_of_every_setting() {
    let Parsed::Text(help) = parse(&["--help"]) else {
        panic!("--help was not taken as a question");
    };
    // Lines are broken between words, so all white space counts alike.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { "none" } else { setting.default };
        // A switch may stand alone.
        let value = if matches!(setting.default, "true" | "false") { "[=<" } else { " <" };
        let entry = format!("{}{value}", setting.flag());
        let end = format!("[default: {default}] [env: {}]", setting.variable());
        assert!(help.contains(&entry) && help.contains(setting.doc) && help.contains(&end), "{}: {help}", setting.key);
    }
}

#[test]
fn a_switch_is_true_alone_or_says_what_it_is_and_swallows_nothing() {
    let shared = |args: &[&str]| {
        let args: Vec<_> = args.iter().map(Into::into).collect();
        let Parsed::Run { flags, .. } = parse_flags_of(&command(), &args) else { panic!("asked for text") };
        let config = fantail_config::resolve(&flags, &[], &|_| Err(std::io::ErrorKind::NotFound.into()));
        config.map(|config| (config.public.listen_shared, config.engine.workers)).map_err(|faults| faults.to_string())
    };
    assert_eq!(shared(&["--workers=3"]), Ok((false, 3)));
    assert_eq!(shared(&["--listen-shared", "--workers", "3"]), Ok((true, 3)));
    assert_eq!(shared(&["--listen-shared=false", "--workers=3"]), Ok((false, 3)));
    let fault = shared(&["--listen-shared=maybe"]).unwrap_err();
    assert!(fault.contains("--listen-shared") && fault.contains("neither true nor false"), "{fault}");
}

#[test]
fn a_command_with_more_than_settings_gets_its_matches() {
    let command = command().arg(clap::Arg::new("check").long("check").action(clap::ArgAction::SetTrue));
    let Parsed::Run { flags, matches } = parse_flags_of(&command, &["--check".into(), "--workers=3".into()]) else {
        panic!("asked for text");
    };
    assert!(matches.get_flag("check"));
    assert_eq!(resolve(&flags, &[], &|_| Ok(String::new())).unwrap().engine.workers, 3);
}
