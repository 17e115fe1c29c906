//! What is published plainly while the log is on: live for whoever is there, and nothing for anybody else.

use fantail_testkit::{RedisServer, SseClient};

use crate::broker::{come_back, logging, publish, up_to, up_to_live, words};
use crate::node::{opening, subscribe};

const ENVELOPE: &str = r#"{"data":"enveloped","event":"tick","id":"own","retry":7}"#;

#[tokio::test]
async fn plain_events_come_live_without_an_id_and_leave_the_clients_where_it_was() {
    let redis = RedisServer::start().await.unwrap();
    let nodes = [logging(&redis).await, logging(&redis).await];
    let mut streams = [subscribe(&nodes[0], "/sse/c").await, subscribe(&nodes[1], "/sse?channel=c&channel=d").await];
    let first = publish(&redis, "1", &["c"]).await;
    redis.publish("fantail:c", "plain").await.unwrap();
    redis.publish("fantail-event:c", ENVELOPE).await.unwrap();
    let second = publish(&redis, "2", &["c"]).await;
    redis.publish("fantail:c", "last").await.unwrap();
    for stream in &mut streams {
        let events = up_to(stream, "last").await;
        assert_eq!(words(&events), ["1", "plain", "enveloped", "2", "last"]);
        let own: Vec<_> = events.iter().map(|event| event.own_id.as_ref()).collect();
        assert_eq!(own, [Some(&first), None, None, Some(&second), None]);
        let kept: Vec<_> = events.iter().map(|event| &event.id).collect();
        assert_eq!(kept, [&first, &first, &first, &second, &second]);
        assert_eq!((events[2].event.as_str(), events[2].retry), ("tick", Some(7)));
    }
}

#[tokio::test]
async fn plain_events_are_never_replayed_wherever_a_client_comes_back() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let mut first = SseClient::request(node.public(), "/sse/c").keep_body().connect().await.unwrap();
    let before = opening(&mut first).await;
    let mut stays = subscribe(&node, "/sse/c").await;
    redis.publish("fantail:c", "plain 1").await.unwrap();
    let id = publish(&redis, "numbered 1", &["c"]).await;
    redis.publish("fantail:c", "plain 2").await.unwrap();
    redis.publish("fantail-event:c", ENVELOPE).await.unwrap();
    publish(&redis, "numbered 2", &["c"]).await;
    redis.publish("fantail:c", "plain 3").await.unwrap();
    up_to(&mut stays, "plain 3").await;

    let both = ["numbered 1", "numbered 2"];
    for node in [&node, &logging(&redis).await] {
        let come = |id: &str| come_back(node, "/sse/c", id.to_owned());
        assert_eq!(words(&up_to_live(node, come(&before).await).await), both);
        assert_eq!(words(&up_to_live(node, come(&id).await).await), both[1..]);
        // An envelope's id is not sent, so nobody has it.
        let unknown = words(&up_to_live(node, come("own").await).await);
        assert_eq!(unknown, ["gap c unknown-id", "numbered 1", "numbered 2"]);
        for (replay, from) in [("1", 1), ("2", 0), ("all", 0)] {
            let stream = subscribe(node, &format!("/sse/c?replay={replay}")).await;
            assert_eq!(words(&up_to_live(node, stream).await), both[from..], "replay={replay}");
        }
    }
}

/// What stands beside a number differs from node to node, and only a gap's id names such a place.
#[tokio::test]
async fn an_id_from_beside_a_number_on_another_node_hides_no_plain_event_here() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let id = publish(&redis, "1", &["c"]).await;
    let mut stream = come_back(&node, "/sse/c", format!("{id}.5")).await;
    for text in ["plain 1", "plain 2"] {
        redis.publish("fantail:c", text).await.unwrap();
    }
    publish(&redis, "2", &["c"]).await;
    assert_eq!(words(&up_to(&mut stream, "2").await), ["plain 1", "plain 2", "2"]);
}
