//! The programs in docs/publishing.md are run as they stand there, against a real Redis and a node that it feeds.
//!
//! They need `python3` and `npm`, and the packages that the page names, which are fetched once into the target directory.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

#[path = "common/node.rs"]
mod node;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fantail_testkit::child::Child;
use fantail_testkit::{Event, PATIENCE, RedisServer};

use node::{node, subscribe, until_ready, until_state};

/// A registry may be slow.
const FETCH_PATIENCE: Duration = Duration::from_mins(5);

/// What the page's plain programs publish on `demo` and on `demo` and `news`, and what its programs for the log do.
const PLAIN: [(&str, &str); 2] = [("message", "hello"), ("greeting", "hello")];
const LOGGED: [(&str, &str); 1] = [("greeting", "hello")];

/// The page's program in this language that holds this text.
fn program(language: &str, holds: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/publishing.md");
    let page = fs::read_to_string(page).unwrap();
    let fence = format!("```{language}\n");
    let mut programs = page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    programs.find(|text| text.contains("import") && text.contains(holds)).unwrap().to_owned()
}

/// Where the packages are, as far as they were fetched.
fn packages() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("snippets");
    fs::create_dir_all(&directory).unwrap();
    directory
}

async fn run(what: &str, command: &mut Command, limit: Duration) -> String {
    let mut child = Child::spawn(what, command).unwrap();
    let status = child.wait(limit).await.unwrap();
    let output =
        child.find_in_output(PATIENCE, "it ended", |output| output.exited.then(|| output.clone())).await.unwrap();
    assert!(status.success(), "{what}: {output:?}");
    output.stdout
}

/// Runs a program of the page against this Redis.
async fn run_program(language: &str, text: &str, redis: &RedisServer) -> String {
    let packages = packages();
    let text = text.replace("6379", &redis.addr().port().to_string());
    let file = packages.join(format!("{}.{}", redis.addr().port(), if language == "js" { "mjs" } else { "py" }));
    fs::write(&file, text).unwrap();
    let mut command = if language == "js" {
        if !packages.join("node_modules/redis").exists() {
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&packages).arg("redis");
            run("npm", &mut npm, FETCH_PATIENCE).await;
        }
        Command::new("node")
    } else {
        if !packages.join("redis").exists() {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&packages).arg("redis");
            run("pip", &mut pip, FETCH_PATIENCE).await;
        }
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &packages);
        python
    };
    run(language, command.arg(&file), PATIENCE).await
}

/// The program publishes these events, and prints what it was told.
async fn assert_publishes(language: &str, holds: &str, flags: &[&str], owed: &[(&str, &str)]) -> String {
    let redis = RedisServer::start().await.unwrap();
    let node = node(&[&["--redis-url", &redis.url()], flags].concat()).await;
    until_ready(&node, true).await;
    let mut stream = subscribe(&node, "/sse?channel=demo&channel=news").await;
    until_state(&node, stream.local_addr().unwrap(), "live").await;
    let printed = run_program(language, &program(language, holds), &redis).await;
    // One more shows that nothing came twice.
    node::publish(&node, "demo", "the end").await;
    let events = stream.next_events(owed.len() + 1, PATIENCE).await.unwrap();
    let told = |event: &Event| (event.event.clone(), event.data.clone());
    let owed =
        owed.iter().chain([&("message", "the end")]).map(|(kind, data)| ((*kind).to_owned(), (*data).to_owned()));
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), owed.collect::<Vec<_>>());
    printed
}

#[tokio::test]
#[ignore = "fetches a package; scripts/test runs it"]
async fn the_programs_in_python_publish() {
    assert_eq!(assert_publishes("python", "fantail-event:", &[], &PLAIN).await, "1\n1\n");
    let printed = assert_publishes("python", "fcall", &["--redis-log"], &LOGGED).await;
    assert!(printed.ends_with(".1 1\n"), "{printed}");
}

#[tokio::test]
#[ignore = "fetches a package; scripts/test runs it"]
async fn the_programs_in_node_publish() {
    assert_eq!(assert_publishes("js", "fantail-event:", &[], &PLAIN).await, "1\n1\n");
    let printed = assert_publishes("js", "fCall", &["--redis-log"], &LOGGED).await;
    assert!(printed.ends_with(".1 1\n"), "{printed}");
}
