//! A log that nobody reads any more must not end the program that writes it.

// A failed unwrap is how a test fails.
#![allow(clippy::unwrap_used)]

use std::env;
use std::io::{self, Read};
use std::process::{Command, Stdio};

use fantail_telemetry::logging::{self, Format};

const TEST: &str = "lines_into_a_closed_pipe_stop_nobody";
const IS_WRITER: &str = "TEST_IS_LOG_WRITER";

/// The test starts itself again as the writer, since a process has only one standard error:
///
/// 1. the writer waits on standard input;
/// 2. the reader of its standard error goes away;
/// 3. standard input ends, and the writer logs into the closed pipe;
/// 4. the writer ends well.
#[test]
fn lines_into_a_closed_pipe_stop_nobody() {
    if env::var_os(IS_WRITER).is_some() {
        return write_lines();
    }
    let mut writer = Command::new(env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(IS_WRITER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(writer.stderr.take());
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
}

fn write_lines() {
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    logging::init("info", Format::Text, None).unwrap();
    tracing::info!("into the void");
    assert!(matches!(logging::init("info", Format::Json, None), Err(logging::LoggingError::AlreadySet(_))));
}
