//! The pages about publishing over HTTP and the internal API match the node: its routes, statuses, fields and bounds.

use std::collections::BTreeSet;

use fantail_config::SETTINGS;
use fantail_feed::CHANNELS_PER_EVENT_MAX;
use fantail_testkit::{Fantail, http};
use fantail_wire::{CHANNEL_NAME_BYTES_MAX, EVENT_TYPE_BYTES_MAX, PUBLISHER_ID_BYTES_MAX, RETRY_MS_MAX};
use serde_json::{Value, json};

use crate::node::{ask, node, publish, publish_json, subscribe, until_ready};
use crate::wire::Wire;

const PUBLISHING: &str = include_str!("../../../../docs/publishing-http.md");
const INTERNAL: &str = include_str!("../../../../docs/internal-api.md");

/// A node whose Redis is away.
const NO_REDIS: [&str; 2] = ["--redis-url", "redis://127.0.0.1:1"];

/// The first cells of the table that begins with this head, without their marks.
fn first_cells(page: &str, head: &str) -> Vec<String> {
    let (_, table) = page.split_once(head).unwrap_or_else(|| panic!("there is no table {head:?}"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row[2..].split(" |").next().unwrap().replace('`', "")).collect()
}

fn words(cells: &[String]) -> BTreeSet<&str> {
    cells.iter().map(String::as_str).collect()
}

/// The members of an object, which is the first of a list if it is one.
fn members(json: &Value) -> BTreeSet<&str> {
    let object = json.as_array().map_or(json, |list| &list[0]);
    object.as_object().unwrap_or_else(|| panic!("{json}")).keys().map(String::as_str).collect()
}

async fn shown(node: &Fantail, path: &str) -> Value {
    ask(node, "GET", path).await.json().unwrap()
}

#[tokio::test]
async fn the_fields_of_every_answer_are_those_on_the_pages() {
    let node = node(&[]).await;
    let _streams = [subscribe(&node, "/sse/a").await, subscribe(&node, "/sse/b").await];
    let receipt = publish(&node, "a", "x").await;
    let problem = publish_json(&node, "{}").await.json().unwrap();
    let connections = shown(&node, "/connections").await["connections"].clone();
    let connection = format!("/connections/{}", connections[0]["id"].as_str().unwrap());
    for (answer, page, head) in [
        (receipt, PUBLISHING, "| field of a receipt | what |"),
        (problem, PUBLISHING, "| field of a problem | what |"),
        (shown(&node, "/livez").await, INTERNAL, "### GET /livez\n\n| field | what |"),
        (
            shown(&node, "/channels").await["channels"].clone(),
            INTERNAL,
            "`/channels/<channel>` answers one entry.\n\n|",
        ),
        (shown(&node, "/channels/a").await, INTERNAL, "`/channels/<channel>` answers one entry.\n\n|"),
        (connections, INTERNAL, "`{\"connections\":[…]}`\n\n| field | what |"),
        (ask(&node, "DELETE", "/channels/a").await.json().unwrap(), INTERNAL, "### DELETE /channels\n\n|"),
        (ask(&node, "DELETE", &connection).await.json().unwrap(), INTERNAL, "### DELETE /connections\n\n|"),
    ] {
        assert_eq!(words(&first_cells(page, head)), members(&answer), "{head}");
    }
    let config = shown(&node, "/config").await;
    assert_eq!(members(&config["retry"]), BTreeSet::from(["place", "source", "value"]));

    // The field `reason` is there only while something is wrong.
    let away = crate::node::node(&NO_REDIS).await;
    until_ready(&away, false).await;
    let documented = first_cells(INTERNAL, "### GET /readyz\n\n| field | what |");
    let ready = shown(&node, "/readyz").await;
    let mut expected = members(&ready);
    expected.insert("reason");
    assert_eq!(words(&documented), expected);
    while shown(&away, "/readyz").await["reason"].is_null() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_field_of_an_event_is_on_the_page_and_known() {
    let node = node(&[]).await;
    let fields = first_cells(PUBLISHING, "## Fields\n\n| field | what |");
    assert_eq!(fields, ["channel", "channels", "data", "event", "id", "retry"]);
    for field in &fields {
        let answer = publish_json(&node, format!(r#"{{"{field}":null,"{field}":null}}"#)).await;
        assert_eq!(answer.json().unwrap()["detail"], format!("{field} is given twice"));
    }
    let unknown = r#"{"channel":"a","data":"x","evnt":1,"evnt":2}"#;
    assert_eq!(publish_json(&node, unknown).await.status, 202);
}

/// A node does not wait for the end of a head that has come to twice `head_bytes_max`.
async fn status_of_an_endless_head(node: &Fantail, request_line: &str) -> String {
    let mut wire = Wire::connect(node.internal()).await;
    wire.send(format!("{request_line} HTTP/1.1\r\nHost: localhost\r\nX-Long: {}", "x".repeat(33_000))).await;
    wire.answer("POST").await.unwrap().head.status.to_string()
}

const TOKEN: &str = "a-token-of-thirty-two-characters";
const SHOWN: &str = "Bearer a-token-of-thirty-two-characters";

/// Each status of a page's table has a request with that answer, and no request here has another.
#[tokio::test]
async fn every_status_on_the_pages_is_one_that_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let tokens = format!("{}=publish+read", token.display());
    let guarded = node(&["--internal-tokens", &tokens, "--publish-rate-max", "1"]).await;
    let [node, away] = [node(&["--event-bytes-max", "1KiB"]).await, crate::node::node(&NO_REDIS).await];
    let shown = ("Authorization", SHOWN);
    let good = json!({ "channel": "a", "data": "x" });
    let (bad, large) = (json!({ "channel": "a" }), json!({ "channel": "a", "data": "x".repeat(2_000) }));
    let plain = ("X-Plain", "1");
    let mut found = [BTreeSet::new(), BTreeSet::new()];
    for (page, at, method, path, header, body) in [
        (0, &node, "POST", "/publish", plain, good.to_string()),
        (0, &node, "POST", "/publish", plain, json!([good, bad]).to_string()),
        (0, &node, "POST", "/publish", plain, bad.to_string()),
        (0, &node, "POST", "/publish", plain, json!([bad, large]).to_string()),
        (0, &node, "POST", "/publish", plain, large.to_string()),
        (0, &node, "POST", "/publish", ("Origin", "https://a.example"), good.to_string()),
        (0, &node, "POST", "/nope", plain, String::new()),
        (0, &node, "PUT", "/publish", plain, String::new()),
        (0, &node, "POST", "/publish", ("Host", "fantail"), good.to_string()),
        (0, &away, "POST", "/publish", plain, good.to_string()),
        (0, &guarded, "POST", "/publish", plain, good.to_string()),
        (0, &guarded, "POST", "/publish", shown, json!([good, good, good, good, good, good]).to_string()),
        (0, &guarded, "POST", "/publish", shown, good.to_string()),
        (1, &guarded, "GET", "/channels", plain, String::new()),
        (1, &node, "GET", "/livez", plain, String::new()),
        (1, &node, "GET", "/channels?limit=0", plain, String::new()),
        (1, &node, "GET", "/channels", ("Sec-Fetch-Site", "cross-site"), String::new()),
        (1, &node, "GET", "/channels/nothing", plain, String::new()),
        (1, &node, "POST", "/channels", plain, String::new()),
        (1, &node, "GET", "/channels", ("Host", "fantail"), String::new()),
        (1, &away, "GET", "/readyz", plain, String::new()),
    ] {
        let answer = http(at.internal(), method, path, &[header], body).await.unwrap();
        found[page].insert(answer.status.to_string());
        if answer.status == 503 && method == "POST" {
            assert!(answer.header("retry-after").is_some());
        }
    }
    let slow = crate::node::node(&["--publish-rate-max", "1"]).await;
    for _ in 0..100 {
        let answer = http(slow.internal(), "POST", "/publish", &[plain], good.to_string()).await.unwrap();
        found[0].insert(answer.status.to_string());
    }
    for (page, found) in found.iter_mut().enumerate() {
        let request_line = ["POST /publish", "GET /channels"][page];
        found.insert(status_of_an_endless_head(&node, request_line).await);
    }
    for (page, found) in [PUBLISHING, INTERNAL].into_iter().zip(found) {
        let documented = first_cells(page, "| status | when |");
        assert_eq!(documented.iter().cloned().collect::<BTreeSet<_>>(), found);
    }
}

#[tokio::test]
async fn every_route_is_on_the_page_and_is_one_of_the_node() {
    let node = node(&[]).await;
    let routes = first_cells(INTERNAL, "| request | answer |").join(" ");
    let problem = ask(&node, "GET", "/nope").await.json().unwrap();
    let told: BTreeSet<_> =
        problem["detail"].as_str().unwrap().split([' ', ',']).filter(|word| word.starts_with('/')).collect();
    let documented: BTreeSet<_> = routes
        .split([' ', ',', '?'])
        .filter(|word| word.starts_with('/'))
        .map(|path| &path[..path[1..].find('/').map_or(path.len(), |end| end + 1)])
        .collect();
    assert_eq!(documented, told);
}

#[tokio::test]
async fn every_bound_on_the_pages_is_the_one_in_force() {
    for page in [PUBLISHING, INTERNAL] {
        let mut settings = 0;
        for setting in SETTINGS {
            for (_, behind) in
                page.match_indices(&format!("`{}` (", setting.key)).map(|(at, name)| (at, &page[at + name.len()..]))
            {
                let shown = behind.split(')').next().unwrap().trim_matches('`');
                assert_eq!(shown, setting.default, "{}", setting.key);
                settings += 1;
            }
        }
        assert!(settings > 0, "the page names no default");
    }
    for bound in [
        format!("1 to {CHANNEL_NAME_BYTES_MAX} bytes"),
        format!("list of 1 to {CHANNELS_PER_EVENT_MAX};"),
        format!("at most {EVENT_TYPE_BYTES_MAX} bytes"),
        format!("1 to {PUBLISHER_ID_BYTES_MAX} bytes"),
        format!("from 0 to {RETRY_MS_MAX}"),
        format!("| channels of an event | {CHANNELS_PER_EVENT_MAX} |"),
    ] {
        assert!(PUBLISHING.contains(&bound), "{bound}");
    }
    let (_, most) = PUBLISHING.split_once("| events of a batch | ").unwrap();
    let most: usize = most.split(' ').next().unwrap().replace(',', "").parse().unwrap();
    let node = node(&["--log-events-max", "1"]).await;
    let batch = |count| vec![r#"{"channel":"a","data":""}"#; count].join("\n");
    assert_eq!(publish_json(&node, batch(most)).await.status, 202);
    assert_eq!(publish_json(&node, batch(most + 1)).await.status, 413);
}
