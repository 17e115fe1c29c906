//! Bounds: silent sockets, descriptors, connections, ports. At every bound the node goes on serving those it has.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use fantail_testkit::{Close, Fantail, PATIENCE, SseClient, http};
use tokio::time::{interval, timeout};

use crate::node::{
    FANTAIL, Metrics, ask, connections, metrics, node, publish, read_to_close, subscribe, until, until_closed,
    until_open, whole_log,
};
use crate::wire::Wire;

/// Far above the deadlines of these tests and below the defaults: a late close was not made by the flag's deadline.
const SOON: Duration = Duration::from_secs(8);

/// How long to look for something that others may have to make room for.
const LOOK: Duration = Duration::from_millis(5);

#[tokio::test]
async fn silent_sockets_and_half_heads_are_closed_by_the_request_deadline() {
    let node = node(&["--request-deadline", "300ms"]).await;
    let mut stream = subscribe(&node, "/sse/a").await;
    let mut wires = Vec::new();
    for sent in
        ["", "G", "GET /sse/a HTTP/1.1\r\nHost: localhost\r\n", "\r\n", "GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    {
        for _ in 0..10 {
            let mut wire = Wire::connect(node.public()).await;
            wire.send(sent).await;
            wires.push(wire);
        }
    }
    timeout(SOON, async {
        for wire in &mut wires {
            assert_eq!(wire.rest().await.1, Close::Fin);
        }
    })
    .await
    .expect("the deadline closes them");
    until(&node, "only the stream is left", |m| m.count("fantail_connections_open") == 1).await;
    // A stream has no such deadline.
    publish(&node, "a", "still here").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "still here");
}

#[tokio::test]
async fn a_head_that_comes_in_drips_does_not_put_the_deadline_off() {
    let node = node(&["--request-deadline", "300ms"]).await;
    let mut wire = Wire::connect(node.public()).await;
    let mut pace = interval(Duration::from_millis(20));
    timeout(SOON, async {
        // A header that never ends.
        let head = format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nX: {}", "a".repeat(10_000));
        for byte in head.bytes() {
            pace.tick().await;
            wire.send([byte]).await;
            let now = metrics(&node).await;
            if now.count("fantail_connections_accepted_total") == 1 && now.count("fantail_connections_open") == 0 {
                return;
            }
        }
        panic!("all of it was read");
    })
    .await
    .expect("the deadline closes it");
}

/// Arguments for a shell that becomes the program with at most so many descriptors.
fn with_descriptors<'a>(limit: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["-c", r#"ulimit -n "$0" && exec "$@""#, limit, FANTAIL], arguments].concat()
}

/// Processor time that the program has used, in the kernel's ticks, of which there are a hundred in a second.
fn cpu_ticks(node: &Fantail) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    // The name in brackets may hold blanks; user and system time are fields 14 and 15.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn at_the_descriptor_limit_nothing_spins_newcomers_are_turned_away_and_it_goes_on_by_itself() {
    // More than there are descriptors, even if all are used.
    const WAITING: u64 = 140;
    let arguments = with_descriptors("220", &["serve", "--workers", "2"]);
    let node = Fantail::start("/bin/sh", &arguments, &[]).await.unwrap();
    assert_eq!(metrics(&node).await.count("process_max_fds"), 220);
    let ready = ask(&node, "GET", "/readyz").await.json().unwrap();
    let room = ready["connections_max"].as_u64().unwrap();
    assert!((20..150).contains(&room), "{ready}");
    let mut clients = Vec::new();
    for _ in 0..room {
        clients.push(subscribe(&node, "/sse/a").await);
    }
    // They send nothing: the last of them keep the reserve's places until its deadline.
    let mut silent = Vec::new();
    for _ in 0..WAITING {
        silent.push(Wire::connect(node.public()).await);
    }
    until(&node, "all are turned away", |m| m.sum("fantail_connections_turned_away_total") == WAITING).await;

    // One second in which nothing happens. A loop that spins on `accept` would use all of it.
    let before = cpu_ticks(&node);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = cpu_ticks(&node) - before;
    assert!(used < 20, "{used} ticks of a hundred while nothing happens");

    let full = metrics(&node).await;
    assert_eq!(full.count("fantail_streams_open"), room, "no more than there is room for");
    assert!(full.count("process_open_fds") < 200);
    assert_eq!(ask(&node, "GET", "/livez").await.status, 200);
    assert_eq!(ask(&node, "GET", "/readyz").await.status, 503);
    assert_eq!(publish(&node, "a", "to those inside").await["subscribers"], room);

    drop(clients);
    until(&node, "all are gone", |m| m.count("fantail_connections_open") == 0).await;
    assert_eq!(ask(&node, "GET", "/readyz").await.status, 200);
    let mut next = subscribe(&node, "/sse/a").await;
    publish(&node, "a", "to the next").await;
    assert_eq!(next.next_event(PATIENCE).await.unwrap().data, "to the next");
    let log = whole_log(&node).await;
    assert!(!log.contains("cannot accept"), "the kernel had to refuse: {log}");
}

#[tokio::test]
async fn a_descriptor_limit_without_room_for_anyone_is_refused_at_the_start() {
    let arguments = with_descriptors("100", &["serve", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"]);
    let (status, output) = Fantail::run_to_end("/bin/sh", &arguments, &[]).await.unwrap();
    assert_eq!(status.code(), Some(1), "{output:?}");
    assert!(output.stderr.contains("a limit of 100 open files leaves no room for connections"), "{}", output.stderr);
}

/// Descriptors that the program holds.
fn descriptors(node: &Fantail) -> usize {
    fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

#[tokio::test]
async fn a_publisher_that_leaks_connections_takes_no_more_places_than_the_internal_listener_has() {
    const PLACES: usize = 125;
    let arguments = with_descriptors("1000", &["serve", "--workers", "2"]);
    let node = Fantail::start("/bin/sh", &arguments, &[]).await.unwrap();
    let mut stream = subscribe(&node, "/sse/a").await;
    let mut inside = Wire::connect(node.internal()).await;
    let ask = async |wire: &mut Wire, request: &str| {
        wire.send(format!("{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1")).await;
        wire.answer("POST").await.unwrap().head.status
    };
    // Every shard answers a listing, so all have opened their descriptors by then.
    assert_eq!(ask(&mut inside, "GET /connections").await, 200);
    let at_rest = descriptors(&node);
    let mut leaked = Vec::new();
    for _ in 0..PLACES + 100 {
        leaked.push(Wire::connect(node.internal()).await);
    }
    let mut next = Wire::connect(node.internal()).await;
    next.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let full = async {
        while descriptors(&node) < at_rest + PLACES - 1 {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, full).await.expect("there is room for so many");
    // Each connection with a place is served as ever, and so are streams. By each answer the listener was looked at
    // again.
    for _ in 0..100 {
        assert_eq!(ask(&mut inside, "POST /publish/a").await, 202);
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "1");
    }
    assert_eq!(descriptors(&node), at_rest + PLACES - 1);
    assert!(whole_log(&node).await.contains("the internal listener is full"));
    drop(leaked);
    assert_eq!(next.answer("GET").await.unwrap().head.status, 200, "it goes on by itself");
}

/// With two shards and room for one connection, the next client must get in at any shard.
#[tokio::test]
async fn the_last_free_place_serves_every_shard() {
    const VISITS: u64 = 40;
    let node = node(&["--connections-max", "1"]).await;
    let mut shards = BTreeSet::new();
    for visit in 1..=VISITS {
        let mut client = subscribe(&node, "/sse/a?limit=1").await;
        until_open(&node, 1).await;
        shards.insert(connections(&node).await[0]["id"].as_str().unwrap().split('-').next().unwrap().to_owned());
        publish(&node, "a", "go").await;
        assert_eq!(client.read_until_end(PATIENCE).await.unwrap().0[0].data, "go");
        drop(client);
        until_closed(&node, "limit_reached", visit).await;
    }
    assert_eq!(shards.len(), 2, "both have served");
    assert_eq!(metrics(&node).await.sum("fantail_connections_turned_away_total"), 0);
}

/// The count of newcomers that were turned away, as the metrics have it.
fn turned_away(metrics: &Metrics, how: &str) -> u64 {
    metrics.count(&format!("fantail_connections_turned_away_total{{how=\"{how}\"}}"))
}

#[tokio::test]
async fn a_full_node_tells_a_browser_in_a_stream_and_others_by_their_status_when_to_come_back() {
    let flags = ["--connections-max", "2", "--retry", "1s", "--cors-origin", "https://app.example"];
    let node = node(&flags).await;
    let _inside = [subscribe(&node, "/sse/a").await, subscribe(&node, "/sse/a").await];
    for _ in 0..10 {
        let request = SseClient::request(node.public(), "/sse/a").header("Origin", "https://app.example");
        let mut browser = request.header("Accept", "text/event-stream").connect().await.unwrap();
        assert_eq!((browser.status(), browser.header("content-type")), (200, Some("text/event-stream")));
        assert_eq!(browser.header("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(read_to_close(&mut browser).await, (vec![], "overloaded".to_owned()));
        let retry = browser.parser().retry().unwrap();
        assert!((4_000..=8_000).contains(&retry), "longer than the usual time: {retry}");
        assert_eq!(browser.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);

        let other = http(node.public(), "GET", "/sse/a", &[("Accept", "*/*")], "").await.unwrap();
        assert_eq!((other.status, other.header("content-type")), (503, Some("application/problem+json")));
        let after: u32 = other.header("retry-after").unwrap().parse().unwrap();
        assert!((4..=8).contains(&after), "{after}");
        // Requests that need no place are answered as ever.
        assert_eq!(http(node.public(), "GET", "/nope", &[], "").await.unwrap().status, 404);
    }
    let full = until(&node, "the reserve is empty", |m| m.count("fantail_connections_turning_away") == 0).await;
    assert_eq!((turned_away(&full, "told"), turned_away(&full, "silent"), turned_away(&full, "cut")), (20, 0, 0));
    assert_eq!((full.count("fantail_connections_open"), full.count("fantail_connections_max")), (2, 2));
    assert_eq!((full.count("fantail_shed_total"), full.count("fantail_streams_opened_total")), (20, 2));
    let requests =
        ["2xx", "4xx", "5xx"].map(|class| full.count(&format!("fantail_requests_total{{status=\"{class}\"}}")));
    assert_eq!(requests, [2 + 10, 10, 10]);

    let ready = ask(&node, "GET", "/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json().unwrap()["reason"], "all 2 connections are open (connections_max)");
    let log = whole_log(&node).await;
    let lines = log.matches("full: newcomers are told to come back later").count();
    assert!((1..=2).contains(&lines), "one line of each shard at most: {log}");
}

/// A page is loaded anew: its new connection comes while the old one is open, and asks a moment after it has ended.
#[tokio::test]
async fn a_newcomer_of_a_full_node_gets_the_place_that_is_free_when_it_asks() {
    let node = node(&["--connections-max", "1"]).await;
    let old = subscribe(&node, "/sse/a").await;
    let mut new = Wire::connect(node.public()).await;
    until(&node, "it is in the reserve", |m| m.count("fantail_connections_turning_away") == 1).await;
    drop(old);
    until(&node, "there is room", |m| m.count("fantail_connections_open") == 0).await;
    new.send("GET /sse/a?limit=1 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n").await;
    let inside = |m: &Metrics| m.count("fantail_connections_open") == 1 && m.count("fantail_streams_open") == 1;
    let now = until(&node, "it is inside", inside).await;
    assert_eq!(now.count("fantail_connections_turning_away"), 0);
    publish(&node, "a", "here").await;
    assert_eq!(new.answer("GET").await.unwrap().events().pop().unwrap().data, "here");
}

#[tokio::test]
async fn silent_newcomers_of_a_full_node_take_no_place_from_one_that_asks() {
    let arguments = with_descriptors("200", &["serve", "--workers", "1", "--connections-max", "1"]);
    let node = Fantail::start("/bin/sh", &arguments, &[]).await.unwrap();
    let _inside = subscribe(&node, "/sse/a").await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(Wire::connect(node.public()).await);
        if silent.len() % 10 == 0 {
            let request = SseClient::request(node.public(), "/sse/a").header("Accept", "text/event-stream");
            let mut browser = request.connect().await.unwrap();
            assert_eq!(read_to_close(&mut browser).await, (vec![], "overloaded".to_owned()));
        }
    }
    timeout(SOON, async {
        for wire in &mut silent {
            assert_eq!(wire.rest().await, (vec![], Close::Fin));
        }
    })
    .await
    .expect("none is left hanging");
    // A client may see its end before that is counted.
    let counts = |metrics: &Metrics| ["told", "silent", "cut"].map(|how| turned_away(metrics, how));
    let end = until(&node, "all are counted", |metrics| counts(metrics).iter().sum::<u64>() >= 110).await;
    let counts = counts(&end);
    assert_eq!((counts[0], counts[1] + counts[2]), (10, 100), "{counts:?}");
    assert!(counts[2] > 0 && counts[1] > 0, "{counts:?}");
    let log = whole_log(&node).await;
    assert_eq!(log.matches("full, and so is the reserve").count(), 1, "{log}");
}

/// Asks for a stream that is refused, as a browser and as another program: the browser's reason, and the other's
/// status.
async fn refused(node: &Fantail, path: &str, from: &str) -> (String, u16) {
    let request = SseClient::request(node.public(), path).header("X-Forwarded-For", from);
    let mut browser = request.header("Accept", "text/event-stream").connect().await.unwrap();
    assert_eq!(browser.status(), 200);
    let (events, why) = read_to_close(&mut browser).await;
    assert_eq!(events, []);
    let headers = [("Accept", "*/*"), ("X-Forwarded-For", from)];
    let other = http(node.public(), "GET", path, &headers, "").await.unwrap();
    assert_eq!(other.header("content-type"), Some("application/problem+json"));
    assert_eq!(other.header("retry-after"), Some("10"));
    (why, other.status)
}

#[tokio::test]
async fn a_stream_that_asks_for_a_channel_beyond_channels_max_is_refused() {
    let node = node(&["--channels-max", "3"]).await;
    let mut inside = subscribe(&node, "/sse?channel=a&channel=b").await;
    publish(&node, "c", "a channel without a stream").await;
    for channel in ["d", "e"] {
        assert_eq!(refused(&node, &format!("/sse/{channel}"), "").await, ("refused".to_owned(), 503));
    }
    let full = until(&node, "all are told", |m| m.closed("refused") == 4).await;
    assert_eq!((full.count("fantail_channels"), full.count("fantail_channels_max")), (3, 3));
    // Existing channels are followed as ever.
    let mut newcomer = subscribe(&node, "/sse/a").await;
    publish(&node, "a", "to both").await;
    for stream in [&mut inside, &mut newcomer] {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "to both");
    }
    let log = whole_log(&node).await;
    assert!((1..=2).contains(&log.matches("this node already holds the most channels it may").count()), "{log}");
}

/// 1. One address makes three channels, the most that it may, whichever stream follows them.
/// 2. A fourth is refused. It may follow channels that another address made, and others may make theirs.
/// 3. Its streams are gone, and a while later its channels are forgotten.
#[tokio::test]
async fn one_address_makes_no_more_channels_than_its_bound_until_some_are_forgotten() {
    const ONE: &str = "203.0.113.9";
    let flags =
        ["--channels-per-address-max", "3", "--trusted-proxies", "127.0.0.1", "--log-age-max", "10ms", "--retry", "1s"];
    let node = node(&flags).await;
    let open = async |path: &str, from: &str| {
        let request = SseClient::request(node.public(), path).header("X-Forwarded-For", from);
        let stream = request.connect().await.unwrap();
        assert_eq!(stream.status(), 200);
        stream
    };
    let own = [open("/sse?channel=a&channel=b", ONE).await, open("/sse/c", ONE).await];
    let mut others = Vec::new();
    for number in 0..4 {
        others.push(open(&format!("/sse/of{number}"), &format!("2001:db8:0:{number}::1")).await);
    }
    assert_eq!(refused(&node, "/sse/d", ONE).await, ("too-many-channels".to_owned(), 429));
    until_closed(&node, "too_many_channels", 2).await;
    let log = whole_log(&node).await;
    assert!(log.contains("address=203.0.113.9") && log.contains("the most channels that one may"), "{log}");
    let mut shared = open("/sse?channel=of1&channel=a", ONE).await;
    publish(&node, "of1", "for all").await;
    for stream in [&mut others[1], &mut shared] {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "for all");
    }
    drop((own, shared));
    until(&node, "its channels are forgotten", |m| m.count("fantail_channels") == 4).await;
    let mut again = open("/sse/d", ONE).await;
    publish(&node, "d", "at last").await;
    assert_eq!(again.next_event(PATIENCE).await.unwrap().data, "at last");
}

async fn run_with(listen: SocketAddr, internal: SocketAddr) -> (Option<i32>, String) {
    let (listen, internal) = (listen.to_string(), internal.to_string());
    let arguments = ["serve", "--workers", "2", "--listen", &listen, "--internal-listen", &internal];
    let (status, output) = Fantail::run_to_end(FANTAIL, &arguments, &[]).await.unwrap();
    (status.code(), output.stderr)
}

#[tokio::test]
async fn a_second_process_on_a_port_in_use_is_refused_and_the_first_keeps_all_its_clients() {
    let node = node(&[]).await;
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    for (setting, address, (status, told)) in [
        ("listen", node.public(), run_with(node.public(), any).await),
        ("internal_listen", node.internal(), run_with(any, node.internal()).await),
        ("listen", node.internal(), run_with(node.internal(), any).await),
    ] {
        assert_eq!(status, Some(1), "{told}");
        let expected = format!("cannot listen on {address} (setting {setting}): Address already in use");
        assert!(told.contains(&expected), "{told}");
    }
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(subscribe(&node, "/sse/a").await);
    }
    publish(&node, "a", "here").await;
    for client in &mut clients {
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "here");
    }
}
