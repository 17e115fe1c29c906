//! The floor and the load generator together, as a comparison runs them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use fantail_bench_floor::{Counts, Floor, Options};

use crate::program::loadgen;

/// A floor in a thread of this test: its process id is the test's own.
pub(crate) struct RunningFloor {
    subscribe: String,
    publish: String,
    stop: UnixStream,
    thread: JoinHandle<Counts>,
}

impl RunningFloor {
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    pub(crate) fn start_with(redis: Option<SocketAddr>) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let floor = Floor::bind(Options { listen: any, publish_listen: any, keepalive_interval: None, redis }).unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        Self {
            subscribe: format!("http://{}/sse/{{channel}}", floor.stream_address().unwrap()),
            publish: format!("http://{}/publish/{{channel}}", floor.publish_address().unwrap()),
            stop,
            thread: std::thread::spawn(move || floor.run(&stopped).unwrap()),
        }
    }

    /// Its addresses as options.
    pub(crate) fn words(&self) -> [String; 4] {
        let [subscribe, publish] = [&self.subscribe, &self.publish].map(Clone::clone);
        ["--subscribe-url-template".to_owned(), subscribe, "--publish-url-template".to_owned(), publish]
    }

    pub(crate) fn stop(mut self) -> Counts {
        self.stop.write_all(b"x").unwrap();
        self.thread.join().unwrap()
    }
}

fn own_pid() -> String {
    std::process::id().to_string()
}

#[test]
fn two_hundred_streams_get_every_event_from_the_floor() {
    let floor = RunningFloor::start();
    let outcome = loadgen(&[
        "run",
        "--subscribe-url-template",
        &floor.subscribe,
        "--publish-url-template",
        &floor.publish,
        "--server-pid",
        &own_pid(),
        "--streams",
        "200",
        "--workers",
        "2",
        "--events",
        "50",
        "--in-flight",
        "5",
    ]);
    outcome.assert_clean(200 * 50);
    assert_eq!(outcome.number("/opening/streams"), 200);
    assert_eq!(outcome.number("/opening/time_to_head_us/count"), 200);
    assert!(outcome.number("/round/server/memory_after/rss") > 0);
    assert!(outcome.number("/kernel_open/slab") > 0);
    assert!(outcome.stdout.contains("10,000 of 10,000 expected"), "{}", outcome.stdout);
    let counts = floor.stop();
    assert_eq!((counts.streams, counts.deliveries, counts.dropped), (200, 10_000, 0));
}

#[test]
fn comparison_pairs_the_rounds_of_two_servers() {
    let (a, b) = (RunningFloor::start(), RunningFloor::start());
    let words = |floor: &RunningFloor| {
        [format!("subscribe={}", floor.subscribe), format!("publish={}", floor.publish), format!("pid={}", own_pid())]
    };
    let (words_a, words_b) = (words(&a), words(&b));
    let mut all = vec!["compare", "--rounds", "3", "--rest", "0", "--streams", "50", "--events", "400", "--a"];
    all.extend(words_a.iter().map(String::as_str));
    all.push("--b");
    all.extend(words_b.iter().map(String::as_str));
    let outcome = loadgen(&all);
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    for side in ["a", "b"] {
        // Three pairs and the one that warms up.
        for round in 0..4 {
            assert_eq!(outcome.number(&format!("/{side}/rounds/{round}/deliveries")), 50 * 400);
        }
    }
    let [median, min, max] = ["median", "min", "max"].map(|name| outcome.fraction(&format!("/cpu_ratio/{name}")));
    assert!(0.0 < min && min <= median && median <= max, "{min} {median} {max}");
    assert_eq!(outcome.json["cpu_ratio"]["pairs"].as_array().unwrap().len(), 3);
    assert_eq!((a.stop().deliveries, b.stop().deliveries), (4 * 20_000, 4 * 20_000));
}

#[test]
fn slope_opens_the_smaller_count_first_and_adds_to_it() {
    let floor = RunningFloor::start();
    let outcome = loadgen(&[
        "slope",
        "--subscribe-url-template",
        &floor.subscribe,
        "--publish-url-template",
        &floor.publish,
        "--server-pid",
        &own_pid(),
        "--from",
        "20",
        "--to",
        "120",
        "--workers",
        "2",
        "--warm",
        "--events",
        "5",
        "--settle-deadline",
        "3",
    ]);
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert_eq!((outcome.number("/from/streams"), outcome.number("/to/streams")), (20, 120));
    assert_eq!(outcome.number("/to/opening/streams"), 100);
    // Streams of the second opening begin behind the events of the first, so neither round counts them as lost.
    assert_eq!([0, 1].map(|round| outcome.number(&format!("/warm_rounds/{round}/deliveries"))), [100, 600]);
    assert!(outcome.fraction("/per_stream_bytes/rss").is_finite());
    assert_eq!(floor.stop().streams, 120);
}

#[test]
fn a_server_that_does_not_listen_is_an_error_of_the_run() {
    let outcome = loadgen(&["run", "--subscribe-url-template", "http://127.0.0.1:1/sse/{channel}", "--streams", "3"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("3 of 3 streams did not open"), "{}", outcome.stderr);
}
