//! Older events, read back for clients that return.

use fantail_feed::Recalled;
use fantail_testkit::RedisServer;
use fantail_wire::EventId;

use crate::log_node::{LogNode, channel};
use crate::node::publish;

async fn recall(node: &mut LogNode, name: &str, above: Option<EventId>, up_to: EventId, events_max: usize) -> Recalled {
    node.intake.lock().recalled.clear();
    node.feed.recall(&channel(name), above, up_to, events_max);
    node.wait_for("the answer", |node| node.recalled.contains_key(name)).await;
    let recalled = node.intake.lock().recalled.remove(name);
    recalled.unwrap()
}

fn from(recalled: &Recalled) -> Option<u64> {
    recalled.from.map(|from| from.number)
}

fn data(recalled: &Recalled) -> Vec<&str> {
    recalled.entries.iter().map(|(_, event)| event.data.as_str()).collect()
}

#[tokio::test]
async fn a_recall_brings_what_lies_between_two_places_and_says_that_it_is_all() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["other"]).await;
    let mut ids = Vec::new();
    for number in 0..700 {
        let name = if number % 7 == 0 { "b" } else { "a" };
        ids.push(publish(&server, &number.to_string(), &[name]).await);
    }
    // A client can write any time into an id.
    for ms in [0, ids[100].ms, u64::MAX] {
        let above = EventId { ms, ..ids[100] };
        let recalled = recall(&mut node, "a", Some(above), ids[690], 10_000).await;
        let expected: Vec<_> = (101..=690).filter(|n| n % 7 != 0).map(|n| n.to_string()).collect();
        assert_eq!(data(&recalled), expected);
        assert_eq!(from(&recalled), Some(above.number));
        assert!(recalled.from.is_some_and(|from| from.ms >= ids[100].ms), "a time before its own would hide events");
    }
    let newest = recall(&mut node, "a", Some(ids[100]), ids[690], 3).await;
    assert_eq!(data(&newest), ["688", "689", "690"]);
    assert_eq!(from(&newest), Some(ids[687].number), "686 is a multiple of 7, 687 is not");
    let all = recall(&mut node, "b", None, ids[699], 10_000).await;
    assert_eq!((all.entries.len(), from(&all)), (100, Some(0)));
    let nothing = recall(&mut node, "b", Some(ids[1]), ids[6], 10_000).await;
    assert_eq!((data(&nothing), from(&nothing)), (vec![], Some(ids[1].number)), "nothing was published in between");
    let never = recall(&mut node, "never", Some(ids[1]), ids[6], 10_000).await;
    assert_eq!(from(&never), Some(ids[1].number));
}

#[tokio::test]
async fn a_recall_from_a_stream_that_was_deleted_or_trimmed_claims_nothing_that_it_does_not_know() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["other"]).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(publish(&server, &number.to_string(), &["a"]).await);
    }
    server.command(&["XTRIM", "fantail-stream:{0}:a", "MAXLEN", "3"]).await.unwrap();
    let trimmed = recall(&mut node, "a", Some(ids[2]), ids[9], 100).await;
    assert_eq!(data(&trimmed), ["7", "8", "9"]);
    assert_eq!(from(&trimmed), Some(ids[6].number));
    assert_eq!(from(&recall(&mut node, "a", Some(ids[6]), ids[9], 100).await), Some(ids[6].number));

    server.command(&["DEL", "fantail-stream:{0}:a"]).await.unwrap();
    let lost = Recalled { entries: Vec::new(), from: Some(ids[9]) };
    assert_eq!(recall(&mut node, "a", Some(ids[6]), ids[9], 100).await, lost);
    let newest = recall(&mut node, "a", Some(ids[9]), ids[9], 100).await;
    assert_eq!(from(&newest), Some(ids[9].number), "that was the newest");
    publish(&server, "10", &["a"]).await;
    assert_eq!(recall(&mut node, "a", Some(ids[6]), ids[9], 100).await, lost);
}

#[tokio::test]
async fn a_recall_does_not_pass_over_what_is_missing_in_the_middle() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["other"]).await;
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.push(publish(&server, &number.to_string(), &["a"]).await);
    }
    let entry = format!("{}-{}", ids[3].ms, ids[3].number);
    server.command(&["XDEL", "fantail-stream:{0}:a", &entry]).await.unwrap();
    let recalled = recall(&mut node, "a", Some(ids[0]), ids[5], 10).await;
    let is_whole_above = from(&recalled).unwrap();
    assert!(is_whole_above >= ids[3].number, "complete above {is_whole_above}, with {:?}", data(&recalled));
}

#[tokio::test]
async fn a_key_that_is_no_stream_fails_its_own_recall_and_nothing_else() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["a", "b"]).await;
    let id = publish(&server, "1", &["b"]).await;
    node.until_data("1").await;
    server.command(&["SET", "fantail-stream:{0}:a", "foreign"]).await.unwrap();
    let recalled = recall(&mut node, "a", None, id, 10).await;
    assert_eq!(recalled, Recalled { entries: Vec::new(), from: Some(id) }, "nothing is known of what is below");
    assert!(!node.intake.lock().told.contains(&"lost".to_owned()));
}

#[tokio::test]
async fn a_recall_brings_the_newest_of_what_is_too_much_and_says_from_where_on() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["other"]).await;
    let large = "x".repeat(1 << 20);
    let mut ids = vec![publish(&server, "small", &["a"]).await];
    for _ in 0..20 {
        ids.push(publish(&server, &large, &["a"]).await);
    }
    let recalled = recall(&mut node, "a", Some(ids[0]), ids[20], 10_000).await;
    let brought = recalled.entries.len();
    assert_eq!(brought, 15, "of 16 MiB, since each is a little more than one");
    let newest: Vec<_> = recalled.entries.iter().map(|(id, _)| *id).collect();
    assert_eq!(newest, ids[21 - brought..]);
    assert_eq!(from(&recalled), Some(ids[20 - brought].number));
}
