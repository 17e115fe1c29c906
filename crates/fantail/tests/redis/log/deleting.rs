//! A channel is deleted on one node: its streams there end and its past there is gone. Other nodes keep theirs.

use fantail_testkit::{End, PATIENCE, RedisServer};

use crate::broker::{come_back, logging, publish, publish_all, texts, up_to, up_to_live, words};
use crate::node::{ask, subscribe, until_closed};

#[tokio::test]
async fn a_deletion_is_of_one_node_and_deleted_events_are_not_fetched_back_there() {
    let redis = RedisServer::start().await.unwrap();
    let (here, there) = (logging(&redis).await, logging(&redis).await);
    let mut ended = subscribe(&here, "/sse/c").await;
    let mut stays = subscribe(&there, "/sse/c").await;
    let ids = publish_all(&redis, "c", &texts("old", 1..=3)).await;
    up_to(&mut ended, "old 3").await;
    assert_eq!(ask(&here, "DELETE", "/channels/c").await.status, 200);
    let (told, end) = ended.read_until_end(PATIENCE).await.unwrap();
    assert_eq!((told[0].event.as_str(), told.len(), end), ("fantail.close", 1, End::Clean));
    until_closed(&here, "channel_deleted", 1).await;

    for id in [&ids[0], &ids[2]] {
        let mut back = come_back(&here, "/sse/c", id).await;
        assert_eq!(words(&back.next_events(1, PATIENCE).await.unwrap()), ["gap c deleted"]);
    }
    let mut replay = subscribe(&here, "/sse/c?replay=all").await;
    publish(&redis, "new", &["c"]).await;
    assert_eq!(words(&up_to(&mut replay, "new").await), ["new"]);
    let back = up_to_live(&here, come_back(&here, "/sse/c", &ids[0]).await).await;
    assert_eq!(words(&back), ["gap c deleted", "new"]);

    assert_eq!(words(&up_to(&mut stays, "new").await), ["old 1", "old 2", "old 3", "new"]);
    for node in [&there, &logging(&redis).await] {
        let back = up_to_live(node, come_back(node, "/sse/c", &ids[0]).await).await;
        assert_eq!(words(&back), ["old 2", "old 3", "new"], "other nodes bring it");
    }
}

#[tokio::test]
async fn a_client_that_was_told_of_a_deletion_is_told_once_and_goes_on_anywhere() {
    let redis = RedisServer::start().await.unwrap();
    let (here, there) = (logging(&redis).await, logging(&redis).await);
    let mut first = subscribe(&here, "/sse/c").await;
    let id = publish(&redis, "old", &["c"]).await;
    up_to(&mut first, "old").await;
    assert_eq!(ask(&here, "DELETE", "/channels/c").await.status, 200);
    let gap = come_back(&here, "/sse/c", &id).await.next_event(PATIENCE).await.unwrap();
    assert_eq!(words(std::slice::from_ref(&gap)), ["gap c deleted"]);
    publish(&redis, "new", &["c"]).await;
    for node in [&here, &there, &logging(&redis).await] {
        let mut back = come_back(node, "/sse/c", &gap.id).await;
        assert_eq!(words(&up_to(&mut back, "new").await), ["new"]);
    }
}
