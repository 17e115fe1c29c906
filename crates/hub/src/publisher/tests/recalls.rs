//! The events that a recall brings: which are kept, and which gap tells of the rest.

use fantail_wire::{Event, EventId, GapReason, Lane, Term};

use super::{after, started};
use crate::log::LogLimits;
use crate::testing::{FedHub, LIMITS, NOW_MS, UNKNOWN_ID_REPLAY_MAX};
use crate::{Asked, Begin, Position, Release, Resume, Wish};

#[test]
fn a_client_from_before_waits_for_what_the_channel_had() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    feed.publish(21);
    let (resume, mut asked) = (after(feed.id(10)), Asked::default());
    assert_eq!(feed.begin_with(&resume, &mut asked), Begin::Wait(0));
    assert_eq!(feed.question(), Some((Some(10), 20, 99)));
    feed.take_marks();
    feed.recalled(&[12, 15, 20], Some(10));
    assert!(feed.take_marks(), "who waits is woken");
    let start = started(feed.begin_with(&resume, &mut asked));
    assert_eq!(start.cursor, Position::new(1, 10));
    assert_eq!(feed.resumed_texts(&start)[0], format!("id: {}\ndata: x\n\n", feed.id(12)), "with its own id");
    assert_eq!(feed.held(), (vec![12, 15, 20, 21], 10, GapReason::NotFollowed));
    assert_eq!(feed.hub.counters.log_entries.get(), 4);
    assert!(matches!(feed.begin(&after(feed.id(11))), Begin::At(_)), "the next one finds it there");
}

#[test]
fn the_question_believes_no_time_that_a_client_tells() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    feed.begin(&Resume::After(EventId { ms: u64::MAX, ..feed.id(10) }.to_string()));
    let Some(Wish::Recall { above, up_to, .. }) = feed.publisher.next_wish() else { panic!("no question") };
    assert_eq!(above, Some(EventId { ms: 0, ..feed.id(10) }));
    assert_eq!(up_to, feed.id(20));
}

#[test]
fn many_clients_are_one_question() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    let clients = [15, 11, 18].map(|number| after(feed.id(number)));
    let mut asked = clients.each_ref().map(|_| Asked::default());
    for (resume, asked) in clients.iter().zip(&mut asked) {
        assert_eq!(feed.begin_with(resume, asked), Begin::Wait(0));
    }
    assert_eq!(feed.question(), Some((Some(11), 20, 100)));
    assert_eq!(feed.question(), None);
    let lower = after(feed.id(5));
    let mut late = Asked::default();
    assert_eq!(feed.begin_with(&lower, &mut late), Begin::Wait(0));
    assert_eq!(feed.question(), None, "one at a time");
    feed.recalled(&[], Some(11));
    for (resume, asked) in clients.iter().zip(&mut asked) {
        started(feed.begin_with(resume, asked));
    }
    assert_eq!(feed.begin_with(&lower, &mut late), Begin::Wait(0));
    assert_eq!(feed.question(), Some((Some(5), 11, 100)));
}

#[test]
fn an_answer_that_brought_nothing_is_not_asked_for_again_until_the_floor_moves() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    let garbage = Resume::After("nobody's".to_owned());
    assert_eq!(feed.begin(&garbage), Begin::Wait(0));
    assert_eq!(feed.question(), Some((None, 20, 100)));
    feed.recalled(&[], Some(20));
    let begin = feed.begin_synced(&garbage, 20);
    let Begin::At(start) = begin else { panic!("{begin:?}") };
    assert_eq!(start.unknown.map(|floor| floor.reason), Some(GapReason::UnknownId));
    assert!(matches!(feed.begin(&after(feed.id(3))), Begin::At(_)));
    assert_eq!(feed.question(), None);
}

/// A publisher's id may stand anywhere in the past, so all of it is asked for. An id of ours that is unknown stands nowhere.
#[test]
fn of_an_unknown_id_the_feed_is_asked_for_no_more_than_follows_the_gap() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    feed.publish(21);
    let elsewhere = Resume::After("aaaaaaaaaaaa.0.5".to_owned());
    assert_eq!(feed.begin_synced(&elsewhere, 21), Begin::Wait(0));
    assert_eq!(feed.question(), Some((None, 20, UNKNOWN_ID_REPLAY_MAX - 1)));
}

#[test]
fn a_floor_that_stays_since_the_feed_has_nothing_below_was_not_left_by_nobody_following() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    assert_eq!(feed.begin(&after(feed.id(12))), Begin::Wait(0));
    feed.question();
    feed.recalled(&[15], Some(12));
    assert_eq!(feed.held(), (vec![15], 12, GapReason::NotFollowed));
    assert_eq!(feed.begin(&after(feed.id(5))), Begin::Wait(0));
    feed.question();
    feed.recalled(&[], Some(12));
    assert_eq!(feed.held(), (vec![15], 12, GapReason::Trimmed));
}

#[test]
fn a_recall_that_could_not_be_read_is_asked_again_but_not_for_ever() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    let mut asked = Asked::default();
    for _ in 0..3 {
        assert_eq!(feed.begin_with(&after(feed.id(10)), &mut asked), Begin::Wait(0));
        feed.answer(&[], None);
    }
    started(feed.begin_with(&after(feed.id(10)), &mut asked));
}

#[test]
fn a_publishers_id_is_looked_for_in_the_past() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    let (resume, mut asked) = (Resume::After("mine".to_owned()), Asked::default());
    assert_eq!(feed.begin_with(&resume, &mut asked), Begin::Wait(0));
    assert_eq!(feed.question(), Some((None, 20, 100)));
    let mine = Event { id: fantail_wire::PublisherId::parse("mine").ok(), ..Event::text("x") };
    feed.publisher.recalled(&feed.name, vec![(feed.id(14), mine)], Some(feed.id(3)));
    assert_eq!(started(feed.begin_with(&resume, &mut asked)).cursor, Position::new(1, 14));
}

#[test]
fn a_publishers_id_may_be_ahead_of_this_node() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    let (resume, mut asked) = (Resume::After("mine".to_owned()), Asked::default());
    assert_eq!(feed.begin_with(&resume, &mut asked), Begin::Wait(0));
    feed.answer(&[], Some(20));
    assert_eq!(feed.begin_with(&resume, &mut asked), Begin::Wait(0));
    assert!(matches!(feed.publisher.next_wish(), Some(Wish::Sync(_))));
    let mut publication = crate::testing::publication("a");
    publication.event.id = fantail_wire::PublisherId::parse("mine").ok();
    feed.publisher.publish_numbered(&publication, feed.id(25)).expect("small");
    feed.publisher.synced(Lane::default(), &feed.terms(25));
    assert_eq!(started(feed.begin_with(&resume, &mut asked)).cursor, Position::new(1, 25));
}

#[test]
fn a_replay_asks_for_as_many_events_as_the_log_lacks() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    feed.publish(21);
    let mut asked = Asked::default();
    assert_eq!(feed.begin_with(&Resume::Replay(3), &mut asked), Begin::Wait(0));
    assert_eq!(feed.question(), Some((None, 20, 2)));
    feed.recalled(&[15, 18], Some(14));
    assert_eq!(started(feed.begin_with(&Resume::Replay(3), &mut asked)).cursor, Position::new(1, 15).before());
    assert!(matches!(feed.begin(&Resume::Replay(3)), Begin::At(_)));
    assert_eq!(feed.begin(&Resume::Replay(4)), Begin::Wait(0));
    assert_eq!(feed.question(), Some((None, 14, 1)));
    feed.recalled(&[], Some(3));
    assert!(matches!(feed.begin(&Resume::Replay(9)), Begin::At(_)), "there are no more");
}

#[test]
fn the_oldest_that_do_not_fit_are_left_out_and_the_floor_says_so() {
    let mut feed = FedHub::new(LogLimits { entries_max: 3, ..LIMITS });
    feed.follow_at(20);
    feed.publish(21);
    feed.begin(&after(feed.id(10)));
    feed.answer(&[12, 13, 14], Some(10));
    assert_eq!(feed.held(), (vec![13, 14, 21], 12, GapReason::Trimmed));
    assert!(matches!(feed.begin(&after(feed.id(10))), Begin::At(_)), "a full log asks for nothing");
}

#[test]
fn a_recall_takes_free_room_and_evicts_nothing() {
    let entry = {
        let mut feed = FedHub::new(LIMITS);
        feed.follow_at(20);
        feed.publish(21);
        feed.join.channel.lock().log.bytes()
    };
    let mut feed = FedHub::with_budget(LIMITS, 3 * entry);
    feed.follow_at(20);
    feed.publish(21);
    feed.begin(&after(feed.id(10)));
    feed.answer(&[12, 13, 14], Some(10));
    assert_eq!(feed.held(), (vec![13, 14, 21], 12, GapReason::Trimmed));
    assert_eq!(feed.hub.counters.evictions.sum(), 0);
    assert_eq!(feed.hub.counters.log_bytes.get(), 3 * entry as u64);
}

#[test]
fn recalled_events_are_kept_as_long_as_new_ones() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    NOW_MS.set(10_000_000);
    feed.begin(&after(feed.id(10)));
    feed.answer(&[12], Some(10));
    feed.publisher.sweep(&feed.hub.all_channels());
    assert_eq!(feed.held().0, [12], "though it was published long ago");
    NOW_MS.set(10_060_001);
    feed.publisher.sweep(&feed.hub.all_channels());
    assert_eq!((feed.held().0, feed.held().1), (vec![], 12));
    assert_eq!(feed.begin(&after(feed.id(10))), Begin::Wait(0), "it can be recalled again");
}

#[test]
fn an_answer_does_not_join_a_floor_that_has_moved() {
    let mut feed = FedHub::new(LogLimits { entries_max: 2, ..LIMITS });
    feed.follow_at(20);
    feed.begin(&after(feed.id(10)));
    assert!(feed.question().is_some());
    for number in 21..=23 {
        feed.publish(number);
    }
    feed.recalled(&[12, 20], Some(10));
    assert_eq!(feed.held(), (vec![22, 23], 21, GapReason::Trimmed));
    feed.recalled(&[12, 21], Some(10));
    assert_eq!(feed.held().1, 21, "nobody asked");
}

#[test]
fn a_recall_adds_no_event_that_the_log_has_and_none_below_its_place() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    feed.publish(21);
    feed.begin(&after(feed.id(10)));
    feed.answer(&[8, 9, 12, 12, 20, 21, 22], Some(9));
    assert_eq!(feed.held(), (vec![12, 20, 21], 9, GapReason::NotFollowed));
}

#[test]
fn events_that_the_feed_no_longer_has_are_told_as_trimmed() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    feed.begin(&after(feed.id(10)));
    feed.answer(&[16], Some(15));
    assert_eq!(feed.held(), (vec![16], 15, GapReason::Trimmed));
    assert!(matches!(feed.begin(&after(feed.id(10))), Begin::At(_)), "it is remembered");
}

#[test]
fn where_a_term_began_in_the_past_there_is_a_gap() {
    let mut feed = FedHub::new(LIMITS);
    feed.term_ends(2, 15);
    feed.ask();
    let id = |number| EventId::new(Term::from_random(2), 1000 + number, number);
    feed.publisher.followed(&feed.name, Some(id(15)));
    feed.publisher.publish_numbered(&crate::testing::publication("a"), id(21)).expect("small");
    let (resume, mut asked) = (after(feed.id(10)), Asked::default());
    feed.begin_with(&resume, &mut asked);
    feed.answer(&[12], Some(10));
    let texts = feed.resumed_texts(&started(feed.begin_with(&resume, &mut asked)));
    assert!(texts[1].contains("\"term-ended\"") && texts[1].starts_with(&format!("id: {}\n", id(15))), "{texts:?}");
    assert_eq!(feed.held(), (vec![12, 15, 21], 10, GapReason::NotFollowed));
}

#[test]
fn an_event_of_the_past_that_cannot_be_sent_is_a_gap() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    let (resume, mut asked) = (after(feed.id(10)), Asked::default());
    feed.begin_with(&resume, &mut asked);
    assert!(feed.question().is_some());
    let large = Event::text("x".repeat(2000));
    feed.publisher.recalled(&feed.name, vec![(feed.id(12), large)], Some(feed.id(10)));
    assert!(feed.resumed_texts(&started(feed.begin_with(&resume, &mut asked)))[0].contains("\"lost\""));
}

#[test]
fn deleted_events_do_not_come_back_by_a_recall() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    feed.begin(&after(feed.id(10)));
    assert!(feed.question().is_some());
    feed.publish(21);
    feed.publisher.delete(&feed.name);
    feed.recalled(&[12, 20], Some(10));
    assert_eq!(feed.held(), (vec![], 21, GapReason::Deleted));
    assert!(matches!(feed.begin(&after(feed.id(10))), Begin::At(_)), "and is not asked for");
}

#[test]
fn a_recall_ends_where_something_was_deleted() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    feed.publisher.delete(&feed.name);
    feed.publish(21);
    feed.publish(22);
    NOW_MS.set(200_000);
    feed.publisher.sweep(&feed.hub.all_channels());
    feed.begin(&after(feed.id(10)));
    feed.answer(&[12, 20, 21, 22], Some(10));
    assert_eq!(feed.held(), (vec![21, 22], 20, GapReason::Deleted));
}

#[test]
fn a_live_stream_reads_nothing_that_was_recalled() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    feed.publish(21);
    feed.begin(&after(feed.id(10)));
    feed.answer(&[12, 20], Some(10));
    assert_eq!(feed.texts(0).len(), 1, "a pass that began low finds what is new");
}

#[test]
fn a_channel_is_not_forgotten_while_an_answer_is_on_its_way() {
    let mut feed = FedHub::new(LIMITS);
    feed.follow_at(20);
    feed.begin(&after(feed.id(10)));
    assert!(feed.question().is_some());
    feed.hub.leave(&feed.join);
    let Some(Wish::Linger(channel)) = feed.publisher.next_wish() else { panic!("nobody is left") };
    assert!(matches!(feed.publisher.release(&channel, 0), Release::Later(1..)));
    feed.recalled(&[], None);
    assert_eq!(feed.publisher.release(&channel, 0), Release::Unfollow);
}
