//! Lines that go to a file. The log is one for a whole process, so this is a program of its own.

#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

use std::fs;

use fantail_telemetry::logging::{self, Format, LoggingError};

#[test]
fn lines_are_appended_to_the_file_and_one_that_cannot_be_opened_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("missing/fantail.log");
    let refused = logging::init("info", Format::Text, Some(&nowhere)).unwrap_err();
    assert!(matches!(&refused, LoggingError::File { path, .. } if *path == nowhere), "{refused}");
    let path = directory.path().join("fantail.log");
    fs::write(&path, "before\n").unwrap();
    logging::init("info", Format::Text, Some(&path)).unwrap();
    tracing::info!(streams = 3, "listening");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("before\n") && text.ends_with("listening streams=3\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours: {text}");
}
