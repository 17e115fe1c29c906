//! The slot of the log goes to another master: what is published meanwhile is kept and sent or refused, and nothing is
//! missing afterwards.

use std::cell::Cell;

use fantail_feed::RedisPublisher;
use fantail_testkit::{RedisServer, Reply};

use super::{KEY, assert_error, call, following, seeded, start, terms};
use crate::log_node::{LogNode, channel};
use crate::node::publish;

const TOPS: &str = "fantail-tops:{0}";
const STREAM: &str = "fantail-stream:{0}:a";

/// The same with `ASKING` before it, as a client does that was told that the slot is on its way.
async fn call_asking(server: &RedisServer, data: &str, names: &[&str]) -> Reply {
    let envelope = format!("{{\"data\":\"{data}\"}}");
    let mut connection = server.connection().await.unwrap();
    connection.command(&["ASKING"]).await.unwrap();
    connection.command(&[&["FCALL", "fantail_publish", "1", KEY, &envelope], names].concat()).await.unwrap()
}

/// 1. A node follows the log. The slot moves away and back, with all its keys and under load.
/// 2. Redis ends its subscriptions each time, and the node follows to where the slot is.
#[tokio::test]
async fn a_slot_that_moves_takes_the_log_along_and_nothing_is_missing() {
    let (cluster, slot, owner, other) = start().await;
    let mut nodes = [
        following(seeded(&cluster.addresses()), &["a"]).await,
        LogNode::following(&cluster.nodes()[2].url(), &["a"]).await,
    ];
    let mut number = 0;
    let ways = [(owner, other), (other, owner)];
    let (mut at, mut round) = (owner, 0);
    for (from, to) in ways {
        for _ in 0..20 {
            publish(&cluster.nodes()[at], &number.to_string(), &["a"]).await;
            number += 1;
        }
        cluster.move_slot(slot, from, to).await.unwrap();
        assert_error(&call(&cluster.nodes()[from], "x", &["a"]).await, "MOVED");
        (at, round) = (to, round + 1);
        for node in &mut nodes {
            node.wait_for("the new term", |node| node.told.iter().filter(|line| *line == "term").count() == round)
                .await;
        }
    }
    publish(&cluster.nodes()[at], "last", &["a"]).await;
    let expected: Vec<_> = (0..number).map(|number| number.to_string()).chain(["last".to_owned()]).collect();
    for node in &mut nodes {
        node.until_data("last").await;
        assert_eq!(node.data(), expected);
        assert_eq!(terms(node), 2, "each server numbers in a term of its own: {:?}", node.told());
    }
}

/// A publisher is refused or accepted meanwhile; accepted events come, once and in order.
#[tokio::test]
async fn a_slot_that_moves_under_load_loses_nothing_that_was_accepted() {
    let (cluster, slot, owner, other) = start().await;
    // Enough that whatever it misses meanwhile is read.
    let mut settings = seeded(&cluster.addresses());
    settings.log_events_max = 100_000;
    let mut node = following(settings, &["a", "b", "c"]).await;
    let has_moved = Cell::new(false);
    let publishing = async {
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for number in 0_u32.. {
            let name = ["a", "b", "c"][number as usize % 3];
            let data = number.to_string();
            let mut is_accepted = false;
            for server in cluster.nodes() {
                match call(server, &data, &[name]).await {
                    Reply::Array(_) => is_accepted = true,
                    Reply::Error(error) => refused.push(error),
                    other => panic!("{other:?}"),
                }
                if is_accepted {
                    break;
                }
            }
            if is_accepted {
                accepted.push(data);
            }
            if accepted.len() >= 600 && has_moved.get() {
                break;
            }
            tokio::task::yield_now().await;
        }
        (accepted, refused)
    };
    let moving = async {
        for round in 0..6 {
            let (from, to) = if round % 2 == 0 { (owner, other) } else { (other, owner) };
            cluster.move_slot(slot, from, to).await.unwrap();
            node.wait_for("the new term", |node| node.told.iter().filter(|line| *line == "term").count() > round).await;
        }
        has_moved.set(true);
    };
    let ((accepted, refused), ()) = tokio::join!(publishing, moving);
    assert!(refused.iter().any(|error| error.starts_with("MOVED")), "{refused:?}");
    for error in &refused {
        let beginning = error.split(' ').next().unwrap();
        assert!(["MOVED", "ASK", "TRYAGAIN", "ERR"].contains(&beginning), "{error}");
        assert!(beginning != "ERR" || error.starts_with("ERR Function not found"), "{error}");
    }
    node.until_data(accepted.last().unwrap()).await;
    assert_eq!(node.data(), accepted, "{:?}", node.told());
    assert!(terms(&node) == 6 && !node.told().iter().any(|line| line.starts_with("gap")), "{:?}", node.told());
}

/// The slot is on its way: some of the keys are here and others there.
#[tokio::test]
async fn while_the_slot_is_on_its_way_an_event_is_kept_and_sent_or_neither() {
    for moved in
        [&[][..], &[KEY], &[TOPS], &[STREAM], &[KEY, TOPS], &[KEY, STREAM], &[TOPS, STREAM], &[KEY, TOPS, STREAM]]
    {
        let (cluster, slot, owner, other) = start().await;
        let mut node = following(seeded(&cluster.addresses()), &["a", "new"]).await;
        let _there = RedisPublisher::connect(seeded(&cluster.addresses())).await.unwrap();
        let [source, target] = [&cluster.nodes()[owner], &cluster.nodes()[other]];
        publish(source, "1", &["a"]).await;
        node.until_data("1").await;
        // The functions are at every master where a node ever was; here also at the one to which the slot goes.
        let library = source.command(&["FUNCTION", "DUMP"]).await.unwrap();
        let Reply::Bulk(library) = library else { panic!("{library:?}") };
        let mut connection = target.connection().await.unwrap();
        connection.command(&[&b"FUNCTION"[..], b"RESTORE", &library]).await.unwrap();
        cluster.begin_move(slot, owner, other).await.unwrap();
        for key in moved {
            cluster.move_key(key, owner, other).await.unwrap();
        }
        let mut accepted = vec!["1".to_owned()];
        for (data, names) in [("2", &["a"][..]), ("3", &["new"]), ("4", &["a", "new"]), ("5", &["new", "a"])] {
            for reply in [call(source, data, names).await, call_asking(target, data, names).await] {
                match reply {
                    Reply::Array(_) => accepted.push(data.into()),
                    Reply::Error(error) => {
                        let is_told =
                            ["ASK ", "TRYAGAIN ", "MOVED "].iter().any(|beginning| error.starts_with(beginning));
                        assert!(is_told, "{moved:?} {data}: {error}");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(accepted.len(), if moved.is_empty() { 2 } else { 1 }, "{moved:?}: {accepted:?}");
        // The rest follows, and nothing stands in its way.
        for key in cluster.keys_in(slot, owner).await.unwrap() {
            cluster.move_key(&key, owner, other).await.unwrap();
        }
        cluster.end_move(slot, owner, other).await.unwrap();
        let last = publish(target, "last", &["a", "new"]).await;
        accepted.push("last".into());
        node.until_data("last").await;
        assert_eq!(node.data(), accepted, "{moved:?}: {:?}", node.told());
        assert_eq!(last.number, accepted.len() as u64, "no number was given to an event that is none: {moved:?}");
        assert_eq!(terms(&node), 1);
    }
}

/// 1. A slot leaves a server that numbered in it, and comes back before anybody numbered elsewhere: the term goes on.
/// 2. On its way back the state comes first. A client that is sent on asks the server to which the slot comes.
#[tokio::test]
async fn a_server_to_which_its_own_slot_comes_back_numbers_nothing_before_all_is_there() {
    for first in [&[KEY][..], &[KEY, TOPS], &[KEY, STREAM]] {
        let (cluster, slot, owner, other) = start().await;
        let [home, away] = [&cluster.nodes()[owner], &cluster.nodes()[other]];
        let publisher = RedisPublisher::connect(seeded(&cluster.addresses())).await.unwrap();
        for data in ["1", "2", "3"] {
            publish(home, data, &["a"]).await;
        }
        drop(publisher);
        cluster.move_slot(slot, owner, other).await.unwrap();
        cluster.begin_move(slot, other, owner).await.unwrap();
        for key in first {
            cluster.move_key(key, other, owner).await.unwrap();
        }
        assert_error(&call_asking(home, "early", &["a"]).await, "TRYAGAIN");
        for key in cluster.keys_in(slot, other).await.unwrap() {
            cluster.move_key(&key, other, owner).await.unwrap();
        }
        cluster.end_move(slot, other, owner).await.unwrap();
        assert_eq!(publish(home, "4", &["a"]).await.number, 4, "{first:?}");
        assert!(away.command(&["PING"]).await.is_ok());
    }
}

/// 1. A slot is on its way. The Stream of a quiet channel has gone already, and a client that comes back asks for it.
/// 2. Other channels are here, and what is published to them comes.
#[tokio::test]
async fn a_recall_of_a_channel_that_has_moved_stops_no_other() {
    let (cluster, slot, owner, other) = start().await;
    let mut node = following(seeded(&cluster.addresses()), &["a", "quiet"]).await;
    let home = &cluster.nodes()[owner];
    let old = publish(home, "old", &["quiet"]).await;
    publish(home, "1", &["a"]).await;
    node.until_data("1").await;
    cluster.begin_move(slot, owner, other).await.unwrap();
    cluster.move_key("fantail-stream:{0}:quiet", owner, other).await.unwrap();
    node.feed.recall(&channel("quiet"), None, old, 10);
    for number in 2..=20 {
        publish(home, &number.to_string(), &["a"]).await;
        node.until_data(&number.to_string()).await;
    }
    assert!(!node.told().iter().any(|line| line.starts_with("gap")), "{:?}", node.told());
    assert!(!node.intake.lock().told.contains(&"lost".to_owned()), "the connection stays");
    for key in cluster.keys_in(slot, owner).await.unwrap() {
        cluster.move_key(&key, owner, other).await.unwrap();
    }
    cluster.end_move(slot, owner, other).await.unwrap();
    node.wait_for("the answer", |node| node.recalled.contains_key("quiet")).await;
    assert_eq!(node.intake.lock().recalled["quiet"].entries.len(), 1);
}
