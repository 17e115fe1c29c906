//! When a term ends: whatever was lost, nobody is told that nothing was.

use std::time::Duration;

use fantail_testkit::{PATIENCE, RedisServer, Reply};
use fantail_wire::{EndedTerm, EventId};

use super::lane::{STATE, TOPS, open, stream};
use super::{FORMS, LibraryForm, TestLane};

/// Publishes to `a` until the log has `number` events.
async fn publish_up_to(lane: &TestLane, number: u64) -> EventId {
    loop {
        let id = lane.publish(&["a"], "x").await;
        if id.number == number {
            return id;
        }
    }
}

/// Number and previous number of a channel's newest entry.
async fn newest(lane: &TestLane, name: &str) -> (u64, u64) {
    lane.chain(name).await.last().map(|(number, previous, _)| (*number, *previous)).unwrap()
}

#[tokio::test]
async fn a_restarted_redis_numbers_on_in_a_new_term_and_remembers_the_old_one() {
    for form in FORMS {
        let mut lane = TestLane::over(RedisServer::start_durable().await.unwrap(), form).await;
        let old = publish_up_to(&lane, 3).await;
        let before = lane.state().await;
        lane.server.restart().await.unwrap();
        lane.reconnect().await;
        let new = lane.publish(&["a"], "4").await;
        let state = lane.state().await;
        assert_ne!(new.term, old.term);
        assert_ne!(state.run_id, before.run_id);
        assert_eq!((new.number, state.terms.current, state.terms.start), (4, new.term, 3), "{form:?}");
        assert_eq!(state.terms.ended, [EndedTerm { term: old.term, start: 0, end: 3 }]);
        assert_eq!(newest(&lane, "a").await, (4, 3), "the chain goes on over the terms");
        assert_eq!(lane.entries("a").await[2].id, old);
    }
}

#[tokio::test]
async fn a_flushed_redis_begins_anew_and_knows_no_old_term() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let old = publish_up_to(&lane, 3).await;
        lane.redis(&["FLUSHALL"]).await;
        let new = lane.publish(&["a"], "x").await;
        assert_ne!(new.term, old.term);
        let state = lane.state().await;
        assert_eq!((new.number, state.terms.start, state.horizon), (1, 0, 0), "{form:?}");
        assert!(state.terms.ended.is_empty());
    }
}

#[tokio::test]
async fn a_lost_state_is_rebuilt_above_all_that_is_known_and_claims_nothing_of_the_past() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let old = publish_up_to(&lane, 3).await;
        lane.redis(&["DEL", STATE]).await;
        let new = lane.publish(&["b"], "x").await;
        assert_ne!(new.term, old.term);
        let state = lane.state().await;
        assert_eq!((new.number, state.terms.start, state.horizon), (4, 3, 3), "{form:?}");
        assert!(state.terms.ended.is_empty(), "nobody knows where it ended");
        assert_eq!(newest(&lane, "b").await, (4, 3), "b may have had any number up to 3");
    }
}

#[tokio::test]
async fn a_lost_number_is_rebuilt_and_its_term_not_vouched_for() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let old = publish_up_to(&lane, 3).await;
        lane.redis(&["HDEL", STATE, "number"]).await;
        let state = lane.state().await;
        assert_ne!(state.terms.current, old.term);
        assert_eq!((state.terms.number, state.terms.start, state.horizon), (3, 3, 3), "{form:?}");
        assert!(state.terms.ended.is_empty());
    }
}

#[tokio::test]
async fn a_lost_stream_shows_as_a_hole_and_nothing_else() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let old = publish_up_to(&lane, 3).await;
        lane.redis(&["DEL", &stream("a")]).await;
        assert!(lane.entries("a").await.is_empty());
        assert_eq!(lane.tops(&["a"]).await, [Some(3)], "what is missing is still known");
        let new = lane.publish(&["a"], "x").await;
        assert_eq!((new.term, new.number), (old.term, 4), "{form:?}");
        assert_eq!(lane.chain("a").await, [(4, 3, "x".into())]);
    }
}

/// 1. The tops are lost: for no channel is it known what its newest number is.
/// 2. A node that asks is told that any channel may have events up to the newest number, also those with entries.
#[tokio::test]
async fn lost_tops_raise_the_horizon_to_the_newest_number() {
    for form in FORMS {
        for asks_first in [true, false] {
            let mut lane = TestLane::start(form).await;
            lane.publish(&["b"], "x").await;
            let old = publish_up_to(&lane, 5).await;
            lane.redis(&["DEL", TOPS]).await;
            if asks_first {
                assert_eq!(lane.state().await.horizon, 5, "{form:?}");
            }
            let new = lane.publish(&["b"], "x").await;
            assert_eq!((new.term, new.number), (old.term, 6));
            lane.publish(&["c"], "x").await;
            lane.publish(&["b"], "x").await;
            let chain: Vec<_> =
                lane.chain("b").await.iter().map(|(number, previous, _)| (*number, *previous)).collect();
            assert_eq!(chain, [(1, 0), (6, 5), (8, 6)], "{form:?} {asks_first}");
            assert_eq!((newest(&lane, "c").await, lane.state().await.horizon), ((7, 5), 5));
        }
    }
}

#[tokio::test]
async fn tops_that_are_lost_together_with_the_process_raise_the_horizon_as_well() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let old = publish_up_to(&lane, 5).await;
        lane.redis(&["DEL", TOPS]).await;
        lane.redis(&["HSET", STATE, "run_id", "another"]).await;
        let state = lane.state().await;
        assert_eq!((state.terms.start, state.horizon), (5, 5), "{form:?}");
        assert_eq!(state.terms.ended, [EndedTerm { term: old.term, start: 0, end: 5 }]);
        lane.publish(&["b"], "x").await;
        assert_eq!(newest(&lane, "b").await, (6, 5));
    }
}

#[tokio::test]
async fn tops_that_lost_their_newest_number_count_as_lost() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        publish_up_to(&lane, 3).await;
        lane.publish(&["b"], "x").await;
        lane.redis(&["ZREM", TOPS, "b"]).await;
        lane.publish(&["b"], "x").await;
        assert_eq!(newest(&lane, "b").await, (5, 4), "{form:?}");
    }
}

#[tokio::test]
async fn numbers_above_the_state_begin_a_term_above_them() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let old = publish_up_to(&lane, 5).await;
        lane.redis(&["HSET", STATE, "number", "2", "last", "2"]).await;
        let new = lane.publish(&["b"], "x").await;
        assert_ne!(new.term, old.term);
        let state = lane.state().await;
        assert_eq!((new.number, state.terms.start), (6, 5), "{form:?}");
        assert_eq!(
            state.terms.ended,
            [EndedTerm { term: old.term, start: 0, end: 2 }],
            "only what the state vouches for"
        );
    }
}

/// State and tops are lost, or went back together, but a Stream knows better.
#[tokio::test]
async fn a_stream_that_is_ahead_of_the_state_begins_a_term_above_it() {
    for form in FORMS {
        for lost in [&["DEL", STATE, TOPS][..], &["PING"]] {
            let mut lane = TestLane::start(form).await;
            let old = publish_up_to(&lane, 3).await;
            lane.redis(&["XADD", &stream("b"), "9000000000000-700", "t", "x"]).await;
            lane.redis(&["XADD", &stream("c"), "8000000000000-800", "t", "x"]).await;
            lane.redis(lost).await;
            let new = lane.publish(&["a", "b", "c"], "x").await;
            assert_ne!(new.term, old.term);
            assert_eq!((new.ms, new.number), (9_000_000_000_000, 801), "{form:?} {lost:?}");
            assert_eq!(lane.state().await.terms.start, 800);
            let next = lane.publish(&["a"], "x").await;
            assert_eq!((next.term, next.ms, next.number), (new.term, new.ms, 802));
        }
    }
}

#[tokio::test]
async fn an_entry_beyond_any_number_is_told_to_be_deleted() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        publish_up_to(&lane, 3).await;
        lane.redis(&["XADD", &stream("b"), "18446744073709551615-1", "t", "x"]).await;
        let error = lane.try_publish(&["a", "b"], "x").await.unwrap_err();
        assert!(error.to_string().contains(&format!("{} has an entry beyond", stream("b"))), "{error}");
        lane.redis(&["DEL", &stream("b")]).await;
        assert_eq!(lane.publish(&["a", "b"], "x").await.number, newest(&lane, "a").await.0);
    }
}

#[tokio::test]
async fn time_never_falls_when_the_clock_goes_back() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let old = publish_up_to(&lane, 3).await;
        let ahead = old.ms + 3_600_000;
        lane.redis(&["HSET", STATE, "ms", &ahead.to_string()]).await;
        let new = lane.publish(&["a"], "x").await;
        assert_eq!(new, EventId::new(old.term, ahead, 4), "{form:?}");
        assert_eq!(lane.entries("a").await.len(), 4);
    }
}

#[tokio::test]
async fn the_newest_sixty_four_ended_terms_are_remembered_oldest_first() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let mut ended = Vec::new();
        for number in 1..=70 {
            let id = lane.publish(&["a"], "x").await;
            ended.push(EndedTerm { term: id.term, start: number - 1, end: number });
            lane.redis(&["HSET", STATE, "run_id", "another"]).await;
        }
        let terms = lane.state().await.terms;
        assert_eq!(terms.ended, ended[70 - 64..], "{form:?}");
        assert!(ended.iter().all(|ended| ended.term != terms.current));
    }
}

/// Waits until a replica has all that its master has.
async fn caught_up(replica: &RedisServer, master: &RedisServer) {
    let offset = async |server: &RedisServer| {
        let role = server.command(&["ROLE"]).await.unwrap();
        let role: Vec<_> = role.array().unwrap().iter().map(Reply::text).collect();
        match role[0].as_deref() {
            Some("master") => role[1].clone(),
            _ if role[3].as_deref() == Some("connected") => role[4].clone(),
            _ => None,
        }
    };
    let looking = async {
        while offset(replica).await.is_none() || offset(replica).await != offset(master).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap();
}

async fn master_and_replica() -> (RedisServer, RedisServer) {
    let at_once = ["--repl-diskless-sync-delay", "0"];
    let master = RedisServer::start_with(&at_once).await.unwrap();
    let port = master.addr().port().to_string();
    let arguments = [&at_once[..], &["--replicaof", "127.0.0.1", &port]].concat();
    let replica = RedisServer::start_with(&arguments).await.unwrap();
    (master, replica)
}

/// 1. A replica is cut off. The master goes on and gives numbers that the replica does not know.
/// 2. The replica is promoted. It gives the same numbers to other events.
/// 3. It does so in another term, and the old one ends at what it knew.
#[tokio::test]
async fn a_promoted_replica_that_lost_the_tail_ends_the_term_where_its_knowledge_ends() {
    for form in FORMS {
        let (master, replica) = master_and_replica().await;
        let master = TestLane::over(master, form).await;
        let known = publish_up_to(&master, 3).await;
        caught_up(&replica, &master.server).await;

        replica.command(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
        publish_up_to(&master, 5).await;
        replica.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
        let promoted = TestLane::over(replica, form).await;
        let new = promoted.publish(&["a"], "other").await;
        let terms = promoted.state().await.terms;
        assert_eq!((new.number, terms.start), (4, 3), "{form:?}");
        assert_ne!(new.term, known.term);
        assert_eq!(terms.ended, [EndedTerm { term: known.term, start: 0, end: 3 }]);
    }
}

/// 1. A replica is promoted while its master goes on numbering. Nobody numbers on the replica.
/// 2. The old master follows the new one, and loses what only it had. Its state names its own process still.
/// 3. It is promoted again, and must not go on in the term whose end it has lost.
#[tokio::test]
async fn a_master_that_came_back_from_being_a_replica_does_not_go_on_in_its_term() {
    let (master, replica) = master_and_replica().await;
    let mut master = TestLane::over(master, LibraryForm::Functions).await;
    let known = publish_up_to(&master, 3).await;
    caught_up(&replica, &master.server).await;
    replica.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    publish_up_to(&master, 5).await;

    let port = replica.addr().port().to_string();
    replica.command(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await.unwrap();
    master.redis(&["REPLICAOF", "127.0.0.1", &port]).await;
    caught_up(&master.server, &replica).await;
    assert_eq!(master.entries("a").await.len(), 3);
    master.redis(&["REPLICAOF", "NO", "ONE"]).await;
    let new = master.publish(&["a"], "other").await;
    assert_ne!(new.term, known.term);
    assert_eq!(master.state().await.terms.ended, [EndedTerm { term: known.term, start: 0, end: 3 }]);
}

/// 1. A master becomes a replica of nothing that answers. Its keys stay as they are, and its process as well.
/// 2. It is promoted again. Events that were accepted elsewhere meanwhile are lost.
/// 3. The next node that asks makes another term begin, once.
#[tokio::test]
async fn a_master_that_was_a_replica_in_between_ends_its_term_though_its_keys_did_not_change() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let old = publish_up_to(&lane, 3).await;
        assert_eq!(lane.state().await.terms.current, old.term);
        lane.redis(&["REPLICAOF", "127.0.0.1", "1"]).await;
        lane.redis(&["REPLICAOF", "NO", "ONE"]).await;
        let terms = lane.state().await.terms;
        assert_ne!(terms.current, old.term, "{form:?}");
        assert_eq!(terms.start, 3);
        let known = [EndedTerm { term: old.term, start: 0, end: 3 }];
        // A script could not tell whether its master's keys came meanwhile, and gave numbers again.
        assert_eq!(terms.ended, if form == LibraryForm::Functions { &known[..] } else { &[] });
        assert_eq!(publish_up_to(&lane, 4).await.term, terms.current);
        assert_eq!(lane.state().await.terms.current, terms.current);
    }
}

#[tokio::test]
async fn a_replica_neither_tells_the_state_nor_numbers() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        publish_up_to(&lane, 3).await;
        lane.redis(&["REPLICAOF", "127.0.0.1", "1"]).await;
        let before = lane.dump().await;
        let errors = [
            lane.store.state(&mut lane.connection(), None).await.map(drop).unwrap_err(),
            lane.try_publish(&["a"], "x").await.map(drop).unwrap_err(),
            lane.store.configure(&mut lane.connection(), crate::LogRetention::default()).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.code(), Some("READONLY"), "{form:?} {error}");
        }
        assert_eq!(lane.dump().await, before);
    }
}

/// A library is also loaded anew when a server is filled from another one.
#[tokio::test]
async fn a_library_that_was_loaded_anew_begins_a_term() {
    let mut lane = TestLane::start(LibraryForm::Functions).await;
    let old = publish_up_to(&lane, 3).await;
    lane.redis(&["FUNCTION", "FLUSH"]).await;
    let new = lane.publish(&["a"], "x").await;
    assert_ne!(new.term, old.term);
    assert_eq!(lane.state().await.terms.ended, [EndedTerm { term: old.term, start: 0, end: 3 }]);
    let (link, store) = open(&lane.server.url(), LibraryForm::Script).await.unwrap();
    let told = store.state(&mut link.connection.clone(), None).await.unwrap();
    assert_eq!(told.terms.current, new.term, "the script goes on in the term of the functions");
    assert_eq!(lane.publish(&["a"], "x").await.term, new.term);
}
