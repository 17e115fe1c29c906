//! `scripts/test`: its runs, its summary, and its failures. Cargo and the servers are stand-ins.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/test");
/// The tools that the script may use beside the stand-ins.
const TOOLS: [&str; 11] = ["bash", "env", "dirname", "sed", "awk", "mktemp", "tee", "rm", "cat", "chmod", "realpath"];
/// Answers as Cargo does, and writes each call down.
const CARGO: &str = r#"#!/usr/bin/env bash
echo "$*" >>"$STAND_INS/asked"
case $* in
    clippy*) exit "$(cat "$STAND_INS/lints")" ;;
    *fuzz/Cargo.toml*) echo "test result: ok. 2 passed; 0 failed" ;;
    *mailbox::schedules*) echo "test result: ok. 3 passed; 0 failed" ;;
    *--ignored*) echo "test result: ok. 1 passed; 0 failed" ;;
    test*) cat "$STAND_INS/tests"; exit "$(cat "$STAND_INS/code")" ;;
esac
"#;
const GREEN: &str = "     Running unittests src/lib.rs (target/debug/deps/a-1)

running 2 tests
test b ... ok
test c ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

";
const RED: &str = "     Running unittests src/lib.rs (target/debug/deps/a-1)

running 3 tests
test sea::rises ... FAILED
test sea::falls ... test child::dies ... FAILED

failures:

---- sea::rises stdout ----
    in between
failures:
    sea::rises
    sea::falls

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

error: test failed, to rerun pass `-p fantail-a --lib`
     Running tests/storm.rs (target/debug/deps/storm-1)

running 1 test
error: test failed, to rerun pass `-p fantail --test storm`

Caused by:
  process didn't exit successfully: `storm-1` (signal: 6, SIGABRT: process abort signal)
   Doc-tests fantail_a

running 1 test
test src/lib.rs - x (line 3) ... FAILED

failures:
    src/lib.rs - x (line 3)

test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

error: doctest failed, to rerun pass `-p fantail-a --doc`
error: 3 targets failed:
    `-p fantail-a --lib`
    `-p fantail --test storm`
    `-p fantail-a --doc`
";

/// A directory that is the whole `PATH`.
struct StandIns(TempDir);

impl StandIns {
    fn new() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        for tool in TOOLS {
            let paths = std::env::var("PATH").unwrap();
            let found = paths.split(':').map(|path| Path::new(path).join(tool)).find(|path| path.exists());
            symlink(found.unwrap(), this.0.path().join(tool)).unwrap();
        }
        this.program("cargo", CARGO);
        let script = fs::read_to_string(SCRIPT).unwrap();
        let needed = script.lines().filter_map(|line| line.trim().strip_prefix("need ")?.split(' ').next());
        for program in needed.chain(["python3", "cargo-deny", "envoy"]) {
            this.program(program, "");
        }
        fs::create_dir_all(this.0.path().join("target/release")).unwrap();
        this.program("target/release/fantail-faults", "");
        this.cargo_answers("0", GREEN, "0");
        this
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, if text.is_empty() { "#!/usr/bin/env bash\n" } else { text }).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn cargo_answers(&self, lints: &str, tests: &str, code: &str) {
        for (name, text) in [("lints", lints), ("tests", tests), ("code", code)] {
            fs::write(self.0.path().join(name), text).unwrap();
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let path = self.0.path();
        let mut command = Command::new(SCRIPT);
        command.args(arguments).env_clear().env("PATH", path).env("STAND_INS", path);
        command.env("POLICY_RC_D", path.join("policy")).env("CARGO_TARGET_DIR", path.join("target")).output().unwrap()
    }

    /// The calls of Cargo, by their first words.
    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.0.path().join("asked")).unwrap_or_default();
        asked.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }
}

/// The last part of the output, without the times.
fn in_the_end(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, told) = text.split_once("== In the end\n").unwrap_or_else(|| panic!("{output:?}"));
    let without_time = |line: &str| match line.split_once(" s  ") {
        Some((part, remark)) => {
            let words: Vec<_> = part.split_whitespace().take(2).chain(Some(remark)).collect();
            words.join(" ").trim_end().to_owned()
        }
        None => line.trim().to_owned(),
    };
    told.lines().map(without_time).collect()
}

#[test]
fn the_script_passes_when_each_part_does() {
    let stand_ins = StandIns::new();
    let output = stand_ins.run(&[]);
    assert!(output.status.success(), "{output:?}");
    let expected = [
        "ok formatting",
        "ok lints",
        "ok documentation",
        "ok dependencies",
        "ok tests 2 tests",
        "ok snippets 1 tests",
        "ok fuzz 2 tests",
        "ok faults",
        "ok schedules 3 tests",
    ];
    assert_eq!(in_the_end(&output), expected);
    assert_eq!(stand_ins.asked(), ["fmt", "clippy", "doc", "test", "test", "test", "build", "test"]);
}

#[test]
fn a_failed_part_stops_no_other_and_the_summary_says_how_to_run_it_alone() {
    let stand_ins = StandIns::new();
    stand_ins.cargo_answers("101", RED, "101");
    stand_ins.program("target/release/fantail-faults", "#!/usr/bin/env bash\nexit 3\n");
    // Nor can it be installed.
    fs::remove_file(stand_ins.0.path().join("cargo-deny")).unwrap();
    let output = stand_ins.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let expected = [
        "ok formatting",
        "FAILED lints",
        "cargo clippy --locked --workspace --all-targets --quiet -- -D warnings",
        "ok documentation",
        "FAILED dependencies",
        "scripts/dependencies",
        "FAILED tests 5 tests passed; run what failed alone by",
        "cargo test --locked -p fantail-a --lib -- --exact 'sea::rises'",
        "cargo test --locked -p fantail-a --lib -- --exact 'sea::falls'",
        "cargo test --locked -p fantail --test storm",
        "cargo test --locked -p fantail-a --doc -- --exact 'src/lib.rs - x (line 3)'",
        "ok snippets 1 tests",
        "ok fuzz 2 tests",
        "FAILED faults",
        "scripts/faults --quick",
        "ok schedules 3 tests",
    ];
    assert_eq!(in_the_end(&output), expected);
    assert_eq!(stand_ins.asked(), ["fmt", "clippy", "doc", "install", "test", "test", "test", "build", "test"]);
}

#[test]
fn tests_that_do_not_build_or_do_not_exist_have_failed() {
    for (tests, code, passed) in [("error: could not compile\n", "101", 0), ("", "0", 0), (GREEN, "101", 2)] {
        let stand_ins = StandIns::new();
        stand_ins.cargo_answers("0", tests, code);
        let output = stand_ins.run(&[]);
        assert_eq!(output.status.code(), Some(1), "{tests}");
        let expected = format!("FAILED tests {passed} tests passed, and not all were run: see above");
        assert!(in_the_end(&output).contains(&expected), "{output:?}");
    }
}

#[test]
fn a_program_that_is_missing_and_cannot_be_installed_is_named_and_nothing_runs() {
    for (server, package) in [
        ("redis-server", "redis-server"),
        ("nats-server", "nats-server"),
        ("nginx", "nginx-light"),
        ("chromium", "chromium"),
    ] {
        let stand_ins = StandIns::new();
        fs::remove_file(stand_ins.0.path().join(server)).unwrap();
        for arguments in [&[][..], &["-p", "fantail"]] {
            // First the user of the script may not install it. Then the user may, but there is no package.
            stand_ins.program("apt-get", "#!/usr/bin/env bash\nexit 100\n");
            stand_ins.program("id", "#!/usr/bin/env bash\necho 1000\n");
            let refused = stand_ins.run(arguments);
            stand_ins.program("id", "#!/usr/bin/env bash\necho 0\n");
            let failed = stand_ins.run(arguments);
            for output in [refused, failed] {
                assert_eq!(output.status.code(), Some(1), "{output:?}");
                let told = String::from_utf8_lossy(&output.stderr);
                assert!(told.contains(&format!("{server} is missing")) && told.contains(package), "{told}");
            }
        }
        assert!(stand_ins.asked().is_empty());
    }
}

#[test]
fn arguments_go_to_cargo_test_and_its_verdict_counts() {
    let stand_ins = StandIns::new();
    stand_ins.cargo_answers("0", RED, "101");
    assert_eq!(stand_ins.run(&["-p", "fantail"]).status.code(), Some(101));
    assert_eq!(
        fs::read_to_string(stand_ins.0.path().join("asked")).unwrap(),
        "test --locked --no-fail-fast -p fantail\n"
    );
}
