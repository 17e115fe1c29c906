//! The rules of ARCHITECTURE.md that no compiler checks, held against the files of this repository.
//!
//! Each rule is a function from files to breaches, and each is shown a breach that it must find.

#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A file's path from the top of the repository, and its text.
type File = (String, String);

/// The crates of ours that each crate may use. A new arrow is added here and in ARCHITECTURE.md, after a second look.
const ARROWS: [(&str, &[&str]); 10] = [
    ("access", &["wire"]),
    ("config", &["access", "wire"]),
    ("fantail", &["access", "config", "feed", "http2", "hub", "shard", "telemetry", "wire"]),
    ("feed", &["wire"]),
    ("http2", &[]),
    ("hub", &["telemetry", "wire"]),
    ("shard", &["http2", "hub", "telemetry", "wire"]),
    ("telemetry", &["wire"]),
    ("testkit", &[]),
    ("wire", &[]),
];

/// Libraries that one crate alone may depend on.
const HOMES: [(&str, &str); 5] =
    [("hyper", "fantail"), ("hyper-util", "fantail"), ("redis", "feed"), ("async-nats", "feed"), ("mio", "shard")];

/// Words that open no sentence of a comment, and no name of a test.
const OPENINGS: [&str; 3] = ["Who", "What", "Whoever"];

#[test]
fn hyper_redis_nats_and_mio_are_named_in_their_own_places_alone() {
    assert_eq!(strangers(&manifests()), Vec::<String>::new());
    let breach = "[dependencies]\nbytes.workspace = true\nhyper.workspace = true\n";
    assert_eq!(strangers(&[("crates/hub/Cargo.toml".into(), breach.into())]), ["hub depends on hyper"]);

    assert_eq!(redis_outside_its_folder(&sources()), Vec::<String>::new());
    let breach = ("crates/feed/src/memory.rs".into(), "let url: redis::ConnectionInfo;".into());
    let allowed = ("crates/feed/src/feed.rs".into(), "use crate::redis::RedisFeed; // as redis::Client".into());
    assert_eq!(redis_outside_its_folder(&[breach, allowed]), ["crates/feed/src/memory.rs"]);

    assert_eq!(nats_outside_its_folder(&sources()), Vec::<String>::new());
    let breach = ("crates/feed/src/redis/live.rs".into(), "use async_nats::Client;".into());
    let allowed = ("crates/feed/src/nats/link.rs".into(), "use async_nats::Client;".into());
    assert_eq!(nats_outside_its_folder(&[breach, allowed]), ["crates/feed/src/redis/live.rs"]);
}

/// The machines of the NATS feed take what was read, and read nothing themselves.
#[test]
fn the_machines_of_the_nats_feed_do_no_io() {
    let machines = ["plain_follows", "stream/stream_log", "stream/identity"];
    let is_machine = |path: &str| {
        machines
            .iter()
            .any(|name| path.starts_with(&format!("crates/feed/src/nats/{name}")) && !path.contains("/tests"))
    };
    let does_io = |line: &str| names_path(line, "async_nats::") || names_path(line, "tokio::");
    let breaches = |sources: &[File]| {
        let of_machines = sources.iter().filter(|(path, _)| is_machine(path));
        of_machines.filter(|(_, text)| code(text).any(does_io)).map(|(path, _)| path.clone()).collect::<Vec<_>>()
    };
    assert_eq!(breaches(&sources()), Vec::<String>::new());
    let breach = ("crates/feed/src/nats/stream/stream_log.rs".into(), "use tokio::time::sleep;".into());
    assert_eq!(breaches(&[breach]).len(), 1);
}

/// The rooms of the Redis feed. `live` drives the machines of `log` over the links of `reach`, and nobody knows `live`.
#[test]
fn the_redis_rooms_reach_and_log_know_nothing_of_each_other_and_the_log_does_no_io() {
    assert_eq!(redis_walls_broken(&sources()), Vec::<String>::new());
    let breach =
        |room: &str, line: &str| redis_walls_broken(&[(format!("crates/feed/src/redis/{room}.rs"), line.into())]).len();
    assert_eq!(breach("reach/link", "use crate::redis::log::LaneLog;"), 1);
    assert_eq!(breach("reach", "use super::live::Arrivals;"), 1);
    assert_eq!(breach("log/lane_log", "use crate::redis::{names, reach::Link};"), 1);
    assert_eq!(breach("log/entry", "use redis::Value;"), 1);
    assert_eq!(breach("log/recall", "use tokio::sync::Notify;"), 1);
    assert_eq!(breach("live/follower", "use crate::redis::log::LaneLog; use redis::Value;"), 0);
}

#[test]
fn crates_use_each_other_along_the_drawn_arrows_alone() {
    assert_eq!(arrows_not_drawn(&manifests()), Vec::<String>::new());
    let breach = "[dependencies]\nfantail-shard.workspace = true\n[dev-dependencies]\nfantail-feed.workspace = true\n";
    assert_eq!(arrows_not_drawn(&[("crates/hub/Cargo.toml".into(), breach.into())]), ["hub -> shard"]);
}

/// A counter that a part reads becomes state that two places rely on: the parts count, and only the scrape reads.
#[test]
fn no_part_reads_what_it_counts() {
    assert_eq!(counters_read(&sources()), Vec::<String>::new());
    let breach = "let none_left = self.counters.connections_open.get() == 0;";
    for breach in [breach, "let open = streams.counters().connections_open.get();", "counters.requests.sum()"] {
        assert_eq!(counters_read(&[("crates/shard/src/drain.rs".into(), breach.into())]).len(), 1, "{breach}");
    }
    let in_a_test = format!("#[cfg(test)]\nmod tests {{\n{breach}\n}}");
    assert_eq!(counters_read(&[("crates/shard/src/drain.rs".into(), in_a_test)]), Vec::<String>::new());
}

#[test]
fn files_that_pages_name_exist() {
    let exists = |path: &str| root().join(path).exists();
    assert_eq!(missing_targets(&pages(), &exists), Vec::<String>::new());
    let breach = "See [the log](docs/log.md#x), `crates/hub/src/gone.rs` and [a site](https://example.com).";
    let missing = missing_targets(&[("README.md".into(), breach.into())], &|_| false);
    assert_eq!(missing, ["README.md names docs/log.md", "README.md names crates/hub/src/gone.rs"]);
}

#[test]
fn every_page_has_text_under_its_title() {
    assert_eq!(empty_pages(&pages()), Vec::<String>::new());
    for breach in ["", "\n\n", "# Title\n\n"] {
        assert_eq!(empty_pages(&[("docs/log.md".into(), breach.into())]), ["docs/log.md"], "{breach:?}");
    }
}

/// The subject comes first: "The bytes that came" and not "What came".
#[test]
fn no_comment_and_no_test_name_opens_with_who_or_what() {
    let mut texts = files(&["crates", "bench"], "rs");
    assert_eq!(riddles(&texts), Vec::<String>::new());
    for word in OPENINGS {
        let name = format!("async fn {}_came_is_kept() {{", word.to_lowercase());
        let comments = [format!("//! {word} came."), format!("    /// It ends. {word} came is kept."), name];
        texts = comments.map(|breach| ("crates/hub/src/log.rs".to_owned(), breach)).into();
        assert_eq!(riddles(&texts).len(), 3, "{word}");
    }
    let allowed = "let url = \"http://who.example\"; // Nobody knows what came.";
    assert_eq!(riddles(&[("crates/hub/src/log.rs".into(), allowed.into())]), Vec::<String>::new());
}

fn strangers(manifests: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for (path, text) in manifests {
        for (library, home) in HOMES {
            let is_named = dependencies(text).any(|name| name == library);
            if is_named && crate_of(path) != home {
                breaches.push(format!("{} depends on {library}", crate_of(path)));
            }
        }
    }
    breaches
}

/// Files of `feed` that name the Redis library but are not in its folder. `lib.rs` passes our own module on.
fn redis_outside_its_folder(sources: &[File]) -> Vec<String> {
    let is_outside = |path: &str| path.starts_with("crates/feed/src/") && !path.starts_with("crates/feed/src/redis");
    let outside = sources.iter().filter(|(path, _)| is_outside(path) && !path.ends_with("/lib.rs"));
    let naming = outside.filter(|(_, text)| code(text).any(names_redis));
    naming.map(|(path, _)| path.clone()).collect()
}

/// Files that name the NATS library but are not in its folder.
fn nats_outside_its_folder(sources: &[File]) -> Vec<String> {
    let is_outside = |path: &str| !path.starts_with("crates/feed/src/nats") && !path.contains("/tests/");
    let naming = sources.iter().filter(|(path, _)| is_outside(path));
    naming
        .filter(|(_, text)| code(text).any(|line| names_path(line, "async_nats::")))
        .map(|(path, _)| path.clone())
        .collect()
}

/// Files of `reach` and `log` that name another room, and files of `log` that name a library for IO.
fn redis_walls_broken(sources: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for (room, others) in [("reach", ["log::", "live::"]), ("log", ["reach::", "live::"])] {
        let home = format!("crates/feed/src/redis/{room}");
        for (path, text) in sources.iter().filter(|(path, _)| path.starts_with(&home)) {
            let names_room = |line: &str| others.iter().any(|other| names_path(line, other));
            let does_io = |line: &str| room == "log" && (names_redis(line) || names_path(line, "tokio::"));
            if code(text).any(|line| names_room(line) || does_io(line)) {
                breaches.push(path.clone());
            }
        }
    }
    breaches
}

/// Whether a line names `path`, and not another that ends alike.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Whether a line names the library, and not our own module of that name.
fn names_redis(line: &str) -> bool {
    line.match_indices("redis::")
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c)))
}

fn arrows_not_drawn(manifests: &[File]) -> Vec<String> {
    let drawn: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let mut breaches = Vec::new();
    for (path, text) in manifests {
        for to in dependencies(text).filter_map(|name| name.strip_prefix("fantail-")) {
            if !drawn[crate_of(path)].contains(&to) {
                breaches.push(format!("{} -> {to}", crate_of(path)));
            }
        }
    }
    breaches
}

/// The crates that a crate needs to run. Those for its tests stand in another table.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let rows = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    rows.take_while(|line| !line.starts_with('[')).filter_map(|row| row.split(['.', ' ', '=']).next())
}

fn crate_of(manifest: &str) -> &str {
    manifest.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml")).unwrap()
}

fn counters_read(sources: &[File]) -> Vec<String> {
    let parts = ["crates/shard/src/", "crates/hub/src/", "crates/feed/src/"];
    let mut breaches = Vec::new();
    for (path, text) in sources.iter().filter(|(path, _)| parts.iter().any(|part| path.starts_with(part))) {
        let of_the_part = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_reading = |after: &str| [".get()", ".sum()"].iter().any(|read| after.contains(read));
        let reads = |line: &&str| line.split("counters").skip(1).any(is_reading);
        let is_a_test = path.contains("/tests") || text.contains("#[test]") && !text.contains("#[cfg(test)]");
        if !is_a_test && code(of_the_part).any(|line| reads(&line)) {
            breaches.push(path.clone());
        }
    }
    breaches
}

/// Links to files, and paths in backticks, that lead nowhere. A path is looked for from the page and from the top.
fn missing_targets(pages: &[File], exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut missing = Vec::new();
    for (path, text) in pages {
        let folder = Path::new(path).parent().unwrap().to_string_lossy().into_owned();
        let links = text.split("](").skip(1).filter_map(|after| after.split([')', '#']).next());
        let quoted = text.split('`').skip(1).step_by(2).filter(|quoted| looks_like_a_path(quoted));
        for target in links.chain(quoted).filter(|target| !target.is_empty() && !target.contains("://")) {
            let from_page = if folder.is_empty() { target.to_owned() } else { format!("{folder}/{target}") };
            let from_crates = format!("crates/{}", with_source_folder(target));
            if ![from_page.as_str(), target, &from_crates].iter().any(|candidate| exists(candidate)) {
                missing.push(format!("{path} names {target}"));
            }
        }
    }
    missing
}

fn empty_pages(pages: &[File]) -> Vec<String> {
    let has_text = |text: &str| text.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'));
    pages.iter().filter(|(_, text)| !has_text(text)).map(|(path, _)| path.clone()).collect()
}

/// Lines with a sentence of a comment, or a function's name, that begins with one of `OPENINGS`.
fn riddles(sources: &[File]) -> Vec<String> {
    let opens = |line: &str| {
        let comment = line.split_once("//").map_or("", |(_, comment)| comment.trim_start_matches(['/', '!']));
        let name = line.split_once("fn ").map_or("", |(_, name)| name.split('_').next().unwrap_or_default());
        let mut sentences = comment.split(". ").filter_map(|sentence| sentence.split_whitespace().next());
        sentences.any(|word| OPENINGS.contains(&word)) || OPENINGS.iter().any(|word| word.to_lowercase() == name)
    };
    let numbered = sources.iter().flat_map(|(path, text)| text.lines().enumerate().map(move |at| (path, at)));
    numbered.filter(|(_, (_, line))| opens(line)).map(|(path, (at, _))| format!("{path}:{}", at + 1)).collect()
}

/// Pages may leave out `crates/` and `src/`: `hub/log.rs` is `crates/hub/src/log.rs`.
fn with_source_folder(path: &str) -> String {
    path.split_once('/').map_or(path.to_owned(), |(name, rest)| format!("{name}/src/{rest}"))
}

fn looks_like_a_path(quoted: &str) -> bool {
    let is_plain = !quoted.contains(|c: char| c.is_whitespace() || "<>*{}()=$,".contains(c));
    let is_ours =
        ["crates/", "docs/", "bench/", "deploy/", "scripts/", "examples/"].iter().any(|p| quoted.starts_with(p));
    is_plain && (is_ours || (quoted.contains('/') && Path::new(quoted).extension().is_some_and(|it| it == "rs")))
}

/// Lines without their `//` comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default())
}

fn manifests() -> Vec<File> {
    let manifests: Vec<File> =
        files(&["crates"], "toml").into_iter().filter(|(path, _)| path.ends_with("/Cargo.toml")).collect();
    assert_eq!(manifests.len(), ARROWS.len(), "each crate has a row in ARROWS");
    manifests
}

fn sources() -> Vec<File> {
    let sources = files(&["crates"], "rs");
    assert!(sources.len() > 200, "{} sources", sources.len());
    sources
}

fn pages() -> Vec<File> {
    let mut pages = files(&["docs", "bench", ".github"], "md");
    pages.extend(top_level_pages());
    pages.retain(|(path, _)| !path.starts_with("bench/results"));
    assert!(pages.len() > 8, "{} pages", pages.len());
    pages
}

fn top_level_pages() -> Vec<File> {
    let names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    let present = names.into_iter().filter_map(|name| Some((name.into(), fs::read_to_string(root().join(name)).ok()?)));
    present.collect()
}

fn files(folders: &[&str], extension: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                let from_top = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((from_top, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
