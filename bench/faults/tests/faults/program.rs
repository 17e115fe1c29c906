//! The program under test belongs to another package. It is built here, so that it is never missing and never old.
//!
//! `FANTAIL_PROGRAM` names one that is built already, as in `scripts/test`.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Builds it in the profile of this test, once.
pub(crate) fn fantail() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| env::var_os("FANTAIL_PROGRAM").map_or_else(build, PathBuf::from)).clone()
}

fn build() -> PathBuf {
    // This test is target/<profile>/deps/<name>.
    let own = env::current_exe().unwrap();
    let folder = own.parent().and_then(|deps| deps.parent()).unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--locked", "--package", "fantail", "--bin", "fantail"]);
    command.arg("--target-dir").arg(folder.parent().unwrap());
    if folder.ends_with("release") {
        command.arg("--release");
    }
    assert!(command.status().unwrap().success(), "the program under test does not build");
    folder.join("fantail")
}
