//! The tool is tried itself: a faulty server stands in front of two sound nodes, and the trial must say so.

use fantail_faults::{Fault, Mode, Plan, TrialOutcome, trial};
use fantail_testkit::Defect;

use crate::program::fantail;

const SEED: u64 = 11;

/// Every reader gets a gap each second here, and most events may come again.
const MOVING: &str = "streams-moving";

/// The defects that are found in what arrives, without a gap.
const IN_EVENTS: [Defect; 5] = [Defect::Drop, Defect::Double, Defect::Swap, Defect::Cut, Defect::Misroute];

/// Plays one fault with a server before each node that has this defect.
async fn tried(fault: &str, defect: Defect) -> TrialOutcome {
    tried_in(Mode::Pubsub, fault, defect).await
}

async fn tried_in(mode: Mode, fault: &str, defect: Defect) -> TrialOutcome {
    fantail_faults::allow_many_descriptors().unwrap();
    let fantail = fantail();
    // The ledger knows the order of each publisher's own events only, so swapped events must be of one.
    let crowd = (80, 1);
    let quick = fault == MOVING || mode.is_nats();
    let plan = Plan { fantail, mode, seed: SEED, quick, crowd, defect };
    let fault = Fault::named(fault).next().unwrap();
    let outcome = trial::run(fault, &plan).await.unwrap();
    println!("{defect:?} ({}): {}, {:?}", mode.name(), outcome.verdict, outcome.felt);
    outcome
}

/// The defect was made, and so the promise was broken.
async fn found(fault: &str, defect: Defect) -> TrialOutcome {
    found_in(Mode::Pubsub, fault, defect).await
}

async fn found_in(mode: Mode, fault: &str, defect: Defect) -> TrialOutcome {
    let outcome = tried_in(mode, fault, defect).await;
    assert!(outcome.felt("spoiled") > 0, "{defect:?} was never made, so nothing was tried");
    assert!(!outcome.is_kept(), "{defect:?} was not found");
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_build_keeps_the_promise() {
    let outcome = tried("calm", Defect::None).await;
    assert!(outcome.is_kept(), "{}, {:?}", outcome.verdict, outcome.offences);
    assert!(outcome.felt("moved") > 0, "nobody went to the other node");
    assert!(outcome.felt("encrypted") > 20, "hardly a stream was encrypted");
    assert!(outcome.recovered.all.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_drops_an_event_is_found_out() {
    assert!(found("calm", Defect::Drop).await.verdict.silent > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_sends_an_event_twice_is_found_out() {
    assert!(found("calm", Defect::Double).await.verdict.duplicated > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_swaps_two_events_is_found_out() {
    let verdict = found("calm", Defect::Swap).await.verdict;
    assert!(verdict.reordered + verdict.silent > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_cuts_an_event_is_found_out() {
    assert!(found("calm", Defect::Cut).await.verdict.cut > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_sends_an_event_of_a_foreign_channel_is_found_out() {
    assert!(found("calm", Defect::Misroute).await.verdict.foreign > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_tell_of_a_gap_is_found_out() {
    assert!(found("connections-cut", Defect::HideGaps).await.verdict.silent > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_build_keeps_the_promise_to_readers_that_move() {
    let outcome = tried(MOVING, Defect::None).await;
    assert!(outcome.is_kept(), "{}, {:?}", outcome.verdict, outcome.offences);
    assert!(outcome.felt("moved") > 100 && outcome.verdict.repeated > 0, "{}, {:?}", outcome.verdict, outcome.felt);
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_between_nodes_do_not_hide_an_event_that_is_dropped_or_doubled_or_swapped() {
    assert!(found(MOVING, Defect::Drop).await.verdict.silent > 0);
    assert!(found(MOVING, Defect::Double).await.verdict.duplicated > 0);
    let verdict = found(MOVING, Defect::Swap).await.verdict;
    assert!(verdict.reordered + verdict.silent > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_again_without_a_gap_is_found_out() {
    assert!(found(MOVING, Defect::HideGaps).await.verdict.duplicated > 0);
}

/// This is the limit of the verdict: the same fault with every gap declared.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_tells_of_every_gap_keeps_the_promise_though_events_are_lost() {
    let outcome = tried("connections-cut", Defect::None).await;
    assert!(outcome.is_kept(), "{}, {:?}", outcome.verdict, outcome.offences);
    assert!(outcome.verdict.declared > 0 && outcome.felt("outages") >= 2);
}

/// The count by which a defect of [`IN_EVENTS`] is found.
fn tells(defect: Defect, outcome: &TrialOutcome) -> u64 {
    let verdict = &outcome.verdict;
    match defect {
        Defect::Double => verdict.duplicated,
        Defect::Swap => verdict.reordered + verdict.silent,
        Defect::Cut => verdict.cut,
        Defect::Misroute => verdict.foreign,
        _ => verdict.silent,
    }
}

async fn every_defect_is_found_in(mode: Mode) {
    let sound = tried_in(mode, "calm", Defect::None).await;
    assert!(sound.is_kept() && !sound.gave_up, "{}, {:?}", sound.verdict, sound.offences);
    assert!(sound.felt("moved") > 0 && sound.recovered.all.is_some(), "{:?}", sound.felt);
    for defect in IN_EVENTS {
        let outcome = found_in(mode, "calm", defect).await;
        assert!(tells(defect, &outcome) > 0, "{defect:?} was taken for something else: {}", outcome.verdict);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_core_nats_a_sound_build_keeps_the_promise_and_every_defect_is_found_out() {
    every_defect_is_found_in(Mode::Nats).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_stream_of_nats_a_sound_build_keeps_the_promise_and_every_defect_is_found_out() {
    every_defect_is_found_in(Mode::Jetstream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_tell_of_a_gap_is_found_out_over_core_nats_and_over_a_stream_made_anew() {
    assert!(found_in(Mode::Nats, "connections-cut", Defect::HideGaps).await.verdict.silent > 0);
    assert!(found_in(Mode::Jetstream, "stream-made-anew", Defect::HideGaps).await.verdict.silent > 0);
}

/// The limit of the promise without a stream, and the promise with one.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_an_outage_are_declared_over_core_nats_and_read_again_from_a_stream() {
    let outcome = tried_in(Mode::Nats, "connections-cut", Defect::None).await;
    assert!(outcome.is_kept(), "{}, {:?}", outcome.verdict, outcome.offences);
    assert!(outcome.verdict.declared > 0 && outcome.felt("outages") >= 2, "{}", outcome.verdict);
    let outcome = tried_in(Mode::Jetstream, "connections-cut", Defect::None).await;
    assert!(outcome.is_kept() && outcome.verdict.is_whole(), "{}, {:?}", outcome.verdict, outcome.offences);
}
