//! Runs the real program and reads its report.

use std::process::{Command, Output};

use serde_json::Value;

/// The outcome of a finished run.
pub(crate) struct FinishedRun {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The JSON file; null if the program left none.
    pub(crate) json: Value,
}

/// Runs the load generator with these words and a JSON file.
pub(crate) fn loadgen(words: &[&str]) -> FinishedRun {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_fantail-loadgen")).args(words).arg("--json").arg(&path).output().unwrap();
    let json = std::fs::read_to_string(&path).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
    FinishedRun {
        code: status.code().unwrap(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
        json,
    }
}

impl FinishedRun {
    /// A number of the JSON file by its path.
    pub(crate) fn number(&self, pointer: &str) -> u64 {
        let value = self.json.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no number at {pointer}: {}\n{}", self.stderr, self.json))
    }

    pub(crate) fn fraction(&self, pointer: &str) -> f64 {
        let value = self.json.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no number at {pointer}: {}\n{}", self.stderr, self.json))
    }

    /// Lost, duplicated, reordered, corrupt, foreign.
    pub(crate) fn faults(&self) -> [u64; 5] {
        ["lost", "duplicated", "reordered", "corrupt", "foreign"]
            .map(|name| self.number(&format!("/round/faults/{name}")))
    }

    /// Asserts that the run went through and every event came once, in order and whole.
    pub(crate) fn assert_clean(&self, deliveries: u64) {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        assert_eq!(self.faults(), [0; 5]);
        assert_eq!(self.number("/round/deliveries"), deliveries);
        assert_eq!(self.number("/round/latency_us/count"), deliveries);
    }
}
