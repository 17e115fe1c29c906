//! Publishes events over keep-alive connections, by HTTP or straight into Redis. Requests go out without waiting for
//! answers. A thread per connection reads the answers, and the first refusal ends the run. All events of a channel take
//! the same connection, so that they keep their order.

use std::io::{BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::answer::{self, PublishAnswer};
use crate::message::channel_name;
use crate::payload::{Payload, PayloadWriter};
use crate::target::{PublishForm, ServerUnderTest};
use crate::url_template::Scheme;

/// Requests without an answer per connection; beyond it publishing waits for the server.
const UNANSWERED_MAX: u64 = 4096;

/// The longest time to connect, or for a server to take a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// The publishing side of a run.
#[derive(Debug)]
pub(crate) struct LoadPublisher {
    connections: Vec<KeptConnection>,
    target: ServerUnderTest,
    payloads: PayloadWriter,
    channel_prefix: String,
    body: Vec<u8>,
}

/// One keep-alive connection.
#[derive(Debug)]
struct KeptConnection {
    socket: TcpStream,
    outgoing: Vec<u8>,
    /// The events of the request being built, in the batch forms.
    batch: Vec<u8>,
    unanswered: u64,
    answers: Receiver<Result<(), String>>,
}

impl LoadPublisher {
    pub(crate) fn connect(
        target: &ServerUnderTest,
        connections: u32,
        payload_bytes: u32,
        channel_prefix: &str,
    ) -> anyhow::Result<Self> {
        let url = &target.publish;
        ensure!(url.scheme() != Scheme::Nats, "{url} takes events for one stream each, which unicast publishes");
        let connections = (0..connections).map(|_| KeptConnection::open(target)).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            connections,
            target: target.clone(),
            payloads: PayloadWriter::new(payload_bytes),
            channel_prefix: channel_prefix.to_owned(),
            body: Vec::new(),
        })
    }

    /// Publishes these events together.
    pub(crate) fn publish(&mut self, events: impl IntoIterator<Item = Payload>) -> anyhow::Result<()> {
        let Self { connections, target, payloads, channel_prefix, body } = self;
        for event in events {
            let at = event.channel as usize % connections.len();
            let name = channel_name(channel_prefix, event.channel);
            body.clear();
            if target.form == PublishForm::Post {
                write_body_around(target, &name, body, |out| payloads.write(event, out));
                connections[at].add_request(target, &name, body);
            } else {
                // Neither a payload nor a channel name needs escaping in JSON. Writing into a Vec cannot fail.
                let _ = write!(body, "{{\"channel\":\"{name}\",\"data\":\"");
                payloads.write(event, body);
                body.extend_from_slice(b"\"}");
                connections[at].add_to_batch(target, body);
            }
        }
        connections.iter_mut().try_for_each(|connection| connection.send(target))
    }

    /// Waits until the server has accepted everything published so far.
    pub(crate) fn confirm(&mut self) -> anyhow::Result<()> {
        self.connections.iter_mut().try_for_each(|connection| connection.wait_until_unanswered(0))
    }
}

impl KeptConnection {
    fn open(target: &ServerUnderTest) -> anyhow::Result<Self> {
        let address = target.publish.address;
        let socket = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address} to publish"))?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let answers = read_answers(socket.try_clone()?, target.publish.scheme());
        Ok(Self { socket, outgoing: Vec::new(), batch: Vec::new(), unanswered: 0, answers })
    }

    fn add_request(&mut self, target: &ServerUnderTest, channel: &str, body: &[u8]) {
        write_request(target, channel, body, &mut self.outgoing);
        self.unanswered += 1;
    }

    fn add_to_batch(&mut self, target: &ServerUnderTest, item: &[u8]) {
        if !self.batch.is_empty() {
            self.batch.push(if target.form == PublishForm::Array { b',' } else { b'\n' });
        }
        self.batch.extend_from_slice(item);
    }

    fn send(&mut self, target: &ServerUnderTest) -> anyhow::Result<()> {
        if !self.batch.is_empty() {
            let mut batch = std::mem::take(&mut self.batch);
            if target.form == PublishForm::Array {
                batch.insert(0, b'[');
                batch.push(b']');
            }
            self.add_request(target, "", &batch);
        }
        if !self.outgoing.is_empty() {
            self.socket.write_all(&self.outgoing).context("the server did not take a publish request")?;
            self.outgoing.clear();
        }
        self.wait_until_unanswered(UNANSWERED_MAX)
    }

    /// Takes the answers that have come, and waits for more while too many are open.
    fn wait_until_unanswered(&mut self, most: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.unanswered > 0 {
            let left = if self.unanswered > most {
                deadline.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            match self.answers.recv_timeout(left) {
                Ok(Ok(())) => self.unanswered -= 1,
                Ok(Err(reason)) => bail!("publishing failed: {reason}"),
                Err(RecvTimeoutError::Timeout) if self.unanswered > most => {
                    bail!("{} publish requests have no answer after {PATIENCE:?}", self.unanswered)
                }
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => bail!("the server closed the publishing connection"),
            }
        }
        Ok(())
    }
}

impl Drop for KeptConnection {
    fn drop(&mut self) {
        // Ends the reading thread; a connection that is already down has ended it.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Appends one whole request.
pub(crate) fn write_request(target: &ServerUnderTest, channel: &str, body: &[u8], out: &mut Vec<u8>) {
    let ServerUnderTest { publish, form, headers, .. } = target;
    if publish.scheme() == Scheme::Redis {
        return write_redis_publish(publish.path(channel).trim_start_matches('/'), body, out);
    }
    let content_type = match form {
        PublishForm::Post => "text/plain",
        PublishForm::Array => "application/json",
        PublishForm::Ndjson => "application/x-ndjson",
    };
    // Writing into a Vec cannot fail.
    let _ = write!(
        out,
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
        publish.path(channel),
        publish.host,
        body.len()
    );
    if headers.is_empty() {
        let _ = write!(out, "Content-Type: {content_type}\r\n");
    }
    for header in headers {
        let _ = write!(out, "{header}\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// The body of one event's request: its data, or the target's template around it.
pub(crate) fn write_body_around(
    target: &ServerUnderTest,
    channel: &str,
    out: &mut Vec<u8>,
    write_data: impl FnOnce(&mut Vec<u8>),
) {
    let Some(template) = &target.body else { return write_data(out) };
    let (front, behind) = template.split_once("{data}").unwrap_or((template, ""));
    out.extend_from_slice(front.replace("{channel}", channel).as_bytes());
    write_data(out);
    out.extend_from_slice(behind.replace("{channel}", channel).as_bytes());
}

fn write_redis_publish(channel: &str, data: &[u8], out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = write!(out, "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n", channel.len(), data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Reads answers in a thread of its own until the connection ends.
fn read_answers(socket: TcpStream, scheme: Scheme) -> Receiver<Result<(), String>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut input = BufReader::new(socket);
        loop {
            let outcome = match scheme {
                Scheme::Http | Scheme::Https => {
                    answer::read(&mut input).map(|answer| answer.map(PublishAnswer::into_outcome))
                }
                Scheme::Redis | Scheme::Nats => answer::read_redis(&mut input),
            };
            let outcome = match outcome {
                Ok(Some(outcome)) => outcome,
                Ok(None) => return,
                Err(error) => Err(error.to_string()),
            };
            let failed = outcome.is_err();
            if sender.send(outcome).is_err() || failed {
                return;
            }
        }
    });
    receiver
}
