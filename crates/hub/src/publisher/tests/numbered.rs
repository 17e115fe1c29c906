//! Events with the feed's numbers: where they stand, what is told of terms and holes, and from where channels are
//! followed.

use fantail_wire::{EndedTerm, EventId, GapReason, Lane, Term};

use super::{after, start};
use crate::testing::{FedHub, LIMITS, READ_LIMIT, publication};
use crate::{Begin, LogLimits, Position, Published, Resume, Start};

#[test]
fn an_event_stands_where_the_feed_numbered_it_and_keeps_its_id() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    let id = feed.id(15);
    let published = feed.publisher.publish_numbered(&publication("a"), id).expect("small");
    assert_eq!(published, Published { id: Some(id), subscribers: 0 });
    assert_eq!(feed.hub.watermark(Lane::default()).position, Position::new(1, 15));
    assert_eq!(feed.texts(10), [format!("id: {id}\ndata: x\n\n")]);
    assert_eq!(start(&feed, &after(id)).cursor, Position::new(1, 15));
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "does not come after"))]
fn a_number_out_of_turn_is_dropped_and_counted() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    let published = feed.publisher.publish_numbered(&publication("a"), feed.id(10)).expect("small");
    assert_eq!((published.id, feed.hub.counters.events_misplaced.get()), (None, 1));
}

#[test]
fn an_event_that_cannot_be_sent_leaves_a_gap_in_its_place() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    let mut large = publication("a");
    large.event.data = "x".repeat(2000);
    feed.publisher.publish_numbered(&large, feed.id(11)).expect_err("too large");
    assert!(feed.texts(10)[0].contains("\"lost\""));
    assert_eq!(feed.hub.watermark(Lane::default()).position, Position::new(1, 11));
}

#[test]
fn an_unnumbered_event_reaches_open_streams_and_is_never_replayed() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    let live = start(&feed, &Resume::Live);
    let mut with_id = publication("a");
    with_id.event.id = fantail_wire::PublisherId::parse("mine").ok();
    assert_eq!(feed.publisher.publish_unnumbered(&with_id).expect("small").id, None);
    assert_eq!(feed.texts_above(live.cursor), ["data: x\n\n"], "no id, not even its publisher's");

    let resumed = start(&feed, &after(live.opening_id.expect("known")));
    assert_eq!(feed.resumed_texts(&resumed), [""; 0], "it may have had that one");
    feed.publisher.publish_unnumbered(&publication("a")).expect("small");
    assert_eq!(feed.resumed_texts(&resumed), ["data: x\n\n"], "this one came since");
    let place = |start: Start| start.opening_id.map(|id| (id.number, id.unnumbered));
    assert_eq!(place(start(&feed, &Resume::Live)), Some((10, 0)), "ids name no such place");
    assert_eq!(feed.begin(&Resume::Replay(9)), Begin::Wait(0), "what is there is not replayed");
}

#[test]
fn an_evicted_event_without_a_number_is_no_hole_for_who_resumes() {
    let mut feed = FedHub::new(LogLimits { entries_max: 1, ..LIMITS });
    feed.follow_at(10);
    let live = start(&feed, &Resume::Live);
    for _ in 0..2 {
        feed.publisher.publish_unnumbered(&publication("a")).expect("small");
    }
    let mut out = Vec::new();
    let to = feed.hub.watermark(Lane::default()).position;
    let floor = feed.join.channel.read(live.cursor, to, READ_LIMIT, &mut out).floor;
    assert!(floor.position > live.cursor, "a live stream was overrun");
    let resumed = start(&feed, &after(live.opening_id.expect("known")));
    let floor = feed.join.channel.read_resuming(resumed.cursor, to, resumed.began, READ_LIMIT, &mut out).floor;
    assert!(floor.position <= resumed.cursor);
}

#[test]
fn a_new_term_is_a_gap_in_every_followed_channel() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    feed.publisher.lost(Lane::default());
    feed.take_marks();
    feed.term_ends(2, 10);
    assert!(feed.take_marks(), "live streams are told at once");
    let gap = &feed.texts(10)[0];
    let id = EventId::new(Term::from_random(2), 1010, 10);
    assert!(gap.starts_with(&format!("id: {id}\n")) && gap.contains("\"term-ended\""), "{gap}");
    assert_eq!(feed.hub.watermark(Lane::default()).position, Position::new(2, 10));
    feed.publisher.followed(&feed.name, Some(feed.id(10)));
    assert_eq!(start(&feed, &after(id)).cursor, Position::new(2, 10), "who was told goes on behind it");
    assert_eq!(feed.texts(10).len(), 1, "the outage itself cost nothing");
}

#[test]
fn the_first_sync_tells_no_gap() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    assert_eq!(feed.texts(0), [""; 0]);
}

#[test]
fn streams_wait_until_the_watermark_is_where_their_channel_is_followed() {
    let mut feed = FedHub::new(LIMITS);
    feed.publisher.synced(Lane::default(), &feed.terms(10));
    feed.ask();
    feed.publisher.followed(&feed.name, Some(feed.id(20)));
    assert_eq!(feed.begin(&Resume::Live), Begin::Wait(0));
    feed.publisher.publish_numbered(&publication("other"), feed.id(15)).expect("small");
    assert_eq!(feed.begin(&Resume::Live), Begin::Wait(0));
    feed.take_marks();
    feed.publisher.publish_numbered(&publication("other"), feed.id(20)).expect("small");
    assert!(feed.take_marks(), "its mark comes with the confirmation");
    assert_eq!(start(&feed, &Resume::Live).cursor, Position::new(1, 20));
}

#[test]
fn a_channel_followed_from_a_term_not_told_of_yet_is_confirmed_by_the_sync() {
    let mut feed = FedHub::new(LIMITS);
    feed.ask();
    feed.publisher.followed(&feed.name, Some(feed.id(20)));
    assert_eq!(feed.begin(&Resume::Live), Begin::Wait(0));
    feed.publisher.synced(Lane::default(), &feed.terms(20));
    assert_eq!(start(&feed, &Resume::Live).cursor, Position::new(1, 20));
    assert_eq!(feed.join.channel.lock().log.floor().position, Position::new(1, 20));
}

#[test]
fn a_confirmation_in_a_term_not_told_of_is_forgotten_with_its_channel() {
    // 1. A channel is confirmed in an unknown term. 2. It is forgotten. 3. Somebody wants it anew. 4. The term is told of.
    let mut feed = FedHub::new(LIMITS);
    feed.ask();
    feed.publisher.followed(&feed.name, Some(feed.id(20)));
    feed.hub.leave(&feed.join);
    let Some(crate::Wish::Linger(channel)) = feed.publisher.next_wish() else { panic!("nobody is left") };
    assert_eq!(feed.publisher.release(&channel, 0), crate::Release::Unfollow);
    feed.join = feed.hub.join(&feed.name, 0, 0, None).expect("there is room");
    feed.ask();
    feed.publisher.synced(Lane::default(), &feed.terms(20));
    assert_eq!(feed.begin(&Resume::Live), Begin::Wait(0), "the feed has not confirmed this one");
}

#[test]
fn a_channel_is_not_complete_below_what_it_did_not_take() {
    let mut feed = FedHub::new(LIMITS);
    feed.publisher.synced(Lane::default(), &feed.terms(10));
    feed.ask();
    feed.publisher.publish_numbered(&publication("a"), feed.id(12)).expect("small");
    feed.publisher.followed(&feed.name, Some(feed.id(11)));
    assert_eq!(feed.join.channel.lock().log.floor().position, Position::new(1, 12));
}

#[test]
fn an_outage_costs_nothing_if_the_feed_brings_what_was_missed() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    feed.publisher.lost(Lane::default());
    assert_eq!(feed.begin(&Resume::Live), Begin::Wait(0));
    feed.publisher.publish_numbered(&publication("a"), feed.id(12)).expect("small");
    feed.publisher.synced(Lane::default(), &feed.terms(14));
    feed.publisher.followed(&feed.name, Some(feed.id(14)));
    assert_eq!(feed.texts(10), [format!("id: {}\ndata: x\n\n", feed.id(12))]);
    assert_eq!(feed.join.channel.lock().log.floor().position, Position::new(1, 10));
}

#[test]
fn a_gap_ahead_waits_for_the_watermark_and_covers_what_comes_below() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    feed.publisher.gap(&feed.name, feed.id(20), GapReason::Lost);
    feed.publisher.gap(&feed.name, feed.id(18), GapReason::Lost);
    feed.publisher.publish_numbered(&publication("a"), feed.id(15)).expect("small");
    assert_eq!(feed.texts(10), [""; 0]);
    feed.take_marks();
    feed.publisher.synced(Lane::default(), &feed.terms(20));
    assert!(feed.take_marks());
    let texts = feed.texts(10);
    assert!(texts.len() == 1 && texts[0].starts_with(&format!("id: {}\n", feed.id(20))), "{texts:?}");
}

#[test]
fn a_gap_found_late_stands_behind_the_watermark_and_is_told_once() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    let before = start(&feed, &Resume::Live);
    feed.publisher.gap(&feed.name, feed.id(9), GapReason::Lost);
    let behind = start(&feed, &Resume::Live);
    let id = behind.opening_id.expect("known");
    assert_eq!((id.number, id.unnumbered), (10, 1));
    assert_eq!(feed.texts_above(before.cursor).len(), 1);
    assert_eq!(feed.texts_above(start(&feed, &after(id)).cursor), [""; 0]);
    let elsewhere = EventId { unnumbered: 9, ..id };
    assert_eq!(start(&feed, &after(elsewhere)).cursor, behind.cursor);
}

#[test]
fn a_deletion_raises_the_floor_above_everything_that_was() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    feed.publisher.gap(&feed.name, feed.id(20), GapReason::Lost);
    assert!(feed.publisher.delete(&feed.name));
    assert_eq!(feed.join.channel.lock().log.floor().position, Position::new(1, 20));
    assert_eq!(feed.hub.watermark(Lane::default()).position, Position { unnumbered: 1, ..Position::new(1, 10) });
}

#[test]
fn a_client_with_an_id_ahead_of_this_node_waits_for_a_sync() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    let mut asked = crate::Asked::default();
    let ahead = after(feed.id(15));
    assert_eq!(feed.begin_with(&ahead, &mut asked), Begin::Wait(0));
    assert!(matches!(feed.publisher.next_wish(), Some(crate::Wish::Sync(_))));
    assert!(feed.publisher.next_wish().is_none(), "one question for all");
    feed.take_marks();
    feed.publisher.synced(Lane::default(), &feed.terms(15));
    assert!(feed.take_marks(), "who waits is woken");
    assert!(matches!(feed.begin_with(&ahead, &mut asked), Begin::At(Start { unknown: None, .. })));
}

#[test]
fn an_id_that_three_syncs_do_not_explain_is_unknown() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    for (id, reason) in [
        (feed.id(99), GapReason::BeyondEnd),
        (EventId { term: Term::from_random(77), ..feed.id(5) }, GapReason::UnknownId),
    ] {
        let mut asked = crate::Asked::default();
        // A sync that was on its way already looks like the answer.
        for _ in 0..3 {
            assert_eq!(feed.begin_with(&after(id), &mut asked), Begin::Wait(0));
            assert!(matches!(feed.publisher.next_wish(), Some(crate::Wish::Sync(_))));
            feed.publisher.synced(Lane::default(), &feed.terms(10));
        }
        let recalled = feed.begin_with(&after(id), &mut asked);
        if recalled == Begin::Wait(0) {
            feed.answer(&[], Some(10)); // the newest of what is kept follow the gap
        }
        let Begin::At(start) = feed.begin_with(&after(id), &mut asked) else { panic!("it has asked once") };
        let unknown = start.unknown.map(|floor| (floor.position, floor.reason));
        assert_eq!((start.cursor, unknown), (Position::ORIGIN, Some((Position::new(1, 10), reason))));
        assert_eq!(start.opening_id, None);
    }
}

#[test]
fn an_id_beyond_the_end_of_an_ended_term_asks_nobody() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    let old = feed.id(11);
    feed.term_ends(2, 10);
    let mut asked = crate::Asked::default();
    feed.begin_with(&after(old), &mut asked);
    assert!(!matches!(feed.publisher.next_wish(), Some(crate::Wish::Sync(_))));
}

/// A client has 12. Redis is restarted without 11 and 12, and begins a term behind 10. The client has had nothing of that, so
/// it gets all of it, however much it is. This node has had 11, and that stays out of it: nobody knows of others there.
#[test]
fn an_id_beyond_the_end_of_its_term_goes_on_where_the_next_one_began() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(5);
    (6..=11).for_each(|number| feed.publish(number));
    let lost = feed.id(12);
    feed.term_ends(2, 10);
    let start = start(&feed, &after(lost));
    let floor = start.unknown.expect("it cannot be honoured");
    assert_eq!((floor.position, floor.reason), (Position::new(2, 10), GapReason::BeyondEnd));
}

#[test]
fn terms_that_came_and_went_unseen_are_known_afterwards() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(10);
    let unseen = EndedTerm { term: Term::from_random(8), start: 12, end: 20 };
    feed.term_ends_with(9, 20, &[unseen]);
    let within = EventId::new(unseen.term, 1015, 15);
    assert_eq!(start(&feed, &after(within)).cursor, Position::new(2, 15));
}
