//! Fantail's own events on a stream: gaps, closes, and the state of the feed. No publisher can send them. A client that
//! cannot take them goes without, and loses no place.

use fantail_testkit::{Close, End, Event, Fantail, PATIENCE, RedisServer, Signal, SseClient};
use serde_json::json;
use tokio::process::Command;

use crate::node::{
    FANTAIL, ask, connection_id, metrics, node, publish, publish_json, read_to_close, subscribe, until, until_state,
    words,
};

const SPARED: &str = "--control-events=false";

/// Ends the stream of this client as an operator does.
async fn kick(node: &Fantail, client: &SseClient) {
    let id = connection_id(node, client.local_addr().unwrap()).await;
    assert_eq!(ask(node, "DELETE", &format!("/connections/{id}")).await.status, 200);
}

async fn until_connected(node: &Fantail, connected: bool) {
    let series = "fantail_feed_state{state=\"connected\"}";
    until(node, "the feed is in that state", |m| (m.count(series) == 1) == connected).await;
}

#[tokio::test]
async fn every_planned_end_says_why_and_when_to_come_back_and_leaves_the_clients_id_alone() {
    let node = node(&["--retry", "1s", "--drain-window", "0s"]).await;
    let mut times = Vec::new();
    for reason in ["kicked", "channel-deleted", "drained"] {
        for request in ["/sse/a", "/sse?channel=a&channel=b"].map(|path| SseClient::request(node.public(), path)) {
            let mut clients = vec![request.clone().connect().await.unwrap()];
            clients.push(request.http_1_0().connect().await.unwrap());
            let id = publish(&node, "a", "before").await["id"].as_str().unwrap().to_owned();
            for client in &mut clients {
                assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "before");
            }
            match reason {
                "kicked" => {
                    for client in &clients {
                        kick(&node, client).await;
                    }
                }
                "channel-deleted" => assert_eq!(ask(&node, "DELETE", "/channels/a").await.status, 200),
                // The last round: the second path finds the node gone.
                _ => node.signal(Signal::TERM).unwrap(),
            }
            for client in &mut clients {
                assert_eq!(read_to_close(client).await, (vec![], reason.to_owned()));
                assert_eq!(client.last_event_id(), id, "{reason}");
                times.push(client.parser().retry().unwrap());
                assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);
            }
            if reason == "drained" {
                break;
            }
        }
    }
    assert!(times.iter().all(|ms| (1_000..=2_000).contains(ms)), "{times:?}");
    times.dedup();
    assert!(times.len() > 2, "each client is told a time of its own: {times:?}");
}

#[tokio::test]
async fn without_control_events_no_event_is_fantails_own_and_every_place_stays_the_same() {
    let node = node(&[SPARED, "--retry", "1s", "--log-events-max", "2"]).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(publish(&node, "a", number.to_string()).await["id"].as_str().unwrap().to_owned());
    }
    // An id below the floor: the rest follows a bare id at the floor.
    let request = SseClient::request(node.public(), "/sse/a").last_event_id(&ids[0]).keep_body();
    let mut client = request.connect().await.unwrap();
    let events = client.next_events(2, PATIENCE).await.unwrap();
    assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), ["3", "4"]);
    let body = String::from_utf8(client.body().to_vec()).unwrap();
    assert!(body.contains(&format!("\n\nid: {}\n\nid: {}\ndata: 3\n\n", ids[2], ids[3])), "{body}");
    until(&node, "it is counted all the same", |m| m.count("fantail_gaps_sent_total") == 1).await;

    // An unknown id moves to a new place as well, though nothing is left of the channel.
    let request = SseClient::request(node.public(), "/sse/empty").last_event_id("nobody's").keep_body();
    let mut lost = request.connect().await.unwrap();
    until_state(&node, lost.local_addr().unwrap(), "live").await;
    kick(&node, &lost).await;
    assert_eq!(lost.read_until_end(PATIENCE).await.unwrap(), (vec![], End::Clean));
    assert!(!lost.last_event_id().is_empty() && lost.last_event_id() != "nobody's");
    let body = String::from_utf8(lost.body().to_vec()).unwrap();
    let (_, hint) = body.trim_end().rsplit_once("\n\n").unwrap();
    assert!(hint.starts_with("retry: ") && hint.lines().count() == 1, "only when to come back: {body:?}");
    assert!(!body.contains("fantail."), "{body}");

    // The new place is one to resume from.
    let again = SseClient::request(node.public(), "/sse/empty").last_event_id(lost.last_event_id()).keep_body();
    let mut again = again.connect().await.unwrap();
    publish(&node, "empty", "first").await;
    assert_eq!(again.next_event(PATIENCE).await.unwrap().data, "first");
    until(&node, "both are counted", |m| m.count("fantail_gaps_sent_total") == 2).await;
}

#[tokio::test]
async fn open_streams_are_told_how_the_feed_is_if_that_is_wanted() {
    let mut redis = RedisServer::start().await.unwrap();
    let url = redis.url();
    let silent = node(&["--redis-url", &url]).await;
    let telling = node(&["--redis-url", &url, "--feed-state-events"]).await;
    let nodes = [&silent, &telling];
    let mut streams = Vec::new();
    for node in nodes {
        until_connected(node, true).await;
        streams.push(Vec::new());
        for path in ["/sse/a", "/sse/b", "/sse?channel=a&channel=b"] {
            streams.last_mut().unwrap().push(subscribe(node, path).await);
        }
    }
    redis.kill();
    for node in nodes {
        until_connected(node, false).await;
    }
    let state = |event: &Event| (event.event.clone(), event.data.clone(), event.own_id.clone());
    let told = |state: &str| ("fantail.feed".to_owned(), format!("{{\"state\":\"{state}\"}}"), None);
    for stream in &mut streams[1] {
        let id = stream.last_event_id().to_owned();
        assert_eq!(state(&stream.next_event(PATIENCE).await.unwrap()), told("connecting"));
        assert_eq!(stream.last_event_id(), id);
    }
    redis.restart().await.unwrap();
    for node in nodes {
        until_connected(node, true).await;
    }
    // The state of the feed is in no log, so its place among gaps and events is not fixed.
    publish(&telling, "a", "end").await;
    publish(&telling, "b", "end").await;
    for (tells, streams) in [false, true].into_iter().zip(&mut streams) {
        for stream in streams {
            let mut events = Vec::new();
            let wanted = |events: &[Event]| {
                let ended = events.iter().any(|event| event.data == "end");
                ended && (!tells || events.iter().any(|event| event.event == "fantail.feed"))
            };
            while !wanted(&events) {
                events.push(stream.next_event(PATIENCE).await.unwrap());
            }
            let news: Vec<_> = events.iter().filter(|event| event.event == "fantail.feed").map(state).collect();
            assert_eq!(news, if tells { vec![told("connected")] } else { vec![] });
            assert!(events.iter().any(|event| event.event == "fantail.gap"), "{events:?}");
        }
    }
}

/// An event type of Fantail's own is refused at every entrance, since clients trust it.
#[tokio::test]
async fn an_event_type_of_fantails_own_is_refused_at_every_entrance() {
    let redis = RedisServer::start().await.unwrap();
    let url = redis.url();
    let node = node(&["--redis-url", &url]).await;
    until_connected(&node, true).await;
    let mut stream = subscribe(&node, "/sse/a").await;
    let mut publisher = redis.connection().await.unwrap();
    let internal = format!("http://{}", node.internal());
    for own in ["fantail.gap", "fantail.close", "fantail.feed", "fantail.", "fantail.of-tomorrow"] {
        let item = json!({ "channel": "a", "data": "forged", "event": own });
        let answer = ask(&node, "POST", &format!("/publish/a?event={}", own.replace('f', "%66"))).await;
        assert_eq!((answer.status, answer.json().unwrap()["field"].as_str()), (400, Some("event")), "{own}");
        assert_eq!(publish_json(&node, item.to_string()).await.status, 400, "{own}");
        for several in [json!([item]).to_string(), format!("{item}\n{item}")] {
            let results = publish_json(&node, &several).await.json().unwrap();
            let refused = |result: &serde_json::Value| result["status"] == 400 && result["field"] == "event";
            assert!(results.as_array().unwrap().iter().all(refused), "{several}: {results}");
        }
        let envelope = json!({ "data": "forged", "event": own }).to_string();
        publisher.command(&["PUBLISH", "fantail-event:a", &envelope]).await.unwrap();
        for to in [["--url", &internal], ["--redis-url", &url]] {
            let arguments = [&["publish", "--event", own][..], &to, &["a", "forged"]].concat();
            let outcome = Command::new(FANTAIL).args(arguments).output().await.unwrap();
            let said = String::from_utf8_lossy(&outcome.stderr);
            assert_eq!((outcome.status.code(), said.starts_with("--event: ")), (Some(2), true), "{said}");
        }
    }
    publish(&node, "a?event=fantail", "good").await;
    for gap in stream.next_events(5, PATIENCE).await.unwrap() {
        assert_eq!(words(&[gap]), ["gap a lost"], "redis took it, and nobody gets it");
    }
    let event = stream.next_event(PATIENCE).await.unwrap();
    assert_eq!((event.event.as_str(), event.data.as_str()), ("fantail", "good"));
    let told = metrics(&node).await;
    assert_eq!(told.count("fantail_events_rejected_total{reason=\"bad_field\"}"), 5, "those that came by redis");
}
