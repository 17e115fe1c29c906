//! The two checks beside the faults, in short.

use fantail_faults::{Mode, at_every_byte, kill_at_every_byte, open_then_publish};

use crate::program::fantail;

const SEED: u64 = 12;

/// The modes that the program knows.
async fn modes() -> Vec<Mode> {
    let mut modes = Vec::new();
    for mode in Mode::OF_ONE_LANE {
        if mode.is_known_to(&fantail()).await.unwrap() {
            modes.push(mode);
        }
    }
    modes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_published_the_instant_a_head_comes_arrives() {
    fantail_faults::allow_many_descriptors().unwrap();
    for mode in modes().await {
        let tally = open_then_publish::run(&fantail(), mode, 1_500, SEED).await.unwrap();
        assert_eq!((tally.times, tally.missed, tally.declared), (1_500, 0, 0), "{}", mode.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_cut_behind_any_byte_brings_whole_events_and_its_rest_follows() {
    fantail_faults::allow_many_descriptors().unwrap();
    for mode in modes().await {
        let tally = at_every_byte::run(&fantail(), mode, SEED).await.unwrap();
        assert!(tally.is_kept(), "{}: {}", mode.name(), tally.verdict);
        // With memory alone it is tried over TLS too, where a handshake of more than a thousand bytes comes first.
        let (cuts_min, bytes_min) = if mode == Mode::Memory { (12_000, 4_500) } else { (8_000, 3_000) };
        assert!(tally.cuts > cuts_min && tally.bytes > bytes_min, "hardly anything was cut: {tally:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_at_any_byte_of_an_event_leaves_nothing_missing() {
    fantail_faults::allow_many_descriptors().unwrap();
    for mode in [Mode::Log, Mode::Jetstream] {
        let tallies = kill_at_every_byte::run(&fantail(), mode, SEED).await.unwrap();
        assert!(tallies.iter().all(at_every_byte::CutResults::is_kept), "{}: {tallies:?}", mode.name());
        let kills: u64 = tallies.iter().map(|tally| tally.cuts).sum();
        assert!(kills > 200, "hardly anything was killed: {kills}");
    }
}
