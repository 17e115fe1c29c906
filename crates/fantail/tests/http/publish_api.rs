//! The publish API: its requests, its answers, and events that reach the client as the standard says.

use std::time::Duration;

use fantail_testkit::{Fantail, PATIENCE, Response, http};
use serde_json::{Value, json};

use crate::node::{ask, metrics, node, opening, publish, publish_json, subscribe, until_open, until_state};
use crate::wire::Wire;

/// Sends a request to the internal listener.
async fn send(node: &Fantail, method: &str, path: &str, body: impl AsRef<[u8]>) -> Response {
    http(node.internal(), method, path, &[], body).await.unwrap()
}

/// A refusal's status and the field that it blames.
#[track_caller]
fn refusal(answer: &Response) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let problem = answer.json().unwrap();
    assert_eq!(problem["status"], answer.status);
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    (answer.status, problem["field"].as_str().unwrap_or_default().to_owned())
}

/// With the control loop on the shard's thread nothing waits for another thread: what the answer's arrival proves is sent. The shard looks by
/// itself, so it is not woken to find nothing.
#[tokio::test]
async fn an_event_is_on_its_way_before_its_publisher_is_answered_where_both_share_a_thread() {
    let node = node(&["--workers", "1", "--control-thread", "shared"]).await;
    let mut stream = subscribe(&node, "/sse/a").await;
    until_state(&node, stream.local_addr().unwrap(), "live").await;
    let wakes = async || metrics(&node).await.number("fantail_wakes_total");
    let wakes_before = wakes().await;
    for number in 0..200 {
        publish(&node, "a", number.to_string()).await;
        let events = stream.take_up_to_now(Duration::from_millis(1)).await;
        let datas: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(datas, [number.to_string()]);
    }
    assert!(wakes().await <= wakes_before, "the shard was woken");
}

#[tokio::test]
async fn a_raw_publish_takes_its_data_from_the_body_and_the_rest_from_the_query() {
    let node = node(&[]).await;
    let mut client = subscribe(&node, "/sse/user:1/news").await;
    publish(&node, "user:1/news?event=greeting&id=my-1&retry=1234", "hello\nworld").await;
    publish(&node, "user%3A1%2Fnews", "").await;
    let first = client.next_event(PATIENCE).await.unwrap();
    assert_eq!((first.event.as_str(), first.data.as_str()), ("greeting", "hello\nworld"));
    assert_eq!((first.own_id.as_deref(), first.retry), (Some("my-1"), Some(1234)));
    let second = client.next_event(PATIENCE).await.unwrap();
    assert_eq!((second.event.as_str(), second.data.as_str(), second.retry), ("message", "", None));
}

#[tokio::test]
async fn a_receipt_tells_the_id_and_how_many_streams_there_were() {
    let node = node(&[]).await;
    let receipt = publish(&node, "a", "nobody listens").await;
    assert_eq!(receipt["subscribers"], 0);
    let mut clients = Vec::new();
    for path in ["/sse/a", "/sse/a", "/sse/b", "/sse?channel=a&channel=b"] {
        clients.push(subscribe(&node, path).await);
    }
    assert_eq!(publish(&node, "a", "x").await["subscribers"], 3);
    assert_eq!(publish(&node, "b", "y").await["subscribers"], 2);
    let receipt = publish(&node, "a", "z").await;
    assert_eq!(receipt.as_object().unwrap().len(), 2, "{receipt}");
    let events = clients[0].next_events(2, PATIENCE).await.unwrap();
    assert_eq!(receipt["id"], *events[1].own_id.as_ref().unwrap());
    clients.truncate(1);
    until_open(&node, 1).await;
    assert_eq!(publish(&node, "a", "after some left").await["subscribers"], 1);
}

#[tokio::test]
async fn json_comes_as_one_object_as_an_array_or_as_lines_and_each_item_has_its_result() {
    let node = node(&[]).await;
    let mut client = subscribe(&node, "/sse?channel=a&channel=b").await;
    let one = json!({ "channel": "a", "data": "1", "event": "e", "id": "my-1", "retry": 5 });
    let answer = publish_json(&node, one.to_string()).await;
    assert_eq!((answer.status, answer.header("content-type")), (202, Some("application/json")));
    assert!(answer.json().unwrap()["id"].is_string());

    let array = json!([{ "channel": "a", "data": "2" }, { "channels": ["a", "b"], "data": "3" }]);
    let ndjson = "{\"channel\":\"b\",\"data\":\"4\"}\n{\"channel\":\"c\",\"data\":\"-\"}\r\n\n{\"channel\":\"a\",\"data\":\"5\"}";
    for (body, results) in [(array.to_string(), 2), (ndjson.to_owned(), 3), ("[]".to_owned(), 0)] {
        let answer = publish_json(&node, &body).await;
        let receipts = answer.json().unwrap();
        let receipts = receipts.as_array().unwrap();
        assert_eq!((answer.status, receipts.len()), (202, results), "{body}");
        assert!(receipts.iter().all(|receipt| receipt["id"].is_string() && receipt["subscribers"].is_u64()));
        assert!(receipts.iter().all(|receipt| receipt["status"] == 202), "{receipts:?}");
    }
    let events = client.next_events(5, PATIENCE).await.unwrap();
    assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    assert_eq!((events[0].event.as_str(), events[0].own_id.as_deref(), events[0].retry), ("e", Some("my-1"), Some(5)));
}

#[tokio::test]
async fn a_bad_item_among_others_is_refused_alone_and_whole() {
    let node = node(&["--event-bytes-max", "1KiB"]).await;
    let mut client = subscribe(&node, "/sse?channel=a&channel=b").await;
    let large = "x".repeat(2_000);
    let items = json!([
        { "channel": "a", "data": "1" },
        { "channel": "a*", "data": "-" },
        { "channels": ["a", "b c"], "data": "for one good and one bad channel" },
        { "channel": "a", "data": "-", "event": "fantail.gap" },
        { "channel": "a", "data": "-", "id": "abcdefghijkl.1.2" },
        { "channel": "a", "data": "-", "retry": 86_400_001 },
        { "channel": "a", "data": large },
        { "channel": "a", "data": 7 },
        { "channel": "a", "data": "2" },
    ]);
    let answer = publish_json(&node, items.to_string()).await;
    assert_eq!((answer.status, answer.header("content-type")), (207, Some("application/json")), "{}", answer.text());
    let results = answer.json().unwrap();
    let results = results.as_array().unwrap();
    assert!(results.iter().enumerate().all(|(index, result)| result["index"] == index), "{results:?}");
    let results: Vec<_> = results.iter().map(|r| (r["status"].as_u64(), r["field"].as_str())).collect();
    let refused = |status, field| (Some(status), Some(field));
    assert_eq!(
        results[1..8],
        [
            refused(400, "channel"),
            refused(400, "channel"),
            refused(400, "event"),
            refused(400, "id"),
            refused(400, "retry"),
            refused(413, "data"),
            refused(400, "data"),
        ]
    );
    assert_eq!((results[0], results[8]), ((Some(202), None), (Some(202), None)));
    let events = client.next_events(2, PATIENCE).await.unwrap();
    assert_eq!((events[0].data.as_str(), events[1].data.as_str()), ("1", "2"));
}

/// A publisher that looks at the status alone must not take a refusal for a receipt.
#[tokio::test]
async fn a_batch_of_which_nothing_was_accepted_is_an_error() {
    let node = node(&["--event-bytes-max", "1KiB"]).await;
    let (bad, large) = (json!({ "channel": "a*", "data": "x" }), json!({ "channel": "a", "data": "x".repeat(2_000) }));
    for (events, status) in
        [(vec![&bad], 400), (vec![&bad, &bad], 400), (vec![&large, &large], 413), (vec![&bad, &large], 422)]
    {
        let ndjson: Vec<_> = events.iter().map(ToString::to_string).collect();
        let bodies = [json!(events).to_string(), ndjson.join("\n")];
        // One object on a line is an event and no batch.
        for body in &bodies[..events.len().min(2)] {
            let answer = publish_json(&node, body).await;
            assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/json")), "{body}");
            let results = answer.json().unwrap();
            assert_eq!(results.as_array().unwrap().len(), events.len(), "{results}");
            for (index, result) in results.as_array().unwrap().iter().enumerate() {
                assert_eq!(result["index"], index);
                assert!(result["status"].as_u64().unwrap() >= 400 && result["detail"].is_string(), "{result}");
            }
        }
    }
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 0);
}

/// A library may read the members of an object from a list, by their order.
#[tokio::test]
async fn a_list_never_passes_as_an_event() {
    let node = node(&[]).await;
    for event in [json!(["demo", "x"]), json!(["demo", null, "x", null, null, null])] {
        let answer = publish_json(&node, json!([event]).to_string()).await;
        assert_eq!((answer.status, &answer.json().unwrap()[0]["field"]), (400, &json!("body")), "{event}");
    }
    // Values that are no objects make a batch of refused events.
    let answer = publish_json(&node, json!(["demo", null, "x", 7, true, []]).to_string()).await;
    assert_eq!((answer.status, answer.json().unwrap().as_array().unwrap().len()), (400, 6));
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 0);
}

#[tokio::test]
async fn a_fault_of_an_event_names_its_members() {
    let node = node(&[]).await;
    for (body, field, told) in [
        (r#"{"channel":"a","data":{"a":1}}"#, "data", "data must be a string: encode the JSON"),
        (r#"{"channel":"a"}"#, "data", "data is missing"),
        (r#"{"channel":"a","data":"x","data":"y"}"#, "data", "data is given twice"),
        (r#"{"channel":7,"data":"x"}"#, "channel", "channel must be a string"),
        (r#"{"channels":"a","data":"x"}"#, "channels", "channels must be a list of strings"),
        (r#"{"channel":"a","data":"x","retry":"1"}"#, "retry", "retry must be a whole number"),
        ("7", "body", "an event is a JSON object"),
    ] {
        let answer = publish_json(&node, body).await;
        assert_eq!(refusal(&answer), (400, field.into()), "{body}");
        assert!(answer.text().contains(told), "{}", answer.text());
        for rust in ["struct", "sequence", "invalid type", "u64", "Option"] {
            assert!(!answer.text().contains(rust), "{}", answer.text());
        }
    }
    assert_eq!(publish_json(&node, r#"{"channel":"a","data":"x","later":{"b":[1]}}"#).await.status, 202, "unknown");
}

#[tokio::test]
async fn malformed_json_is_refused_whole_and_with_its_place() {
    let node = node(&[]).await;
    let deep = "[".repeat(100_000);
    for (body, place) in [
        ("", "the body is empty"),
        ("{", "line 1 column 1"),
        ("{\"channel\":\"a\",\"data\":\"x\"}\n{\"channel\":\"a\",\"data\":}\n", "line 2 column 23"),
        ("{\"channel\":\"a\",\"data\":\"\\ud800\"}", "line 1"),
        ("[{\"channel\":\"a\",\"data\":\"x\"},]", "line 1 column 29"),
        ("{\"channel\":\"a\",\"data\":\"x\"}garbage", "line 1 column 27"),
        (deep.as_str(), "the JSON ends too early"),
    ] {
        let answer = publish_json(&node, body).await;
        assert_eq!(refusal(&answer), (400, "body".into()), "{}", &body[..body.len().min(60)]);
        assert!(answer.text().contains(place), "{}", answer.text());
    }
    let not_text = publish_json(&node, b"{\"channel\":\"a\",\"data\":\"\xff\"}").await;
    assert_eq!(refusal(&not_text), (400, "body".into()));
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 0, "nothing of any body was published");
}

#[tokio::test]
async fn every_bad_publish_is_refused_with_the_field_at_fault() {
    let node = node(&["--event-bytes-max", "1KiB"]).await;
    let long_name = "x".repeat(256);
    for (method, path, body, expected) in [
        ("POST", "/publish/", "", (400, "channel")),
        ("POST", "/publish/a*", "", (400, "channel")),
        ("POST", "/publish/a//b", "", (400, "channel")),
        ("POST", "/publish/..", "", (400, "channel")),
        ("POST", "/publish/a%00b", "", (400, "channel")),
        ("POST", "/publish/a%0d%0ab", "", (400, "channel")),
        ("POST", "/publish/%ff", "", (400, "path")),
        ("POST", &format!("/publish/{long_name}"), "", (400, "channel")),
        ("POST", "/publish/a?event=a%0ab", "", (400, "event")),
        ("POST", "/publish/a?event=fantail.gap", "", (400, "event")),
        ("POST", &format!("/publish/a?event={long_name}"), "", (400, "event")),
        ("POST", "/publish/a?id=", "", (400, "id")),
        ("POST", "/publish/a?id=a%00b", "", (400, "id")),
        ("POST", "/publish/a?id=abcdefghijkl.1.2", "", (400, "id")),
        ("POST", &format!("/publish/a?id={}", &long_name[..129]), "", (400, "id")),
        ("POST", "/publish/a?retry=-1", "", (400, "retry")),
        ("POST", "/publish/a?retry=99999999999", "", (400, "retry")),
        ("POST", "/publish/a?unknown=1", "", (400, "query")),
        ("POST", "/publish/a", &"x".repeat(1_024), (413, "data")),
        ("POST", "/publish/a", &"\n".repeat(150), (413, "data")),
        ("POST", "/nope", "", (404, "path")),
        ("POST", "/", "", (404, "path")),
        ("POST", "/sse/a", "", (404, "path")),
    ] {
        let (status, field) = refusal(&send(&node, method, path, body).await);
        assert_eq!((status, field.as_str()), expected, "{method} {path}");
    }
    let not_text = send(&node, "POST", "/publish/a", b"ab\xffc").await;
    assert_eq!(refusal(&not_text), (400, "data".into()));
    assert!(not_text.text().contains("byte 2"), "{}", not_text.text());
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 0);
}

#[tokio::test]
async fn an_event_for_too_many_channels_is_refused() {
    let node = node(&[]).await;
    let channels: Vec<_> = (0..129).map(|number| format!("c{number}")).collect();
    let event = |count| json!({ "channels": channels[..count], "data": "x" }).to_string();
    assert_eq!(publish_json(&node, event(128)).await.status, 202);
    assert_eq!(refusal(&publish_json(&node, event(129)).await), (400, "channels".into()));
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_those_that_there_are() {
    let node = node(&[]).await;
    for (method, path, allow) in [
        ("GET", "/publish", "POST"),
        ("PUT", "/publish/a", "POST"),
        ("DELETE", "/publish/a", "POST"),
        ("POST", "/channels", "GET, HEAD"),
        ("PUT", "/channels/a", "GET, HEAD, DELETE"),
        ("DELETE", "/connections", "GET, HEAD"),
        ("GET", "/connections/0-0-1", "DELETE"),
        ("POST", "/livez", "GET, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
        ("PATCH", "/config", "GET, HEAD"),
        ("BREW", "/readyz", "GET, HEAD"),
    ] {
        let answer = send(&node, method, path, "").await;
        assert_eq!(
            (refusal(&answer), answer.header("allow")),
            ((405, "method".into()), Some(allow)),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_announced_and_by_its_real_length() {
    let node = node(&["--publish-body-bytes-max", "100KiB"]).await;
    let max = 100 << 10;
    assert_eq!(send(&node, "POST", "/publish/a", vec![b'x'; max]).await.status, 202);
    for over in [1, 4_000_000] {
        let answer = send(&node, "POST", "/publish/a", vec![b'x'; max + over]).await;
        assert_eq!(refusal(&answer), (413, "body".into()), "{over} bytes over");
    }
    // The refusal comes before any of the body was sent.
    let mut wire = Wire::connect(node.internal()).await;
    wire.send(
        "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n",
    )
    .await;
    assert_eq!(wire.answer("POST").await.unwrap().head.status, 413);

    let mut wire = Wire::connect(node.internal()).await;
    wire.send("POST /publish/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for _ in 0..26 {
        wire.send(&chunk).await;
    }
    let answer = wire.answer("POST").await.unwrap();
    assert_eq!((answer.head.status, answer.json()["field"].as_str()), (413, Some("body")));
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 1);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_whole_publishes_nothing() {
    let node = node(&[]).await;
    for request in [
        "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf",
        "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let mut wire = Wire::connect(node.internal()).await;
        wire.send(request).await;
        wire.half_close().await;
        let accepted = wire.answer("POST").await.is_some_and(|answer| answer.head.status == 202);
        assert!(!accepted, "{request:?}");
    }
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 0);
}

#[tokio::test]
async fn hostile_data_reaches_the_client_as_the_standard_says() {
    let node = node(&[]).await;
    let mut chunked = fantail_testkit::SseClient::request(node.public(), "/sse/a").keep_body().connect().await.unwrap();
    let mut plain = fantail_testkit::SseClient::request(node.public(), "/sse/a").http_1_0().connect().await.unwrap();
    let start = opening(&mut chunked).await;
    for (data, arrives) in [
        ("", ""),
        (" ", " "),
        ("  two leading", "  two leading"),
        ("\tindented", "\tindented"),
        ("\u{a0}no-break space", "\u{a0}no-break space"),
        ("a\rb", "a\nb"),
        ("a\nb", "a\nb"),
        ("a\r\nb", "a\nb"),
        ("\r", "\n"),
        ("\n", "\n"),
        ("\r\n", "\n"),
        ("\n\r", "\n\n"),
        ("\n\n\nend\n\n", "\n\n\nend\n\n"),
        ("nul \0 inside", "nul \0 inside"),
        ("\u{feff}with a mark", "\u{feff}with a mark"),
        ("\u{feff}\u{feff}", "\u{feff}\u{feff}"),
        ("a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f", "a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f"),
        (
            "id: forged\nevent: forged\ndata: forged\n\nretry: 1\n: comment",
            "id: forged\nevent: forged\ndata: forged\n\nretry: 1\n: comment",
        ),
        ("0\r\n\r\nHTTP/1.1 200 OK\r\n", "0\n\nHTTP/1.1 200 OK\n"),
        ("\u{1f600}\u{e9}\u{7f}\u{1b}[31m", "\u{1f600}\u{e9}\u{7f}\u{1b}[31m"),
    ] {
        let raw = publish(&node, "a", data).await;
        let as_json = publish_json(&node, json!({ "channel": "a", "data": data }).to_string()).await;
        let ids = [&raw["id"], &as_json.json().unwrap()["id"]].map(|id| id.as_str().unwrap().to_owned());
        for client in [&mut chunked, &mut plain] {
            for id in &ids {
                let event = client.next_event(PATIENCE).await.unwrap();
                assert_eq!((event.event.as_str(), event.data.as_str()), ("message", arrives), "{data:?}");
                assert_eq!((event.own_id.as_ref(), event.retry), (Some(id), None), "{data:?}");
            }
        }
    }
    for client in [&chunked, &plain] {
        assert_eq!((client.parser().unknown_lines(), client.parser().comments()), (0, 1));
    }
    assert_ne!(start, chunked.last_event_id());
}

#[tokio::test]
async fn line_breaks_alone_grow_sevenfold_and_count_in_their_encoded_size() {
    let node = node(&[]).await;
    let mut client = subscribe(&node, "/sse/a").await;
    assert_eq!(refusal(&send(&node, "POST", "/publish/a", "\n".repeat(100_000)).await), (413, "data".into()));
    let most = "\n".repeat(37_000);
    publish(&node, "a", &most).await;
    assert_eq!(client.next_event(PATIENCE).await.unwrap().data, most);
}

#[tokio::test]
async fn one_kept_connection_takes_many_publishes() {
    let node = node(&[]).await;
    let mut wire = Wire::connect(node.internal()).await;
    let request = |text: &str| {
        format!("POST /publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{text}", text.len())
    };
    wire.send((0..100).map(|number| request(&number.to_string())).collect::<String>()).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        let answer = wire.answer("POST").await.unwrap();
        assert_eq!(answer.head.status, 202);
        ids.push(answer.json()["id"].clone());
    }
    let mut client = subscribe(&node, "/sse/a?replay=all").await;
    let events = client.next_events(100, PATIENCE).await.unwrap();
    assert!(events.iter().enumerate().all(|(number, event)| event.data == number.to_string()));
    assert_eq!(events.iter().map(|event| Value::from(event.id.clone())).collect::<Vec<_>>(), ids);
    assert_eq!(ask(&node, "GET", "/livez").await.status, 200);
}
