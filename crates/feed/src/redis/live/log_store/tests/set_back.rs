//! All keys of the log go back at once, within one Redis process: they agree with each other, and their numbers with
//! those of other events.

use fantail_wire::EndedTerm;

use super::lane::{STATE, stream};
use super::{FORMS, LibraryForm, TestLane};

/// How somebody keeps all keys, and how they are put back later.
const WAYS: [[&[&str]; 2]; 2] =
    [[&["EVAL", COPY, "0"], &["SWAPDB", "0", "1"]], [&["EVAL", DUMP, "0"], &["EVAL", RESTORE, "0"]]];
const COPY: &str = "for _, key in ipairs(redis.call('KEYS', 'fantail-*')) do redis.call('COPY', key, key, 'DB', 1) end";
const DUMP: &str = "for _, key in ipairs(redis.call('KEYS', 'fantail-*')) do \
    redis.call('SET', 'dump:' .. key, redis.call('DUMP', key)) end";
const RESTORE: &str = "for _, key in ipairs(redis.call('KEYS', 'fantail-*')) do redis.call('DEL', key) end \
    for _, key in ipairs(redis.call('KEYS', 'dump:*')) do \
    redis.call('RESTORE', string.sub(key, 6), 0, redis.call('GET', key)) end";

/// 1. At number 3 all keys are kept. Numbers 4 and 5 are given.
/// 2. The keys are put back. The event that gets number 4 now is another one.
#[tokio::test]
async fn a_numbering_whose_keys_were_all_set_back_goes_on_in_another_term() {
    for [keep, put_back] in WAYS {
        let mut lane = TestLane::start(LibraryForm::Functions).await;
        let mut old = lane.publish(&["a"], "1").await;
        for data in ["2", "3"] {
            old = lane.publish(&["a"], data).await;
        }
        lane.redis(keep).await;
        for data in ["lost 4", "lost 5"] {
            lane.publish(&["a"], data).await;
        }
        lane.redis(put_back).await;
        let new = lane.publish(&["a"], "4").await;
        assert_ne!(new.term, old.term, "{put_back:?}");
        assert_eq!(new.number, 4);
        let ended = lane.state().await.terms.ended;
        assert_eq!(ended, [EndedTerm { term: old.term, start: 0, end: 3 }], "up to there it is as it was");
        assert_eq!(lane.publish(&["a"], "5").await.term, new.term);
    }
}

/// 1. Everything is kept, and deleted: another term begins, and gives numbers.
/// 2. The keys are put back, with the state of the first term.
#[tokio::test]
async fn a_term_that_was_followed_by_another_does_not_run_again() {
    for [keep, put_back] in WAYS {
        let mut lane = TestLane::start(LibraryForm::Functions).await;
        let first = lane.publish(&["a"], "1").await;
        lane.redis(keep).await;
        lane.redis(&["DEL", STATE, "fantail-tops:{0}", &stream("a")]).await;
        let second = lane.publish(&["a"], "other 1").await;
        lane.redis(put_back).await;
        let third = lane.publish(&["a"], "2").await;
        assert!(third.term != first.term && third.term != second.term, "{put_back:?}");
        assert_eq!(lane.state().await.terms.ended, [EndedTerm { term: first.term, start: 0, end: 1 }]);
    }
}

#[tokio::test]
async fn keys_that_are_set_back_are_noticed_also_after_more_lanes_than_are_remembered() {
    let mut lane = TestLane::start(LibraryForm::Functions).await;
    for number in 0..1_100 {
        let (key, channel) = (format!("fantail-log:{{l{number}}}"), format!("@l{number}/a"));
        lane.redis(&["FCALL", "fantail_publish", "1", &key, "{\"data\":\"x\"}", &channel]).await;
    }
    lane.publish(&["a"], "1").await;
    let [keep, put_back] = WAYS[0];
    lane.redis(keep).await;
    let old = lane.publish(&["a"], "lost 2").await;
    lane.redis(put_back).await;
    assert_ne!(lane.publish(&["a"], "2").await.term, old.term);
}

/// A number that is given back, as when a key is no Stream, was not given.
#[tokio::test]
async fn numbers_that_are_given_back_do_not_look_like_a_numbering_that_was_set_back() {
    let mut lane = TestLane::start(LibraryForm::Functions).await;
    let old = lane.publish(&["a"], "1").await;
    lane.redis(&["XADD", &stream("b"), "18446744073709551614-1", "t", "x"]).await;
    for _ in 0..3 {
        lane.try_publish(&["b"], "x").await.map(drop).unwrap_err();
    }
    lane.redis(&["DEL", &stream("b")]).await;
    let new = lane.publish(&["a"], "2").await;
    assert_eq!((new.term, new.number), (old.term, 2));
}

/// A script cannot remember the numbers that it gave. Then the nodes that saw them tell, and the term is not recorded:
/// some of its numbers may mean two events.
#[tokio::test]
async fn a_node_that_saw_later_numbers_than_the_state_knows_makes_another_term_begin() {
    for form in FORMS {
        for [keep, put_back] in WAYS {
            let mut lane = TestLane::start(form).await;
            lane.publish(&["a"], "1").await;
            lane.redis(keep).await;
            let seen = lane.publish(&["a"], "lost 2").await;
            assert_eq!(lane.state_seen(Some((seen.term, 2))).await.terms.current, seen.term, "{form:?}");
            lane.redis(put_back).await;
            let terms = lane.state_seen(Some((seen.term, 2))).await.terms;
            assert_ne!(terms.current, seen.term, "{form:?} {put_back:?}");
            assert_eq!(terms.ended.is_empty(), form == LibraryForm::Script, "{form:?}: {:?}", terms.ended);
            let again = lane.state_seen(Some((seen.term, 2))).await.terms;
            assert_eq!(again.current, terms.current, "who saw another term says nothing of this one");
            assert_eq!(lane.state_seen(None).await.terms.current, terms.current);
        }
    }
}
