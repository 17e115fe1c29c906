//! The commands on our pages do what the pages say: a test runs them as they stand there, on the ports that they name.
//!
//! Each page is a story: its commands run from top to bottom, in a world of their own (`world.sh`). A command that serves stays until
//! the next one does; one that reads a stream must get its first bytes, and an event if one is published behind it. Every other
//! must succeed.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod block;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use block::{Block, Mark, blocks};

/// Lines of `world.sh` that run before the command that begins so; a page takes them for granted.
type Before = (&'static str, &'static str);

/// Begins every command.
const FIRST: &str = "";

/// The pages with commands that a test runs. Each has a test below.
const STORIES: [(&str, &[Before]); 11] = [
    ("README.md", &[("cargo run --release -- serve --redis-url", "redis")]),
    (
        "docs/access.md",
        &[
            ("fantail token mint", "token_settings; serves 'fantail serve --config /etc/fantail/fantail.toml'"),
            ("curl -d '{\"sub\"", "serves 'fantail serve'"),
        ],
    ),
    ("docs/behind-a-proxy.md", &[]),
    (
        "docs/internal-api.md",
        &[(
            "fantail publish --url https",
            "serves 'fantail serve --internal-listen 0.0.0.0:8081 --internal-hosts node-7.example \
             --internal-tokens /run/secrets/shop=publish --internal-tls-cert tls.crt --internal-tls-key tls.key \
             --internal-tls-client-ca ca.crt'",
        )],
    ),
    ("docs/http2.md", &[]),
    ("docs/nats.md", &[(FIRST, "nats")]),
    ("docs/publishing-http.md", &[(FIRST, "serves 'fantail serve'")]),
    (
        "docs/publishing.md",
        &[
            (FIRST, "redis"),
            (
                "redis-cli FCALL fantail_publish",
                "serves 'fantail serve --redis-url redis://127.0.0.1:6379 --redis-log'",
            ),
        ],
    ),
    ("docs/redis.md", &[(FIRST, "redis")]),
    ("docs/tls.md", &[]),
    ("docs/tuning.md", &[]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn is_server(command: &str) -> bool {
    command.starts_with("fantail serve") || command.starts_with("cargo run --release -- serve")
}

fn is_reader(command: &str) -> bool {
    command.starts_with("curl -N") || command.starts_with("fantail subscribe")
}

fn is_publisher(command: &str) -> bool {
    ["/publish", "PUBLISH", "FCALL", "fantail publish"].iter().any(|word| command.contains(word))
}

/// One word for a shell.
fn quoted(command: &str) -> String {
    format!("'{}'", command.replace('\'', r"'\''"))
}

/// The script that runs the blocks of a page which nothing else runs, and those that need no more than is `provided`.
fn script(blocks: &[Block], before: &[Before], provided: &str) -> String {
    let mut script = include_str!("world.sh").to_owned();
    let mut given = before.to_vec();
    let mut has_reader = false;
    let is_run = |block: &&Block| match &block.mark {
        None => true,
        Some(Mark::Needs(what)) => what == provided,
        Some(Mark::RunBy(_)) => false,
    };
    for command in blocks.iter().filter(is_run).flat_map(|block| &block.commands) {
        while let Some(at) = given.iter().position(|(begin, _)| command.starts_with(begin)) {
            writeln!(script, "{}", given.remove(at).1).unwrap();
        }
        let verb = match () {
            () if is_server(command) => "serves",
            () if is_reader(command) => "reads",
            () if command.starts_with("python3 -m http.server") => "stays",
            () => "runs",
        };
        writeln!(script, "{verb} {}", quoted(command)).unwrap();
        has_reader = if is_server(command) { false } else { has_reader || is_reader(command) };
        if has_reader && is_publisher(command) {
            writeln!(script, "have_events").unwrap();
        }
    }
    assert!(given.is_empty(), "no command of the page begins so: {given:?}");
    script
}

fn run(name: &str) {
    run_with(name, "", Path::new("/nonexistent"));
}

/// Runs the page in namespaces of its own, with the programs of one more folder, which are what some blocks need. Without the
/// rights of root this machine must let users make namespaces.
fn run_with(name: &str, provided: &str, programs: &Path) {
    let (_, before) = STORIES.iter().find(|(page, _)| *page == name).unwrap();
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("page.sh");
    fs::write(&file, script(&blocks(&page(name)), before, provided)).unwrap();
    let mut unshare = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "bash"]).arg(&file);
    // A run of all tests names its own program in such a variable, which is no setting.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FANTAIL_")) {
        unshare.env_remove(name);
    }
    let ended = unshare
        .env("PROGRAM", env!("CARGO_BIN_EXE_fantail"))
        .env("CLONE", root())
        .env("PROGRAMS", programs)
        .env("WORK", work.path())
        .output()
        .unwrap();
    assert!(ended.status.success(), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    run("README.md");
}

#[test]
fn the_commands_about_access_do_what_the_page_says() {
    run("docs/access.md");
}

#[test]
fn the_commands_about_proxies_do_what_the_page_says() {
    run("docs/behind-a-proxy.md");
}

#[test]
fn the_commands_about_the_internal_listener_do_what_the_page_says() {
    run("docs/internal-api.md");
}

#[test]
fn the_commands_about_nats_do_what_the_page_says() {
    run("docs/nats.md");
}

/// The version of the `nats` command that is installed.
const NATS: &str = "github.com/nats-io/natscli/nats@v0.5.0";

#[test]
#[ignore = "needs Go and fetches a package; scripts/test runs it where Go is there"]
fn the_commands_for_the_program_nats_in_go_do_what_the_page_says() {
    let programs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    if !programs.join("nats").exists() {
        let ended = Command::new("go").args(["install", NATS]).env("GOBIN", &programs).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    run_with("docs/nats.md", "the nats command", &programs);
}

#[test]
fn the_commands_about_publishing_do_what_the_pages_say() {
    run("docs/publishing-http.md");
    run("docs/publishing.md");
}

#[test]
fn the_commands_about_redis_do_what_the_page_says() {
    run("docs/redis.md");
}

#[test]
fn the_commands_about_http2_do_what_the_page_says() {
    run("docs/http2.md");
}

#[test]
fn the_commands_about_tls_do_what_the_page_says() {
    run("docs/tls.md");
}

#[test]
fn the_commands_about_tuning_do_what_the_page_says() {
    run("docs/tuning.md");
}

/// The pages for users.
fn pages() -> Vec<String> {
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if Path::new(&name).extension().is_some_and(|it| it == "md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    names
}

/// Faults of the blocks of a page: it has no story, or the file that a mark names does not run them.
fn neglected(name: &str, text: &str, has_story: bool, file: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for block in blocks(text) {
        let place = format!("{name}:{}", block.line);
        match &block.mark {
            None if has_story => {}
            None => faults.push(format!("{place} is neither run nor marked")),
            Some(Mark::Needs(_)) => {}
            Some(Mark::RunBy(path)) => {
                let text = file(path).unwrap_or_default();
                // A file that opens the page takes the commands from it.
                let opens = text.contains(&format!("\"{name}\""));
                let runs = |command: &String| opens || text.contains(command.as_str());
                faults.extend(
                    block.commands.iter().filter(|it| !runs(it)).map(|it| format!("{place}: {path} does not run {it}")),
                );
            }
        }
    }
    faults
}

#[test]
fn every_block_of_commands_is_run_or_says_what_it_needs() {
    let file = |path: &str| fs::read_to_string(root().join(path)).ok();
    let mut faults = Vec::new();
    for name in pages() {
        let has_story = STORIES.iter().any(|(page, _)| *page == name);
        let text = page(&name);
        faults.extend(neglected(&name, &text, has_story, &file));
        if has_story {
            assert!(blocks(&text).iter().any(|block| block.mark.is_none()), "{name} has no command to run");
        }
    }
    assert_eq!(faults, Vec::<String>::new(), "see crates/fantail/tests/pages/block.rs for how to mark a block");
}

#[test]
fn a_new_block_that_nothing_runs_is_found() {
    let none = |_: &str| None;
    let unfenced = "Text.\n\n    podman run fantail\n";
    assert_eq!(neglected("docs/x.md", unfenced, false, &none), ["docs/x.md:3 is neither run nor marked"]);
    let fenced = "```sh\nfantail serve\n```\n";
    assert_eq!(neglected("docs/x.md", fenced, false, &none), ["docs/x.md:2 is neither run nor marked"]);
    let marked = "<!-- run by: scripts/x -->\n\n    helm install\n";
    assert_eq!(neglected("docs/x.md", marked, false, &none), ["docs/x.md:3: scripts/x does not run helm install"]);
    assert_eq!(neglected("docs/x.md", marked, false, &|_| Some("helm install".into())), Vec::<String>::new());
    let opens = |text: &'static str| move |_: &str| Some(text.to_owned());
    assert_eq!(neglected("docs/x.md", marked, false, &opens("open(\"docs/x.md\")")), Vec::<String>::new());
    assert_eq!(neglected("docs/x.md", marked, false, &opens("# see docs/x.md")).len(), 1, "a comment runs nothing");
    let needs = "<!-- needs: Docker -->\n\n    docker run fantail\n";
    assert_eq!(neglected("docs/x.md", needs, false, &none), Vec::<String>::new());
}
