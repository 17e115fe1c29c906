//! The lines at `debug`: one for each request and one for each stream's end, and none of them by default.

use fantail_testkit::{Fantail, PATIENCE, SseClient, http};

use crate::node::{ask, connection_id, node, publish, read_to_close, subscribe, until_open, whole_log};

/// The lines that end with a message of this kind, without their time.
fn lines(node: &Fantail, message: &str) -> Vec<String> {
    let message = format!(": {message} ");
    node.output().stderr.lines().filter_map(|line| Some(line.split_once(&message)?.1.to_owned())).collect()
}

/// Waits for a line, and returns it.
async fn line(node: &mut Fantail, message: &str, part: &str) -> String {
    node.wait_for_output(part, PATIENCE).await.unwrap();
    let mut found = lines(node, message);
    found.retain(|line| line.contains(part));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[track_caller]
fn assert_parts(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.split(' ').any(|word| word == *part), "{part} in {line}");
    }
}

#[tokio::test]
async fn each_request_has_one_line_and_each_stream_a_second_for_its_end() {
    let mut node = node(&["--log-level", "debug", "--trusted-proxies", "127.0.0.1"]).await;
    let request = SseClient::request(node.public(), "/sse?channel=a&token=hunter2&limit=5");
    let mut client = request.header("X-Forwarded-For", "203.0.113.9").connect().await.unwrap();
    let peer = client.local_addr().unwrap();
    let id = connection_id(&node, peer).await;
    let (peer, id_part) = (format!("peer={peer}"), format!("connection={id}"));

    let begun = line(&mut node, "a request", "token=").await;
    let path = "path=/sse?channel=a&token=***&limit=5";
    let parts = ["listener=\"public\"", "method=GET", path, "status=200", "client=203.0.113.9", &peer, &id_part];
    assert_parts(&begun, &parts);
    assert!(begun.contains(" duration_us="), "{begun}");

    assert_eq!(ask(&node, "DELETE", &format!("/connections/{id}")).await.status, 200);
    assert_eq!(read_to_close(&mut client).await.1, "kicked");
    drop(client);
    until_open(&node, 0).await;
    let ended = line(&mut node, "a stream ended", "reason=").await;
    assert_parts(&ended, &["reason=\"kicked\"", "client=203.0.113.9", "unsent_bytes=0", &id_part]);
    assert!(ended.contains(" age_seconds="), "{ended}");

    publish(&node, "a?event=greeting", "x").await;
    let published = line(&mut node, "a request", "path=/publish/").await;
    assert_parts(&published, &["listener=\"internal\"", "method=POST", "path=/publish/a?event=greeting", "status=202"]);

    let refused = http(node.public(), "GET", "/%1b[2J?hunter2", &[], "").await.unwrap();
    assert_eq!(refused.status, 404);
    let refused = line(&mut node, "a request", "status=404").await;
    assert_parts(&refused, &["path=/%1b[2J?***"]);
    let log = whole_log(&node).await;
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn at_the_usual_level_requests_and_streams_have_no_lines() {
    let node = node(&[]).await;
    let client = subscribe(&node, "/sse/a").await;
    publish(&node, "a", "x").await;
    drop(client);
    until_open(&node, 0).await;
    let log = whole_log(&node).await;
    assert!(!log.contains("a request") && !log.contains("a stream ended") && !log.contains("/sse/a"), "{log}");
}
