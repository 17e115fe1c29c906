//! How much is kept, and for how long.

use std::time::Duration;

use super::lane::{STATE, TOPS, stream};
use super::{FORMS, TestLane};

const HOUR: Duration = Duration::from_hours(1);
const HOUR_MS: u64 = 3_600_000;

/// As if so much time had passed: time in the log never falls.
async fn pass(lane: &mut TestLane, ms: u64) {
    let now = lane.state().await.terms.ms;
    lane.redis(&["HSET", STATE, "ms", &(now + ms).to_string()]).await;
}

#[tokio::test]
async fn a_channel_keeps_exactly_so_many_events_and_tells_what_was_before() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        for (events_max, published) in [(1, 3), (3, 10), (250, 700)] {
            lane.configure(events_max, HOUR).await;
            for _ in 0..published {
                lane.publish(&["a"], "x").await;
                let length = lane.integer(&["XLEN", &stream("a")]).await;
                assert!(length <= events_max.cast_signed(), "{form:?}: {length} of {events_max}");
            }
            assert_eq!(lane.integer(&["XLEN", &stream("a")]).await, events_max.cast_signed(), "{form:?}");
            let top = lane.tops(&["a"]).await[0].unwrap();
            let (oldest, previous, _) = lane.chain("a").await[0].clone();
            assert_eq!((oldest, previous), (top - events_max + 1, oldest - 1), "{form:?}");
        }
    }
}

#[tokio::test]
async fn a_channel_keeps_events_up_to_an_age_and_its_stream_ends_with_the_last() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        lane.configure(100, HOUR).await;
        for passing in [HOUR_MS / 2, HOUR_MS / 4, HOUR_MS / 4 + 2, 0] {
            lane.publish(&["a"], "x").await;
            pass(&mut lane, passing).await;
        }
        let numbers: Vec<_> = lane.chain("a").await.into_iter().map(|(number, ..)| number).collect();
        assert_eq!(numbers, [2, 3, 4], "{form:?}: the first is an hour old, and a little more");
        let left = lane.integer(&["PTTL", &stream("a")]).await;
        assert!((1..=HOUR_MS.cast_signed()).contains(&left), "{form:?}: {left}");
        assert_eq!(lane.integer(&["PTTL", TOPS]).await, -1, "what is known of a channel outlives its Stream");
        assert_eq!(lane.integer(&["PTTL", STATE]).await, -1);
    }
}

#[tokio::test]
async fn the_retention_is_kept_in_redis_until_it_is_set_anew() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        for retention in [["0", "1"], ["1", "0"], ["-1", "1"], ["1.5", "1"], ["x", "1"], ["1", ""]] {
            let arguments = retention.map(str::as_bytes);
            let library = lane.store.library();
            let set: Result<(), _> = library.call(&mut lane.connection(), STATE, "configure", &arguments).await;
            assert!(set.unwrap_err().to_string().contains("two numbers from 1"), "{form:?} {retention:?}");
        }
        lane.configure(2, HOUR).await;
        lane.reconnect().await;
        for _ in 0..5 {
            lane.publish(&["a"], "x").await;
        }
        assert_eq!(lane.entries("a").await.len(), 2, "{form:?}");
    }
}

/// A channel that is not among the tops has no number above the horizon.
async fn check_tops(lane: &TestLane, newest: &[(String, u64)]) -> (usize, u64) {
    let names: Vec<_> = newest.iter().map(|(name, _)| name.as_str()).collect();
    let horizon = lane.state().await.horizon;
    let tops = lane.tops(&names).await;
    for ((name, number), top) in newest.iter().zip(&tops) {
        match top {
            Some(top) => assert_eq!(top, number, "{name}"),
            None => assert!(*number <= horizon, "{name}: {number} above {horizon}"),
        }
    }
    (tops.iter().flatten().count(), horizon)
}

#[tokio::test]
async fn tops_are_bounded_by_count_and_what_is_forgotten_raises_the_horizon() {
    for form in FORMS {
        for channels_per_event in [1, 3, 40] {
            let mut lane = TestLane::start(form).await;
            lane.redis(&["HSET", STATE, "tops_max", "50"]).await;
            let mut newest = Vec::new();
            for event in 0..200 {
                let names: Vec<_> = (0..channels_per_event).map(|at| format!("c{event}-{at}")).collect();
                let id = lane.publish(&names.iter().map(String::as_str).collect::<Vec<_>>(), "x").await;
                newest.extend(names.into_iter().map(|name| (name, id.number)));
            }
            let (known, horizon) = check_tops(&lane, &newest).await;
            assert!((1..=50 + 16 * channels_per_event).contains(&known), "{form:?} {channels_per_event}: {known}");
            assert!((100..200).contains(&horizon), "{form:?}: {horizon}");
            lane.publish(&["c0-0"], "x").await;
            assert_eq!(lane.chain("c0-0").await.last().unwrap().1, lane.state().await.horizon);
        }
    }
}

#[tokio::test]
async fn tops_of_channels_that_are_long_quiet_are_forgotten() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        lane.configure(100, HOUR).await;
        let mut newest = Vec::new();
        for number in 0..100 {
            let name = format!("quiet{number}");
            let id = lane.publish(&[&name], "x").await;
            newest.push((name, id.number));
        }
        for _ in 0..3 {
            pass(&mut lane, HOUR_MS).await;
            for _ in 0..64 {
                lane.publish(&["busy"], "x").await;
            }
        }
        let (known, horizon) = check_tops(&lane, &newest).await;
        assert_eq!((known, horizon), (0, 100), "{form:?}");
        assert_eq!(lane.tops(&["busy"]).await, [Some(292)]);
        // The chain of the busy channel never needed the horizon.
        assert!(lane.chain("busy").await.windows(2).all(|two| two[1].1 == two[0].0));
    }
}

#[tokio::test]
async fn tops_of_channels_that_had_events_of_late_are_kept() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        lane.configure(100, HOUR).await;
        lane.publish(&["first"], "x").await;
        for _ in 0..3 {
            pass(&mut lane, HOUR_MS - 60_000).await;
            let late = lane.publish(&["late"], "x").await;
            pass(&mut lane, 120_000).await;
            for _ in 0..64 {
                lane.publish(&["busy"], "x").await;
            }
            assert_eq!(lane.tops(&["late"]).await, [Some(late.number)], "{form:?}");
        }
        assert_eq!(lane.tops(&["first"]).await, [None], "{form:?}");
    }
}
