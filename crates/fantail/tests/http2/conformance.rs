//! h2spec: what the standard demands, case by case. Go installs it.
//!
//! It was written for a server whose decoder has a table. This one announces that it has none (`SETTINGS_HEADER_TABLE_SIZE = 0`), and h2spec
//! acknowledges that and does not obey. Its cases that break the rules by it must fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use fantail_testkit::PATIENCE;
use fantail_testkit::child::Child;

use crate::Served;

const H2SPEC: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";

/// A registry, or a compiler that starts cold, may be slow.
const FETCH_PATIENCE: std::time::Duration = std::time::Duration::from_mins(5);

/// Cases that a server without a table must refuse, with the rule that they break.
const BROKEN: [&str; 3] = [
    // A size above the acknowledged maximum is an error of decoding (RFC 7541, 6.3).
    "Sends a dynamic table size update",
    "Sends multiple dynamic table size update",
    // Its last block names an entry of a table that it was told is not there (RFC 7541, 4.2 and 2.3.3).
    "Sends multiple CONTINUATION frames preceded by a HEADERS frame",
];

/// A client of `listen` that does not begin with the preface speaks HTTP/1, and is answered so (RFC 9113, 3.3).
const OF_PLAIN: &str = "Sends invalid connection preface";

#[tokio::test]
#[ignore = "fetches h2spec and needs Go; scripts/test runs it where Go is there"]
async fn every_case_of_h2spec_in_go_passes_but_those_that_break_what_was_agreed() {
    let served = Served::start(&[]).await;
    let h2spec = installed().await;
    let tls = failures(&h2spec, &["-t", "-k"], served.tls.port()).await;
    assert_eq!(tls, BROKEN, "over TLS");
    let plain = failures(&h2spec, &[], served.node.public().port()).await;
    let expected = [BROKEN[0], BROKEN[1], OF_PLAIN, BROKEN[2]];
    assert_eq!(plain, expected, "without TLS");
}

async fn installed() -> PathBuf {
    let bin = Path::new(env!("CARGO_TARGET_TMPDIR")).join("h2spec");
    let program = bin.join("h2spec");
    if !program.exists() {
        let mut go = Command::new("go");
        go.args(["install", H2SPEC]).env("GOBIN", &bin);
        let mut go = Child::spawn("go install", &mut go).unwrap();
        let status = go.wait(FETCH_PATIENCE).await.unwrap();
        assert!(status.success(), "{}", go.output().stderr);
    }
    program
}

/// The cases that failed, in their order. All others must have passed.
async fn failures(h2spec: &Path, flags: &[&str], port: u16) -> Vec<String> {
    let mut command = Command::new(h2spec);
    // A path that is answered with a body.
    command
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--path", "/elsewhere", "--timeout", "5"])
        .args(flags);
    let mut run = Child::spawn("h2spec", &mut command).unwrap();
    run.wait(PATIENCE).await.unwrap();
    let printed = run.find_in_output(PATIENCE, "its result", |output| {
        output.stdout.contains("tests, ").then(|| output.stdout.clone())
    });
    let printed = printed.await.unwrap();
    let failed = printed.split("Failures:").nth(1).unwrap_or_default().lines().filter_map(|line| line.split_once("× "));
    let failed: Vec<String> = failed.filter_map(|(_, case)| Some(case.split_once(": ")?.1.to_owned())).collect();
    let passed = format!("145 tests, {} passed, 0 skipped, {} failed", 145 - failed.len(), failed.len());
    assert!(printed.contains(&passed), "{printed}");
    failed
}
