//! In the shape `json` every line is JSON: those that no log filter lets through, and a panic, too.

// A failed unwrap is how a test fails.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::{env, thread};

use fantail_telemetry::logging::{self, Format};

const TEST: &str = "panics_and_last_errors_are_json_lines_whatever_the_level_is";
const IS_WRITER: &str = "TEST_IS_LOG_WRITER";

/// The test starts itself again as the writer, since a process has only one standard error.
#[test]
fn panics_and_last_errors_are_json_lines_whatever_the_level_is() {
    if env::var_os(IS_WRITER).is_some() {
        return write_lines();
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(IS_WRITER, "1")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, parts) in lines.iter().zip([
        &["\"message\":\"the disk is full\\nand \\\"that\\\" is it\""][..],
        &[
            "panicked: one of 2 threads",
            "\"thread\":\"shard-1\"",
            "\"location\":\"",
            "json_log.rs:",
            "\"backtrace\":\"",
        ],
        &["\"message\":\"and on it goes\""],
    ]) {
        assert!(line.starts_with("{\"timestamp\":\"") && line.ends_with('}'), "{line}");
        assert!(line.contains("\"level\":\"ERROR\"") && line.contains("\"target\":\"fantail\""), "{line}");
        for part in parts {
            assert!(line.contains(part), "{part}\n{line}");
        }
    }
}

fn write_lines() {
    logging::init("off", Format::Json, None).unwrap();
    tracing::error!("the filter keeps this back");
    logging::write_last(Format::Json, "the disk is full\nand \"that\" is it");
    let shard = thread::Builder::new().name("shard-1".to_owned());
    assert!(shard.spawn(|| panic!("one of {} threads", 2)).unwrap().join().is_err());
    logging::write_last(Format::Json, "and on it goes");
}
