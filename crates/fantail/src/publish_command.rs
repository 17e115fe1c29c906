//! `fantail publish`: one event, or one for each line of standard input, over HTTP or through a broker.
//!
//! Events go one after the other, each when the one before it is accepted. The first failure ends the command: nothing
//! is sent twice and no event is skipped.

mod http_publisher;
mod input;

use std::io::{self, Write};

use anyhow::{Context, bail};
use fantail_feed::{NatsPublisher, NatsSettings, Receipt, RedisPublisher, RedisSettings};
use fantail_wire::{ChannelName, Event, Publication};
use http::HeaderValue;
use serde_json::{Value, json};

use self::http_publisher::HttpPublisher;
use self::input::Input;
use crate::http_client::Server;

/// The settings of one run.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) destination: Destination,
    pub(crate) channels: Vec<ChannelName>,
    /// Everything about the event but its data.
    pub(crate) template: Event,
    pub(crate) source: Source,
    /// Whether receipts are printed.
    pub(crate) receipts: bool,
}

#[derive(Debug)]
pub(crate) enum Destination {
    /// The internal listener of a node, and the value of `Authorization`.
    Http(Server, Option<HeaderValue>),
    /// The Redis that the nodes follow, past the nodes.
    Redis(Box<RedisSettings>),
    /// The NATS that they follow.
    Nats(Box<NatsSettings>),
}

/// The place that data comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line.
    Argument(String),
    /// All of standard input.
    Input,
    /// Standard input, an event for each line.
    Lines,
}

/// Publishes. An error says which event was not published.
pub(crate) fn run(publish: Publish) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(publish.run());
    // A name lookup may still be under way, and nobody needs its answer.
    runtime.shutdown_background();
    result
}

/// Rounds of the runtime: the first learns of a close, the others pass it on to the tasks that must know.
const ROUNDS: usize = 4;

enum Publisher {
    Http(HttpPublisher),
    Redis(Box<RedisPublisher>),
    Nats(Box<NatsPublisher>),
}

impl Publish {
    async fn run(self) -> anyhow::Result<()> {
        match &self.source {
            Source::Argument(data) => {
                let event = self.event(data.clone());
                self.publish(&mut self.publisher().await?, event).await
            }
            Source::Input => {
                let event = self.event_from(Input::default().all().await?)?;
                self.publish(&mut self.publisher().await?, event).await
            }
            Source::Lines => self.publish_lines().await,
        }
    }

    async fn publish_lines(&self) -> anyhow::Result<()> {
        let mut publisher = self.publisher().await?;
        let mut input = Input::default();
        let mut published: u64 = 0;
        loop {
            let place = || format!("line {} was not published, {published} before it were", published + 1);
            let Some(line) = input.next_line().await.with_context(place)? else { return Ok(()) };
            let event = self.event_from(line).with_context(place)?;
            self.publish(&mut publisher, event).await.with_context(place)?;
            published += 1;
        }
    }

    fn event(&self, data: String) -> Event {
        Event { data, ..self.template.clone() }
    }

    fn event_from(&self, data: Vec<u8>) -> anyhow::Result<Event> {
        Ok(self.event(Event::text_from_bytes(data)?.data))
    }

    async fn publisher(&self) -> anyhow::Result<Publisher> {
        // The TLS of a broker's client asks for the process's default provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        match &self.destination {
            Destination::Http(server, token) => Ok(Publisher::Http(HttpPublisher::new(server.clone(), token.clone()))),
            Destination::Redis(settings) => {
                let redis = RedisPublisher::connect(settings.as_ref().clone()).await?;
                Ok(Publisher::Redis(Box::new(redis)))
            }
            Destination::Nats(settings) => {
                let nats = NatsPublisher::connect(settings.as_ref().clone()).await?;
                Ok(Publisher::Nats(Box::new(nats)))
            }
        }
    }

    async fn publish(&self, publisher: &mut Publisher, event: Event) -> anyhow::Result<()> {
        let_connections_end().await;
        let publication = Publication::new(self.channels.iter().cloned(), event);
        let receipt = match publisher {
            Publisher::Http(http) => http.publish(&publication).await?,
            Publisher::Redis(redis) => broker_receipt(&redis.publish(&publication).await?),
            Publisher::Nats(nats) => broker_receipt(&nats.publish(&publication).await?),
        };
        if !self.receipts {
            return Ok(());
        }
        match writeln!(io::stdout(), "{receipt}") {
            // The reader of the receipts has gone; the event is published all the same.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                bail!("the event was published, but its receipt cannot be written: {error}")
            }
            _ => Ok(()),
        }
    }
}

/// The receipt in the form that a node gives it.
fn broker_receipt(receipt: &Receipt) -> Value {
    match receipt.id {
        Some(id) => json!({ "id": id.to_string(), "subscribers": receipt.subscribers }),
        None => json!({ "subscribers": receipt.subscribers }),
    }
}

/// A connection may have been closed while nothing was published. A request that goes over it before that is known may
/// have been taken or not, so the runtime first gets time to notice.
async fn let_connections_end() {
    for _ in 0..ROUNDS {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::http_client::ServerUrl;

    /// Answers one request on a connection of its own, which is closed when the result is dropped.
    fn answer(listener: &TcpListener) -> TcpStream {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\"data\":\"x\"}") {
            let mut bytes = [0; 1024];
            let count = socket.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "closed within a request");
            request.extend_from_slice(&bytes[..count]);
        }
        socket.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        socket
    }

    /// Waits until the system has seen the other side close a connection to `port`. Blocks, so that nothing in this
    /// process sees it as well.
    fn block_until_closed_by_server(port: u16) {
        let is_closed = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().skip(2).take(2).collect();
            matches!(fields[..], [remote, "08"] if remote.ends_with(&format!(":{port:04X}")))
        };
        let started = Instant::now();
        while !std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(is_closed) {
            assert!(started.elapsed() < Duration::from_secs(30), "the connection is not closed");
            thread::yield_now();
        }
    }

    /// 1. A node answers and then closes the connection.
    /// 2. The next event comes before the command has noticed the close.
    /// 3. It goes over a new connection all the same.
    #[tokio::test]
    async fn an_event_after_an_unnoticed_close_goes_over_a_new_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (close, told_to_close) = mpsc::sync_channel::<()>(1);
        let server = thread::spawn(move || {
            let socket = answer(&listener);
            let _ = told_to_close.recv();
            drop(socket);
            answer(&listener);
        });
        let publish = Publish {
            destination: Destination::Http(
                Server::new(ServerUrl::parse(&format!("http://127.0.0.1:{port}")).unwrap(), None).unwrap(),
                None,
            ),
            channels: vec![ChannelName::parse("a").unwrap()],
            template: Event::text(""),
            source: Source::Lines,
            receipts: false,
        };

        let mut publisher = publish.publisher().await.unwrap();
        publish.publish(&mut publisher, Event::text("x")).await.unwrap();
        drop(close);
        block_until_closed_by_server(port);
        publish.publish(&mut publisher, Event::text("x")).await.unwrap();
        server.join().unwrap();
    }
}
