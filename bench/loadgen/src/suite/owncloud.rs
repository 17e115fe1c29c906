//! The way in from ownCloud's stream: what one message costs a node, by the users that it is for.
//!
//! Every event of ownCloud comes to every node, so most messages are for no stream there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fantail_testkit::{OWNCLOUD_STREAM, owncloud_event, owncloud_message};
use serde_json::json;

use crate::compare::Ratio;
use crate::proc;
use crate::suite::Bench;
use crate::suite::figure::{Figure, Findings, Unit};
use crate::suite::server::{NATS_PORT, Server};

const USER: &str = "alice";
/// Messages that go out in one write.
const BATCH: u64 = 500;
/// The longest wait for the node to come to the end of a round.
const PATIENCE: Duration = Duration::from_mins(2);

/// One sort of message.
struct Sort {
    what: &'static str,
    message: String,
    messages: u64,
}

pub(crate) fn play(bench: &Bench, scenario: &'static str, findings: &mut Findings) -> anyhow::Result<()> {
    let nats = Server::nats()?;
    let mut publisher = publisher(nats.target.subscribe.address)?;
    let url = format!("nats://127.0.0.1:{NATS_PORT}");
    let fantail =
        bench.places.fantail(&["--nats-url", &url, "--nats-stream", OWNCLOUD_STREAM, "--nats-events", "owncloud"])?;
    let mut stream = open(fantail.target.subscribe.address)?;
    let mut rounds = Vec::new();
    for Sort { what, message, messages } in sorts() {
        let messages = (messages / bench.scale.events_divisor).max(BATCH);
        let batch = publish_line(&message).repeat(BATCH as usize);
        let (before, started) = (proc::cpu(&[fantail.pid()])?, Instant::now());
        for _ in 0..messages / BATCH {
            publisher.write_all(batch.as_bytes())?;
        }
        publisher.write_all(publish_line(&owncloud_message(&[USER], "end", what)).as_bytes())?;
        read_until(&mut stream, what)?;
        let (elapsed, cpu) = (started.elapsed(), proc::cpu(&[fantail.pid()])?.since(before));
        let per_message = cpu.total_us() as f64 / messages as f64;
        rounds.push(json!({
            "what": what, "messages": messages, "bytes": message.len(), "cpu": cpu, "seconds": elapsed.as_secs_f64(),
        }));
        let reach = format!("{} bytes each, {messages} messages in {:.2} s", message.len(), elapsed.as_secs_f64());
        let what = format!("CPU per message {what}");
        findings.add(Figure {
            scenario,
            what,
            unit: Unit::Micros,
            ours: per_message,
            other: None,
            ratio: None::<Ratio>,
            reach,
        });
    }
    bench.write_raw(scenario, &json!({ "rounds": rounds }))
}

fn sorts() -> [Sort; 4] {
    let data = r#"{"parentitemid":"storage-users-1$4c510ada!4c510ada","itemid":"storage-users-1$4c510ada!8a1d7dd7"}"#;
    let crowd: Vec<String> = (0..2_000).map(|user| format!("8a1d7dd7-22e8-4b2c-a3a8-{user:012}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    [
        Sort { what: "of another type", message: owncloud_event("events.UploadReady", data), messages: 200_000 },
        Sort { what: "for a user who is absent", message: owncloud_message(&crowd[..1], "x", data), messages: 200_000 },
        Sort { what: "for 2,000 users who are absent", message: owncloud_message(&crowd, "x", data), messages: 2_000 },
        Sort { what: "for a user with one stream", message: owncloud_message(&[USER], "x", data), messages: 100_000 },
    ]
}

fn publish_line(message: &str) -> String {
    format!("PUB {OWNCLOUD_STREAM} {}\r\n{message}\r\n", message.len())
}

/// A connection that publishes. The stream is kept in memory, so that no disk is measured.
fn publisher(nats: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(nats)?;
    let config = json!({ "name": OWNCLOUD_STREAM, "storage": "memory" }).to_string();
    write!(
        socket,
        "CONNECT {{\"verbose\":false}}\r\nSUB made 1\r\nPUB $JS.API.STREAM.CREATE.{OWNCLOUD_STREAM} made {}\r\n{config}\r\n",
        config.len()
    )?;
    let mut reader = BufReader::new(socket.try_clone()?);
    let mut line = String::new();
    while !line.starts_with('{') {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "nats has closed the connection");
    }
    ensure!(!line.contains("\"error\""), "nats makes no stream: {line}");
    // Nobody reads its pings, which come every two minutes.
    Ok(socket)
}

/// A stream of the user. Its head comes when the node follows.
fn open(fantail: SocketAddr) -> anyhow::Result<BufReader<TcpStream>> {
    let mut socket = TcpStream::connect(fantail)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(socket, "GET /sse/{USER} HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")?;
    let mut stream = BufReader::new(socket);
    read_until(&mut stream, "200 OK")?;
    Ok(stream)
}

fn read_until(stream: &mut BufReader<TcpStream>, text: &str) -> anyhow::Result<()> {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        let found = stream.read_line(&mut line).context("the node is not at the end in time")?;
        ensure!(found > 0 && !line.contains("fantail.gap"), "the stream ended, or something is missing: {line}");
    }
    Ok(())
}
