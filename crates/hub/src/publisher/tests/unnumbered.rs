//! Gaps of unnumbered events: which streams are told of them, and which are not.

use fantail_wire::{GapReason, Lane};

use super::{after, start};
use crate::testing::{FedHub, LIMITS, READ_LIMIT, publication};
use crate::{LogLimits, Position, Resume, Start};

const OUTAGE: &str = "event: fantail.gap\ndata: {\"channel\":\"a\",\"reason\":\"outage\"}\n\n";
const LOST: &str = "event: fantail.gap\ndata: {\"channel\":\"a\",\"reason\":\"lost\"}\n\n";
const PLAIN: &str = "data: x\n\n";

impl FedHub {
    fn publish_unnumbered(&mut self) {
        self.publisher.publish_unnumbered(&publication("a")).expect("small");
    }

    /// Loses the feed, which is back at `number`.
    fn away(&mut self, number: u64) {
        self.publisher.lost(Lane::default());
        self.publisher.synced(Lane::default(), &self.terms(number));
        self.publisher.followed(&self.name, Some(self.id(number)));
    }
}

#[test]
fn after_an_outage_a_channel_that_had_unnumbered_events_is_told_each_time_and_another_never() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    feed.away(10);
    feed.publish(11);
    feed.away(11);
    assert_eq!(feed.texts(11), [""; 0], "only numbered events were seen");
    feed.publish_unnumbered();
    feed.away(11);
    assert!(feed.take_marks());
    feed.away(12);
    feed.publisher.lost(Lane::default());
    feed.away(12);
    assert_eq!(feed.texts(11), [PLAIN, OUTAGE, OUTAGE, OUTAGE]);
}

#[test]
fn the_gap_of_an_outage_is_for_streams_from_before_it() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    feed.publish_unnumbered();
    // This one has not caught up yet.
    let resumed = start(&feed, &after(feed.id(10)));
    feed.away(10);
    assert_eq!(feed.resumed_texts(&resumed), [OUTAGE]);
    for resume in [Resume::Live, after(feed.id(10))] {
        let late = start(&feed, &resume);
        assert_eq!(late.opening_id.map(|id| (id.number, id.unnumbered)), Some((10, 0)), "ids name no such place");
        assert_eq!(feed.resumed_texts(&late), [""; 0]);
    }
}

#[test]
fn a_dropped_unnumbered_event_is_told_at_once_and_again_after_an_outage() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    feed.publisher.dropped(&feed.name);
    assert!(feed.take_marks());
    feed.publish_unnumbered();
    feed.away(10);
    assert_eq!(feed.texts(10), [LOST, PLAIN, OUTAGE]);
}

/// 1. The first unnumbered event of a channel comes over a connection that is lost before it could be handed down.
/// 2. The feed tells of it before it confirms the channel anew.
#[test]
fn an_event_dropped_in_an_outage_is_told_once_with_the_outage() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    feed.publisher.lost(Lane::default());
    feed.publisher.dropped(&feed.name);
    assert_eq!(feed.texts(10), [""; 0]);
    feed.away(10);
    assert_eq!(feed.texts(10), [OUTAGE]);
}

#[test]
fn a_gap_told_in_advance_covers_the_unnumbered_gap_below_it() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    feed.publish_unnumbered();
    feed.publisher.gap(&feed.name, feed.id(14), GapReason::Trimmed);
    feed.publisher.dropped(&feed.name);
    feed.away(12);
    feed.publish(15);
    let told = feed.texts_above(Position { unnumbered: 1, ..Position::new(1, 10) });
    assert!(told.len() == 2 && told[0].contains("trimmed"), "{told:?}");
}

#[test]
fn an_evicted_unnumbered_gap_is_no_hole_for_a_later_resume() {
    let mut feed = FedHub::new(LogLimits { entries_max: 1, ..LIMITS });
    feed.follow_at(10);
    for _ in 0..2 {
        feed.publisher.dropped(&feed.name);
    }
    assert_eq!(feed.held().1, 10);
    assert_eq!(feed.join.channel.live_floor().position, Position { unnumbered: 1, ..Position::new(1, 10) });
}

/// 1. A stream resumes at 10 and has all there is, but has not come to rest.
/// 2. Two unnumbered events come, of which the log keeps one.
#[test]
fn a_stream_that_still_catches_up_is_told_of_an_evicted_event_that_came_since_it_began() {
    let mut feed = FedHub::new(LogLimits { entries_max: 1, ..LIMITS });
    feed.follow_at(10);
    let resumed = start(&feed, &after(feed.id(10)));
    feed.publish_unnumbered();
    feed.publish_unnumbered();
    let read = |start: &Start| {
        let (to, mut out) = (feed.hub.watermark(Lane::default()).position, Vec::new());
        feed.join.channel.read_resuming(start.cursor, to, start.began, READ_LIMIT, &mut out).floor.position
    };
    assert!(read(&resumed) > resumed.cursor);
    let late = start(&feed, &after(feed.id(10)));
    assert_eq!(read(&late), late.cursor, "it was not there");
}
