//! Slow readers cost other clients nothing. They get whole frames in order as long as the log reaches back. A reader
//! that falls behind the log, or takes nothing at all, is ended with a reason.

use std::time::Duration;

use fantail_testkit::client::SubscribeRequest;
use fantail_testkit::ledger::Composed;
use fantail_testkit::{
    Close, End, Event, Fantail, Ledger, LedgerPublisher, PATIENCE, Random, SseClient, Start, Verdict,
};

use crate::node::{
    ask, connection_id, connections, metrics, node, publish, publish_to, read_to_close, subscribe, until, until_closed,
    until_state,
};

/// Small kernel buffers, so that a stopped reader is noticed at once.
const NARROW: [&str; 2] = ["--send-buffer-bytes", "4KiB"];

async fn narrow_node(flags: &[&str]) -> Fantail {
    node(&[&NARROW, flags].concat()).await
}

fn narrow(node: &Fantail, path: &str) -> SubscribeRequest {
    SseClient::request(node.public(), path).receive_buffer(4_096)
}

/// Publishes events of 16 KiB to these channels in turn.
async fn publish_large(
    node: &Fantail,
    publisher: &mut LedgerPublisher,
    channels: &[&str],
    count: usize,
) -> Vec<Composed> {
    let mut events = Vec::new();
    for number in 0..count {
        let channel = channels[number % channels.len()];
        let event = publisher.compose(channel, 16 << 10);
        publish_to(node, &[channel], &event.text).await;
        publisher.confirm(&event);
        events.push(event);
    }
    events
}

async fn until_nothing_is_unsent(node: &Fantail) {
    until(node, "nothing is held for slow streams", |m| {
        m.count("fantail_unsent_bytes") == 0 && m.count("fantail_streams_behind") == 0
    })
    .await;
}

#[tokio::test]
async fn a_stopped_reader_costs_the_others_nothing() {
    let node = narrow_node(&["--progress-deadline", "5m", "--workers", "1"]).await;
    let stopped = narrow(&node, "/sse/a").connect().await.unwrap();
    let mut others = Vec::new();
    for path in ["/sse/a", "/sse/a", "/sse?channel=a&channel=b", "/sse/a?limit=1000"] {
        others.push(subscribe(&node, path).await);
    }
    let text = "x".repeat(16 << 10);
    for number in 0..50 {
        publish(&node, "a", format!("{number} {text}")).await;
        for client in &mut others {
            assert_eq!(client.next_event(PATIENCE).await.unwrap().data, format!("{number} {text}"));
        }
    }
    // It stood in the middle of a frame all the while, and these are all the bytes that were held for it.
    until_state(&node, stopped.local_addr().unwrap(), "blocked").await;
    let listing = connections(&node).await;
    let unsent = listing.iter().filter_map(|entry| entry["unsent_bytes"].as_u64()).max().unwrap();
    assert!((1..=17 << 10).contains(&unsent), "{unsent}");
    until(&node, "it is counted", |m| {
        (m.count("fantail_unsent_bytes"), m.count("fantail_streams_behind")) == (unsent, 1)
    })
    .await;
    drop(stopped);
    until_nothing_is_unsent(&node).await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_ended_after_the_deadline_on_progress() {
    let node = narrow_node(&["--progress-deadline", "300ms"]).await;
    let mut stopped = narrow(&node, "/sse/a").connect().await.unwrap();
    let mut idle = subscribe(&node, "/sse/b").await;
    publish(&node, "a", "x".repeat(200_000)).await;
    until(&node, "it is in the middle of its frame", |m| m.count("fantail_unsent_bytes") > 0).await;
    until_closed(&node, "stalled", 1).await;
    until_nothing_is_unsent(&node).await;
    assert_eq!(stopped.read_until_closed(PATIENCE).await.unwrap(), Close::Reset);
    // A reader with nothing to take is not late.
    publish(&node, "b", "still here").await;
    assert_eq!(idle.next_event(PATIENCE).await.unwrap().data, "still here");
    assert_eq!(metrics(&node).await.sum("fantail_streams_closed_total"), 1);
}

#[tokio::test]
async fn a_slow_reader_that_moves_is_never_late() {
    // The deadline is long compared to a nap, so that a stall of this machine for a second is no fault of the node.
    let node = narrow_node(&["--progress-deadline", "2s"]).await;
    let mut slow = narrow(&node, "/sse/a").connect().await.unwrap();
    let texts: Vec<_> = (0..8).map(|number| format!("{number} {}", "x".repeat(100_000))).collect();
    for text in &texts {
        publish(&node, "a", text).await;
    }
    until_state(&node, slow.local_addr().unwrap(), "blocked").await;
    // For more than two deadlines it takes a few kilobytes at a time.
    for _ in 0..80 {
        slow.read_more(PATIENCE).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    until_state(&node, slow.local_addr().unwrap(), "blocked").await;
    assert_eq!(metrics(&node).await.sum("fantail_streams_closed_total"), 0);
    let events = slow.next_events(texts.len(), PATIENCE).await.unwrap();
    assert!(events.iter().zip(&texts).all(|(event, text)| event.data == *text), "a frame was torn");
}

#[tokio::test]
async fn a_reader_that_stops_and_reads_again_gets_everything_whole_and_in_order() {
    const SEED: u64 = 5;
    let node = narrow_node(&["--log-bytes-max", "64MiB", "--progress-deadline", "5m"]).await;
    let ledger = Ledger::new();
    let mut publisher = ledger.publisher(Random::from_seed(SEED));
    let mut clients = Vec::new();
    // The last event of `a` is the last but one of all.
    for (channels, last) in [(&["a"][..], 0), (&["a", "b"], 1)] {
        let request = narrow(&node, &format!("/sse?channel={}", channels.join("&channel=")));
        for request in [request.clone(), request.http_1_0()] {
            let client = request.connect().await.unwrap();
            let reader = ledger.reader(channels.join("+"), channels, Start::Live(ledger.mark()));
            clients.push((client, reader, last));
        }
    }
    let mut newest = Vec::new();
    for round in 0..3 {
        newest = publish_large(&node, &mut publisher, &["a", "b"], 20).await.split_off(18);
        for (client, reader, _) in &mut clients {
            until_state(&node, client.local_addr().unwrap(), "blocked").await;
            for _ in 0..3 * round {
                reader.record(&client.next_event(PATIENCE).await.unwrap());
            }
        }
    }
    for (mut client, reader, last) in clients {
        while !reader.has(&newest[last]) {
            reader.record(&client.next_event(PATIENCE).await.unwrap());
        }
        assert_eq!(client.parser().unknown_lines(), 0);
        reader.stopped(ledger.mark());
    }
    let verdict = ledger.judge();
    assert_eq!((verdict.readers, verdict.delivered), (4, 2 * 30 + 2 * 60), "{verdict}");
    verdict.assert_whole();
    until_nothing_is_unsent(&node).await;
}

#[tokio::test]
async fn a_reader_whose_log_has_moved_on_is_ended_cleanly_and_told_of_the_gap_when_it_comes_back() {
    const SEED: u64 = 6;
    let node = narrow_node(&["--log-events-max", "6", "--progress-deadline", "5m"]).await;
    for (streams, path) in [(1, "/sse/a"), (2, "/sse?channel=a&channel=b")] {
        let ledger = Ledger::new();
        let mut publisher = ledger.publisher(Random::from_seed(SEED));
        let mut client = narrow(&node, path).connect().await.unwrap();
        let reader = ledger.reader(path, &["a", "b"], Start::Live(ledger.mark()));
        publish_large(&node, &mut publisher, &["a"], 3).await;
        until_state(&node, client.local_addr().unwrap(), "blocked").await;
        let last = publish_large(&node, &mut publisher, &["a"], 37).await.pop().unwrap();

        let (events, why) = read_to_close(&mut client).await;
        assert_eq!(why, "overrun");
        assert!((1..34).contains(&events.len()), "{} events", events.len());
        for event in &events {
            reader.record(event);
        }
        let id = client.last_event_id().to_owned();
        drop(client);
        until_closed(&node, "overrun", streams).await;

        let mut again = narrow(&node, path).last_event_id(&id).connect().await.unwrap();
        let gap = again.next_event(PATIENCE).await.unwrap();
        assert_eq!((gap.event.as_str(), gap.data.as_str()), ("fantail.gap", r#"{"channel":"a","reason":"trimmed"}"#));
        reader.record(&gap);
        while !reader.has(&last) {
            reader.record(&again.next_event(PATIENCE).await.unwrap());
        }
        reader.stopped(ledger.mark());
        let verdict = ledger.judge();
        assert_eq!(
            (verdict.delivered, verdict.declared),
            (events.len() as u64 + 6, 34 - events.len() as u64),
            "{verdict}"
        );
        verdict.assert_clean();
        drop(again);
        until_nothing_is_unsent(&node).await;
    }
}

#[tokio::test]
async fn a_slow_stream_that_is_ended_finishes_its_frame_first() {
    let node = narrow_node(&["--progress-deadline", "5m"]).await;
    let text = "x".repeat(200_000);
    for (reason, path) in [("kicked", "/sse/k"), ("channel_deleted", "/sse/d"), ("limit_reached", "/sse/l?limit=1")] {
        let channel = path.trim_start_matches("/sse/").split('?').next().unwrap();
        let request = narrow(&node, path);
        for (count, request) in [(1, request.clone()), (2, request.http_1_0())] {
            let mut client = request.connect().await.unwrap();
            let peer = client.local_addr().unwrap();
            publish(&node, channel, &text).await;
            publish(&node, channel, "behind it").await;
            until_state(&node, peer, "blocked").await;
            let ended = match reason {
                "kicked" => {
                    ask(&node, "DELETE", &format!("/connections/{}", connection_id(&node, peer).await)).await.status
                }
                "channel_deleted" => ask(&node, "DELETE", &format!("/channels/{channel}")).await.status,
                _ => 200, // it ends itself
            };
            assert_eq!(ended, 200, "{reason}");
            let events = if reason == "limit_reached" {
                // It asked for that limit, so no event announces the end. A client that counts bytes relies on it.
                let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
                assert_eq!(end, End::Clean);
                events
            } else {
                let (events, why) = read_to_close(&mut client).await;
                assert_eq!(why, reason.replace('_', "-"));
                events
            };
            assert_eq!(events.len(), 1, "{reason}");
            assert!(events[0].data == text, "{reason}: the frame was torn");
            assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Fin, "{reason}");
            drop(client);
            until_closed(&node, reason, count).await;
        }
    }
    until_nothing_is_unsent(&node).await;
}

/// 1. A reader stops in the middle of a frame, and the log moves on past it.
/// 2. It takes nothing: neither the rest of the frame nor the close event can reach it.
/// 3. The progress deadline ends it all the same.
#[tokio::test]
async fn a_stopped_reader_is_ended_though_its_log_has_moved_on() {
    let node = narrow_node(&["--log-events-max", "2", "--progress-deadline", "300ms"]).await;
    let mut stopped = narrow(&node, "/sse/a").connect().await.unwrap();
    publish(&node, "a", "x".repeat(200_000)).await;
    until(&node, "it is in the middle of its frame", |m| m.count("fantail_unsent_bytes") > 0).await;
    for _ in 0..10 {
        publish(&node, "a", "behind it").await;
    }
    until_closed(&node, "stalled", 1).await;
    assert_eq!(stopped.read_until_end(PATIENCE).await.unwrap(), (vec![], End::Reset));
    until_nothing_is_unsent(&node).await;
}

/// A reader stands still while forty events of channel a are published, and the log keeps six. Then it reads on to the last
/// of them. Returns its events, and the verdict of the ledger.
pub(crate) async fn stand_still_and_read_on(
    node: &Fantail,
    request: SubscribeRequest,
    seed: u64,
) -> (Vec<Event>, Verdict) {
    let ledger = Ledger::new();
    let mut publisher = ledger.publisher(Random::from_seed(seed));
    let mut client = request.connect().await.unwrap();
    let reader = ledger.reader("slow", &["a", "b"], Start::Live(ledger.mark()));
    publish_large(node, &mut publisher, &["a"], 3).await;
    until_state(node, client.local_addr().unwrap(), "blocked").await;
    let last = publish_large(node, &mut publisher, &["a"], 37).await.pop().unwrap();
    let mut events = Vec::new();
    while !reader.has(&last) {
        events.push(client.next_event(PATIENCE).await.unwrap());
        reader.record(events.last().unwrap());
    }
    // It is as live as any other stream now.
    let more = publish_large(node, &mut publisher, &["a"], 2).await;
    for _ in &more {
        reader.record(&client.next_event(PATIENCE).await.unwrap());
    }
    reader.stopped(ledger.mark());
    assert!(!client.parser().in_mid_block() && client.parser().unknown_lines() == 0);
    (events, ledger.judge())
}

/// The number of events before the gap, and behind it.
pub(crate) fn around_the_gap(events: &[Event]) -> (usize, usize) {
    let gaps: Vec<_> = events.iter().enumerate().filter(|(_, event)| event.event == "fantail.gap").collect();
    let [(at, gap)] = gaps[..] else { panic!("{} gaps", gaps.len()) };
    assert_eq!(gap.data, r#"{"channel":"a","reason":"skipped"}"#);
    (at, events.len() - at - 1)
}

#[tokio::test]
async fn where_skip_is_the_policy_a_slow_reader_stays_is_told_what_it_missed_and_gets_what_is_left() {
    let node = narrow_node(&["--log-events-max", "6", "--progress-deadline", "5m", "--slow-policy", "skip"]).await;
    for path in ["/sse/a", "/sse?channel=a&channel=b"] {
        let (events, verdict) = stand_still_and_read_on(&node, narrow(&node, path), 7).await;
        let (before, behind) = around_the_gap(&events);
        assert_eq!(behind, 6, "{path}");
        assert!(events[before].own_id.is_some(), "delivery goes on from the gap's id");
        assert_eq!((verdict.delivered, verdict.declared), (before as u64 + 6 + 2, 34 - before as u64), "{verdict}");
        verdict.assert_clean();
    }
    let told = metrics(&node).await;
    assert_eq!((told.closed("overrun"), told.count("fantail_overruns_total{policy=\"skip\"}")), (0, 2));
    until_nothing_is_unsent(&node).await;
}

#[tokio::test]
async fn where_latest_is_the_policy_a_slow_reader_of_one_channel_goes_on_with_the_newest_event_alone() {
    let node = narrow_node(&["--log-events-max", "6", "--progress-deadline", "5m", "--slow-policy", "latest"]).await;
    let (events, verdict) = stand_still_and_read_on(&node, narrow(&node, "/sse/a"), 8).await;
    let (before, behind) = around_the_gap(&events);
    assert_eq!((behind, &events[before].own_id), (1, &None), "the newest event has the id of both");
    assert_eq!((verdict.delivered, verdict.declared), (before as u64 + 1 + 2, 39 - before as u64), "{verdict}");
    verdict.assert_clean();
    assert_eq!(metrics(&node).await.count("fantail_overruns_total{policy=\"latest\"}"), 1);
    until_nothing_is_unsent(&node).await;
}

/// The channels of a stream, and the outcome behind the frame under way: how many gaps and events, or the reason for
/// its end.
type Case = (&'static [&'static str], Result<(usize, usize), &'static str>);

#[tokio::test]
async fn a_channels_pattern_decides_for_its_log_and_for_those_who_are_too_slow_for_it() {
    let rules = [
        "--channel=pattern=news.*,slow_policy=skip,log_events_max=2",
        "--channel=pattern=*.now,slow_policy=latest,log_events_max=3",
        "--log-events-max=5",
        "--progress-deadline=5m",
    ];
    let node = narrow_node(&rules).await;
    let shown = ask(&node, "GET", "/config").await.json().unwrap()["channel"]["value"].clone();
    assert_eq!(
        shown,
        "pattern=news.*,slow_policy=skip,log_events_max=2;pattern=*.now,slow_policy=latest,log_events_max=3"
    );
    let cases: [Case; 6] = [
        (&["news.now"], Ok((1, 2))),
        (&["x.now"], Ok((1, 1))),
        (&["plain"], Err("overrun")),
        (&["news.a", "x.now"], Ok((2, 2 + 3))),
        (&["news.a", "plain"], Err("overrun")),
        (&["x.now", "y.now"], Ok((2, 3 + 3))),
    ];
    let text = "x".repeat(64 << 10);
    for (channels, expected) in cases {
        let path = format!("/sse?channel={}", channels.join("&channel="));
        let mut client = narrow(&node, &path).connect().await.unwrap();
        publish(&node, channels[0], &text).await;
        until_state(&node, client.local_addr().unwrap(), "blocked").await;
        for channel in channels {
            for _ in 0..10 {
                publish(&node, channel, "missed or kept").await;
            }
        }
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, text);
        match expected {
            Err(reason) => assert_eq!(read_to_close(&mut client).await, (vec![], reason.to_owned()), "{path}"),
            Ok((gaps, kept)) => {
                // Live, so that no more can come before.
                until_state(&node, client.local_addr().unwrap(), "live").await;
                publish(&node, channels[0], "end").await;
                let events = client.next_events(gaps + kept + 1, PATIENCE).await.unwrap();
                assert_eq!(events.last().unwrap().data, "end", "{path}: {events:?}");
                assert_eq!(events.iter().filter(|event| event.event == "fantail.gap").count(), gaps, "{path}");
            }
        }
    }
    for (channel, entries) in [("news.now", 2), ("x.now", 3), ("plain", 5)] {
        let shown = ask(&node, "GET", &format!("/channels/{channel}")).await.json().unwrap();
        assert_eq!(shown["log_entries"], entries, "{channel}");
    }
}
