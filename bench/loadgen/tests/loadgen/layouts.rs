//! Streams over channels, events over requests: whatever the layout, each stream gets its channel's events.

use crate::program::{FinishedRun, loadgen};
use crate::toy_server::{Lie, ToyServer};

fn run(more: &[&str]) -> FinishedRun {
    let server = ToyServer::start(Lie::None);
    let words = server.words();
    let mut all = vec!["run"];
    all.extend(words.iter().map(String::as_str));
    all.extend(more);
    loadgen(&all)
}

#[test]
fn streams_share_several_channels() {
    // 20 events on 7 channels: channels 0 to 5 get three, channel 6 two. 50 streams: channel 0 has eight, others seven.
    let outcome = run(&["--streams", "50", "--channels", "7", "--events", "20", "--in-flight", "6", "--workers", "3"]);
    outcome.assert_clean(3 * (8 + 5 * 7) + 2 * 7);
    assert_eq!(outcome.number("/workload/channels"), 7);
}

#[test]
fn each_stream_has_a_channel_of_its_own_at_a_rate() {
    let outcome = run(&[
        "--streams",
        "30",
        "--channels",
        "per-stream",
        "--events",
        "90",
        "--rate",
        "2000",
        "--publish-connections",
        "4",
    ]);
    outcome.assert_clean(90);
}

#[test]
fn batches_go_as_an_array_or_line_by_line() {
    for form in ["array", "ndjson"] {
        let outcome =
            run(&["--streams", "10", "--channels", "2", "--events", "40", "--in-flight", "16", "--publish-form", form]);
        outcome.assert_clean(200);
    }
}

#[test]
fn large_events_arrive_whole() {
    run(&["--streams", "3", "--events", "5", "--payload", "300000"]).assert_clean(15);
}
