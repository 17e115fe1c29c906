//! The way in from ownCloud's stream: what one message costs a node, by the users that it is for.
//!
//! Every event of ownCloud comes to every node, so most messages are for no stream there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fantail_testkit::{OWNCLOUD_STREAM, owncloud_event, owncloud_message};
use serde_json::{Value, json};

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
    /// The stream gets them, so it must have one batch before the next.
    is_delivered: bool,
}

pub(crate) fn play(bench: &Bench, scenario: &'static str, findings: &mut Findings) -> anyhow::Result<()> {
    let nats = Server::nats()?;
    let mut publisher = Publisher::connect(nats.target.subscribe.address)?;
    let mut sent = 0;
    let fantail = node(bench, &format!("nats://127.0.0.1:{NATS_PORT}"))?;
    let mut stream = open(fantail.target.subscribe.address)?;
    let mut rounds = Vec::new();
    for Sort { what, message, messages, is_delivered } in sorts() {
        let messages = (messages / bench.scale.events_divisor).max(BATCH);
        let batch = publish_line(&message).repeat(BATCH as usize);
        let (before, started) = (proc::cpu(&[fantail.pid()])?, Instant::now());
        let batches = messages / BATCH;
        for number in 1..=batches {
            publisher.send(&batch)?;
            sent += BATCH;
            if is_delivered || number == batches {
                let end = format!("end of batch {number} {what}");
                publisher.send(&publish_line(&owncloud_message(&[USER], "end", &end)))?;
                sent += 1;
                read_until(&mut stream, &end)?;
            }
        }
        let (elapsed, cpu) = (started.elapsed(), proc::cpu(&[fantail.pid()])?.since(before));
        // A message that was lost on its way to the stream would make the others look cheaper. One that the node lacks is a gap.
        let taken = publisher.last_number()?;
        ensure!(taken == sent, "nats has {taken} messages of {sent}");
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

/// NATS with ownCloud's stream.
pub(crate) fn nats() -> anyhow::Result<Server> {
    let nats = Server::nats()?;
    Publisher::connect(nats.target.subscribe.address)?;
    Ok(nats)
}

/// A node that follows ownCloud's stream.
pub(crate) fn node(bench: &Bench, nats: &str) -> anyhow::Result<Server> {
    bench.places.fantail(&["--nats-url", nats, "--nats-stream", OWNCLOUD_STREAM, "--nats-events", "owncloud"])
}

fn sorts() -> [Sort; 4] {
    let data = r#"{"parentitemid":"storage-users-1$4c510ada!4c510ada","itemid":"storage-users-1$4c510ada!8a1d7dd7"}"#;
    let crowd: Vec<String> = (0..2_000).map(|user| format!("8a1d7dd7-22e8-4b2c-a3a8-{user:012}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    [
        Sort {
            what: "of another type",
            message: owncloud_event("events.UploadReady", data),
            messages: 200_000,
            is_delivered: false,
        },
        Sort {
            what: "for a user who is absent",
            message: owncloud_message(&crowd[..1], "x", data),
            messages: 200_000,
            is_delivered: false,
        },
        Sort {
            what: "for 2,000 users who are absent",
            message: owncloud_message(&crowd, "x", data),
            messages: 2_000,
            is_delivered: false,
        },
        Sort {
            what: "for a user with one stream",
            message: owncloud_message(&[USER], "x", data),
            messages: 100_000,
            is_delivered: true,
        },
    ]
}

fn publish_line(message: &str) -> String {
    format!("PUB {OWNCLOUD_STREAM} {}\r\n{message}\r\n", message.len())
}

/// A connection that publishes and asks.
struct Publisher {
    socket: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Publisher {
    /// Makes the stream. It is kept in memory, so that no disk is measured.
    fn connect(nats: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(nats)?;
        let answers = BufReader::new(socket.try_clone()?);
        let mut publisher = Self { socket, answers };
        publisher.send("CONNECT {\"verbose\":false}\r\nSUB answers 1\r\n")?;
        let config = json!({ "name": OWNCLOUD_STREAM, "storage": "memory" }).to_string();
        publisher.ask("STREAM.CREATE", &config)?;
        Ok(publisher)
    }

    fn send(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.socket.write_all(text.as_bytes())?)
    }

    /// The number of the newest message in the stream.
    fn last_number(&mut self) -> anyhow::Result<u64> {
        let info = self.ask("STREAM.INFO", "")?;
        info["state"]["last_seq"].as_u64().with_context(|| format!("nats tells no number: {info}"))
    }

    fn ask(&mut self, what: &str, request: &str) -> anyhow::Result<Value> {
        let bytes = request.len();
        self.send(&format!("PUB $JS.API.{what}.{OWNCLOUD_STREAM} answers {bytes}\r\n{request}\r\n"))?;
        let mut line = String::new();
        while !line.starts_with('{') {
            line.clear();
            ensure!(self.answers.read_line(&mut line)? > 0, "nats has closed the connection");
        }
        let answer: Value = serde_json::from_str(&line)?;
        ensure!(answer["error"].is_null(), "nats refuses {what}: {line}");
        Ok(answer)
    }
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
