//! The operator's view and actions: channels, connections, health, settings, metrics.

use std::collections::HashMap;
use std::time::Duration;

use fantail_testkit::{Close, PATIENCE, SseClient, http};
use serde_json::{Value, json};

use crate::node::{
    ask, connection_id, connections, metrics, node, opening, publish, publish_to, read_to_close, subscribe, until,
    until_closed, until_open, until_state,
};

#[tokio::test]
async fn channels_are_listed_with_their_streams_and_logs() {
    let node = node(&[]).await;
    assert_eq!(ask(&node, "GET", "/channels").await.json().unwrap(), json!({ "channels": [] }));
    let _clients =
        [subscribe(&node, "/sse/news/1").await, subscribe(&node, "/sse?channel=news/1&channel=news/2").await];
    publish_to(&node, &["news/1", "other"], "x").await;
    publish(&node, "news/1", "y").await;

    let show = async |name: &str| ask(&node, "GET", &format!("/channels/{name}")).await.json().unwrap();
    let of = |shown: &Value| (shown["streams"].clone(), shown["log_entries"].clone(), shown["followed"].clone());
    assert_eq!(of(&show("news/1").await), (json!(2), json!(2), json!(true)));
    assert_eq!(of(&show("news%2F2").await), (json!(1), json!(0), json!(true)));
    assert_eq!(of(&show("other").await), (json!(0), json!(1), json!(true)));
    assert!(show("other").await["log_bytes"].as_u64().unwrap() > 0);
    assert_eq!(show("nothing").await["status"], 404);

    let listed = async |query: &str| {
        let listing = ask(&node, "GET", &format!("/channels{query}")).await.json().unwrap();
        let names = listing["channels"].as_array().unwrap().iter().map(|c| c["channel"].as_str().unwrap().to_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    assert_eq!(listed("").await, ["news/1", "news/2", "other"]);
    assert_eq!(listed("?prefix=news/").await, ["news/1", "news/2"]);
    assert_eq!(listed("?limit=2").await.len(), 2);
    for bad in ["?limit=0", "?limit=10001", "?limit=x", "?unknown=1"] {
        assert_eq!(ask(&node, "GET", &format!("/channels{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn connections_are_listed_and_ended_one_by_one() {
    let node = node(&[]).await;
    let mut clients = Vec::new();
    for number in 0..8 {
        clients.push(subscribe(&node, &format!("/sse?channel=c{number}&channel=common")).await);
    }
    for (number, client) in clients.iter().enumerate() {
        let peer = client.local_addr().unwrap();
        until_state(&node, peer, "live").await;
        let id = connection_id(&node, peer).await;
        let listing = connections(&node).await;
        let entry = listing.iter().find(|entry| entry["id"] == id.as_str()).unwrap();
        assert_eq!(entry["channels"], json!([format!("c{number}"), "common"]));
        assert_eq!((&entry["state"], &entry["unsent_bytes"]), (&json!("live"), &json!(0)));
    }
    let some = ask(&node, "GET", "/connections?limit=3").await.json().unwrap();
    assert_eq!(some["connections"].as_array().unwrap().len(), 3);

    let mut doomed = clients.remove(3);
    let id = connection_id(&node, doomed.local_addr().unwrap()).await;
    let answer = ask(&node, "DELETE", &format!("/connections/{id}")).await;
    assert_eq!((answer.status, answer.json().unwrap()), (200, json!({ "ended": id })));
    assert_eq!(read_to_close(&mut doomed).await, (vec![], "kicked".to_owned()));
    assert_eq!(doomed.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);
    drop(doomed);
    until_closed(&node, "kicked", 1).await;

    // The same slot and generation may be another stream's on the other shard, but not a slot as high as this.
    let other_shard = if id.starts_with('0') { "1-9999-1" } else { "0-9999-1" };
    for gone in [id.as_str(), other_shard, "7-0-1", "x", "", "0-0", "0-0-4294967296", "0-4294967295-1"] {
        assert_eq!(ask(&node, "DELETE", &format!("/connections/{gone}")).await.status, 404, "{gone:?}");
    }
    publish(&node, "common", "still here").await;
    for client in &mut clients {
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "still here");
    }
}

#[tokio::test]
async fn a_connection_is_listed_with_its_age_and_the_id_that_resumes_behind_what_it_has_had() {
    let node = node(&["--workers", "1"]).await;
    let mut client = SseClient::request(node.public(), "/sse/a").keep_body().connect().await.unwrap();
    let only = async || connections(&node).await.remove(0);
    assert_eq!(only().await["last_id"], opening(&mut client).await, "no event yet");
    for data in ["one", "two"] {
        publish(&node, "a", data).await;
        let id = client.next_event(PATIENCE).await.unwrap().id;
        assert_eq!(only().await["last_id"], id);
    }
    publish(&node, "other", "three").await;
    assert_eq!(only().await["last_id"], client.last_event_id(), "its own channels count");
    publish(&node, "a?id=mine", "four").await;
    assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "four");
    assert_eq!(only().await["last_id"], "mine");

    let started = tokio::time::Instant::now();
    while only().await["age_seconds"].as_u64().unwrap() == 0 {
        assert!(started.elapsed() < PATIENCE, "it stays young");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let younger = subscribe(&node, "/sse/a").await;
    until_state(&node, younger.local_addr().unwrap(), "live").await;
    let listing = connections(&node).await;
    let age = |index: usize| listing[index]["age_seconds"].as_u64().unwrap();
    assert!(age(1) < age(0), "{listing:?}");
}

#[tokio::test]
async fn a_forwarded_address_is_shown_if_a_trusted_proxy_wrote_it() {
    for (flags, source, expected) in [
        (&["--trusted-proxies", "127.0.0.0/31,::1"][..], "127.0.0.1", json!("203.0.113.9")),
        (&["--trusted-proxies", "127.0.0.0/31"], "127.0.0.2", json!(null)),
        (&["--trusted-proxies", "127.0.0.1", "--forwarded-header", "forwarded"], "127.0.0.1", json!("2001:db8::7")),
        (&["--trusted-proxies", "127.0.0.0/31,203.0.113.0/24"], "127.0.0.1", json!("6.6.6.6")),
        (&[], "127.0.0.1", json!(null)),
    ] {
        let node = node(flags).await;
        let request = SseClient::request(node.public(), "/sse/a").from(source.parse().unwrap());
        let request = request.header("X-Forwarded-For", "6.6.6.6").header("X-Forwarded-For", "203.0.113.9");
        let request = request.header("Forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:4711\"");
        let client = request.connect().await.unwrap();
        let listing = connections(&node).await;
        assert_eq!(listing[0]["forwarded"], expected, "{flags:?}");
        assert_eq!(listing[0]["peer"], client.local_addr().unwrap().to_string(), "the peer stays what it is");
    }
}

/// A slot is used again. The name of its former stream must not reach the next one.
#[tokio::test]
async fn the_name_of_a_connection_that_is_gone_never_names_another() {
    let node = node(&["--workers", "1"]).await;
    let first = subscribe(&node, "/sse/a").await;
    let old = connection_id(&node, first.local_addr().unwrap()).await;
    first.reset().unwrap();
    until_open(&node, 0).await;
    let mut second = subscribe(&node, "/sse/a").await;
    let new = connection_id(&node, second.local_addr().unwrap()).await;
    assert_eq!(old.rsplit_once('-').unwrap().0, new.rsplit_once('-').unwrap().0, "the slot is used again");
    assert_eq!(ask(&node, "DELETE", &format!("/connections/{old}")).await.status, 404);
    publish(&node, "a", "still here").await;
    assert_eq!(second.next_event(PATIENCE).await.unwrap().data, "still here");
}

#[tokio::test]
async fn health_tells_alive_and_ready() {
    let node = node(&["--connections-max", "2"]).await;
    let answer = ask(&node, "GET", "/livez").await;
    assert_eq!((answer.status, answer.json().unwrap()), (200, json!({ "status": "ok" })));
    let ready = json!({
        "status": "ready", "feed": "memory", "draining": false, "connections": 0, "connections_max": 2,
    });
    let answer = ask(&node, "GET", "/readyz").await;
    assert_eq!((answer.status, answer.json().unwrap()), (200, ready));

    let clients = [subscribe(&node, "/sse/a").await, subscribe(&node, "/sse/a").await];
    let full = ask(&node, "GET", "/readyz").await;
    assert_eq!((full.status, &full.json().unwrap()["connections"]), (503, &json!(2)), "there is no room for more");
    assert_eq!(ask(&node, "GET", "/livez").await.status, 200);
    drop(clients);
    until(&node, "both are gone", |m| m.count("fantail_connections_open") == 0).await;
    assert_eq!(ask(&node, "GET", "/readyz").await.status, 200);
}

#[tokio::test]
async fn the_settings_in_force_are_shown_with_their_source() {
    let node = node(&["--retry", "1500ms"]).await;
    let config = ask(&node, "GET", "/config").await.json().unwrap();
    assert_eq!(config["retry"], json!({ "value": "1s 500ms", "source": "flag", "place": "--retry" }));
    assert_eq!(config["keepalive_interval"], json!({ "value": "15s", "source": "default", "place": null }));
}

/// Every line is a comment of the format or a sample of a metric that was described before.
fn assert_well_formed(text: &str) {
    let mut kinds = HashMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (keyword, rest) = comment.split_once(' ').unwrap_or((comment, ""));
            match keyword {
                "HELP" => assert!(rest.ends_with('.'), "{line}"),
                "TYPE" => {
                    let (name, kind) = rest.split_once(' ').unwrap();
                    assert!(["counter", "gauge", "info"].contains(&kind), "{line}");
                    assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "described twice: {line}");
                }
                "UNIT" => {}
                "EOF" => assert_eq!(lines.peek(), None, "nothing stands behind the end"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        assert!(value.parse::<f64>().is_ok_and(|value| value.is_finite() && value >= 0.0), "{line}");
        let (name, labels) = series.split_once('{').map_or((series, None), |(name, labels)| (name, Some(labels)));
        let described = ["_total", "_info", ""].iter().find_map(|suffix| kinds.get(name.strip_suffix(suffix)?));
        let kind = described.unwrap_or_else(|| panic!("never described: {line}"));
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        if let Some(labels) = labels {
            let pairs = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
            for pair in pairs.split(',') {
                let (label, value) = pair.split_once('=').unwrap_or_else(|| panic!("{line}"));
                assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
                assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
            }
        }
    }
    assert!(text.ends_with("# EOF\n"), "the format asks for an end");
}

#[tokio::test]
async fn the_metrics_are_well_formed_and_every_stream_that_ended_has_one_reason() {
    let node = node(&[]).await;
    let scrape =
        async |accept: &str| http(node.internal(), "GET", "/metrics", &[("Accept", accept)], "").await.unwrap();
    let (classic, open) =
        ("text/plain; version=0.0.4; charset=utf-8", "application/openmetrics-text; version=1.0.0; charset=utf-8");
    for (accept, kind) in [
        ("*/*", classic),
        ("text/plain;version=0.0.4", classic),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", open),
    ] {
        let answer = scrape(accept).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{accept}");
        assert_eq!(answer.text().ends_with("# EOF\n"), kind == open, "{accept}");
    }
    assert_eq!(ask(&node, "GET", "/metrics").await.header("content-type"), Some(classic));

    let mut open = [subscribe(&node, "/sse/a").await, subscribe(&node, "/sse?channel=a&channel=b").await];
    let mut clients = Vec::new();
    for path in ["/sse/a?limit=1", "/sse/a", "/sse/a", "/sse/deleted", "/sse/kicked"] {
        clients.push(subscribe(&node, path).await);
    }
    let kicked = connection_id(&node, clients[4].local_addr().unwrap()).await;
    publish(&node, "a", "x").await;
    for client in open.iter_mut().chain(&mut clients[..3]) {
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "x");
    }
    assert_eq!(ask(&node, "DELETE", &format!("/connections/{kicked}")).await.status, 200);
    assert_eq!(ask(&node, "DELETE", "/channels/deleted").await.status, 200);
    clients.remove(2).reset().unwrap();
    clients[1].half_close().await.unwrap();
    for client in &mut clients {
        client.read_until_closed(PATIENCE).await.unwrap();
    }
    drop(clients);
    let metrics = until(&node, "five streams are gone", |m| m.count("fantail_connections_open") == 2).await;
    assert_well_formed(&scrape("application/openmetrics-text").await.text());
    for reason in ["limit_reached", "client_closed", "client_reset", "channel_deleted", "kicked"] {
        assert_eq!(metrics.closed(reason), 1, "{reason}");
    }
    let (opened, still_open) = (metrics.count("fantail_streams_opened_total"), metrics.count("fantail_streams_open"));
    assert_eq!((opened, still_open, metrics.sum("fantail_streams_closed_total")), (7, 2, 5));
    assert_eq!(metrics.sum("fantail_shard_streams_open"), 2);
    assert_eq!(metrics.count("fantail_deliveries_total"), 5);
    assert_eq!(metrics.count("fantail_feed_state{state=\"memory\"}"), 1);
}

#[tokio::test]
async fn an_id_that_a_client_sent_never_stands_in_the_metrics() {
    let node = node(&[]).await;
    let request = SseClient::request(node.public(), "/sse/canary-channel").last_event_id("canary-id");
    let _client = request.header("User-Agent", "canary-agent").connect().await.unwrap();
    let text = metrics(&node).await.0;
    assert!(!text.contains("canary"), "{text}");
}
