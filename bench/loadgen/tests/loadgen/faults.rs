//! The checker checked: each kind of broken promise is caught, named and reported by the exit code.

use crate::program::{FinishedRun, loadgen};
use crate::toy_server::{Lie, ToyServer};

const BROKEN: i32 = 3;

/// Five streams, ten events published together, one server with one fault.
fn run_against(lie: Lie, more: &[&str]) -> FinishedRun {
    let server = ToyServer::start(lie);
    let words = server.words();
    let mut all = vec!["run"];
    all.extend(words.iter().map(String::as_str));
    all.extend(["--streams", "5", "--events", "10", "--in-flight", "10", "--deadline", "5"]);
    all.extend(more);
    loadgen(&all)
}

#[test]
fn honest_server_is_found_clean() {
    run_against(Lie::None, &[]).assert_clean(50);
}

#[test]
fn dropped_event_is_told_as_lost() {
    let outcome = run_against(Lie::Drop, &[]);
    assert_eq!((outcome.code, outcome.faults()), (BROKEN, [5, 0, 0, 0, 0]));
    assert_eq!(outcome.number("/round/deliveries"), 45);
    assert!(outcome.stderr.contains("5 events were lost"), "{}", outcome.stderr);
}

#[test]
fn doubled_event_is_told_as_duplicated() {
    let outcome = run_against(Lie::Double, &[]);
    assert_eq!((outcome.code, outcome.faults()), (BROKEN, [0, 5, 0, 0, 0]));
}

#[test]
fn swapped_events_are_told_as_reordered() {
    let outcome = run_against(Lie::Swap, &[]);
    assert_eq!((outcome.code, outcome.faults()), (BROKEN, [0, 0, 5, 0, 0]));
}

#[test]
fn cut_event_is_told_as_corrupt_and_lost() {
    let outcome = run_against(Lie::Cut, &[]);
    assert_eq!((outcome.code, outcome.faults()), (BROKEN, [5, 0, 0, 5, 0]));
}

#[test]
fn event_on_a_foreign_channel_is_told_as_foreign() {
    let outcome = run_against(Lie::Misdirect, &["--channels", "2"]);
    // Streams 0, 2 and 4 follow one channel, 1 and 3 the other: its third event reaches 2 and 3 wrong streams.
    assert_eq!((outcome.code, outcome.faults()), (BROKEN, [0, 0, 0, 0, 5]));
}

#[test]
fn ended_streams_lose_what_they_do_not_get() {
    let outcome = run_against(Lie::Close, &[]);
    assert_eq!((outcome.code, outcome.faults()), (BROKEN, [40, 0, 0, 0, 0]));
    assert_eq!(outcome.number("/round/ended_streams"), 5);
}

#[test]
fn refused_streams_end_the_run_with_their_reason() {
    let outcome = run_against(Lie::Refuse, &[]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("5 of 5 streams did not open: answered with status 503 (5)"), "{}", outcome.stderr);
}
