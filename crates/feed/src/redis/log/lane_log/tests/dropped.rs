//! Messages without a number that reach the node and not its streams: their channels are told, since nobody can bring
//! them.

use super::{GivenUp, TrialLane};

impl TrialLane {
    /// Reads that Redis is at number 10, and hands down what waited.
    fn repair(&mut self) {
        self.log.begin_repair();
        assert_eq!(self.repaired(10, Vec::new()), Ok(true));
    }

    /// More than may wait.
    fn overflow(&mut self) {
        for _ in 0..40 {
            self.plain("flood", vec![b'x'; 1 << 20]).expect("held or dropped");
        }
    }

    /// Everything that it was told, without the numbers of the log.
    fn news(&mut self) -> Vec<String> {
        let mut told: Vec<_> = self.everything().into_iter().filter(|told| !told.starts_with("synced")).collect();
        // Channels are told in the order of a set.
        told.chunk_by_mut(|a, b| a.split(' ').next() == b.split(' ').next()).for_each(<[String]>::sort);
        told
    }
}

/// 1. The first unnumbered event of a channel comes while what was missed is read, and is too much to be kept.
/// 2. The repair ends and confirms the channels. Before the next one begins, another channel gets its first as well.
#[test]
fn the_channels_of_dropped_messages_are_told_before_they_are_confirmed_or_after_the_next_repair() {
    let mut node = TrialLane::following(&["a", "b", "flood"]);
    node.reconnect();
    node.log.begin_repair();
    node.plain("a", "x").expect("held");
    node.overflow();
    assert_eq!(node.repaired(10, Vec::new()), Ok(false));
    let confirmed = ["followed a", "followed b", "followed flood"];
    assert_eq!(node.news(), [&["dropped a", "dropped flood"][..], &confirmed].concat());
    node.plain("b", "x").expect("dropped");
    node.repair();
    assert_eq!(node.news(), [&["dropped b"][..], &confirmed].concat());
}

#[test]
fn a_second_loss_during_a_repair_forgets_no_channel_of_which_a_message_waited() {
    let mut node = TrialLane::following(&["a", "b"]);
    node.reconnect();
    node.plain("a", "x").expect("held");
    node.reconnect();
    node.plain("b", "x").expect("held");
    node.news();
    node.repair();
    assert_eq!(node.news(), ["dropped a", "followed a", "followed b", "unnumbered b"]);
}

/// 1. While what was missed is read, a number that contradicts it comes, and behind it an unnumbered event.
/// 2. The connection is given up at the one, and the other will not come again.
#[test]
fn an_unnumbered_message_behind_a_hole_among_waiting_messages_is_told_as_dropped() {
    let mut node = TrialLane::following(&["a", "b"]);
    node.reconnect();
    node.message("a", 12, 11, "a").expect("held");
    node.plain("b", "x").expect("held");
    node.log.begin_repair();
    assert_eq!(node.repaired(10, Vec::new()), Err(GivenUp));
    assert_eq!(node.news(), ["followed a", "followed b", "dropped b"]);
}

#[test]
fn a_channel_that_is_let_go_of_is_told_nothing() {
    let mut node = TrialLane::following(&["a", "b"]);
    node.reconnect();
    node.plain("a", "x").expect("held");
    node.reconnect();
    node.unfollow("a");
    node.news();
    node.repair();
    assert_eq!(node.news(), ["followed b"]);
}
