//! Streams whose tokens end close together, and clients that come back as an `EventSource` does: after the time that the last
//! words name, with a new token. Counts how many come back in each second.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use serde::Serialize;

use super::keys::Keys;
use crate::hold::connect;
use crate::proc::{self, Cpu};
use crate::run_verdict::RunVerdict;
use crate::suite::server::Places;

const CHANNEL: &str = "bench-returning";
const OPENED_PER_SECOND: f64 = 1_000.0;
const TICK: Duration = Duration::from_millis(20);
/// Beyond the last token's end, until everyone is back.
const PATIENCE: Duration = Duration::from_mins(1);

/// How clients come back.
#[derive(Debug, Args)]
pub(super) struct ReturningOptions {
    /// Streams whose tokens end
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    returning_streams: u32,

    /// Seconds that the first token is good for, counted from the start
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(30..))]
    token_seconds: u64,

    /// The same where all tokens end in the same second
    #[arg(long, default_value_t = 330, value_parser = clap::value_parser!(u64).range(30..))]
    together_seconds: u64,
}

/// How they came back.
#[derive(Debug, Serialize)]
pub(super) struct Return {
    pub(super) name: String,
    streams: u32,
    /// Of the first and of the last token, in seconds since the start.
    tokens_end: [u64; 2],
    seconds: Vec<Second>,
    ended: BTreeMap<String, u32>,
    refused: u32,
    /// Clients that are not back at the end.
    missing: u32,
    peak_per_second: u32,
    /// In so many seconds nine of ten came back.
    nine_of_ten_within: usize,
}

/// One second since the start.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Second {
    ended: u32,
    returned: u32,
    server_cpu_us: u64,
}

/// Tokens that end spread over one minute, and then tokens that all end in the same second.
pub(super) fn measure(options: &ReturningOptions, places: &Places, keys: &Keys) -> anyhow::Result<Vec<Return>> {
    let one = |name: &str, first: u64, spread: u64| {
        play(name, options.returning_streams, [first, first + spread], places, keys)
    };
    Ok(vec![
        one("tokens end within one minute", options.token_seconds, 60)?,
        one("tokens end in the same second", options.together_seconds, 0)?,
    ])
}

/// Everyone must come back, and nobody be refused.
pub(super) fn verdict(returns: &[Return]) -> RunVerdict {
    match returns.iter().map(|it| u64::from(it.missing + it.refused)).sum() {
        0 => RunVerdict::Kept,
        faults => RunVerdict::Broken { faults },
    }
}

impl Return {
    pub(super) fn told(&self) -> String {
        format!(
            "{} streams, at most {} came back in one second, nine of ten within {} s; {} refused, {} missing",
            self.streams, self.peak_per_second, self.nine_of_ten_within, self.refused, self.missing
        )
    }
}

fn play(name: &str, streams: u32, tokens_end: [u64; 2], places: &Places, keys: &Keys) -> anyhow::Result<Return> {
    let mut flags = vec!["--access".to_owned()];
    flags.extend(keys.flags("HS256"));
    flags.extend(["--token-leeway", "0s"].map(str::to_owned));
    let server = places.fantail(&flags.iter().map(String::as_str).collect::<Vec<_>>())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mint = |at: u64| {
        let end = format!("exp={}", now + at);
        keys.mint("HS256", CHANNEL, &["--claim", &end])
    };
    let tokens: Vec<_> = (tokens_end[0]..=tokens_end[1]).map(mint).collect::<anyhow::Result<_>>()?;
    let crowd = Crowd {
        poll: Poll::new()?,
        clients: (0..streams).map(|number| Client::new(number as usize % tokens.len())).collect(),
        address: server.target.subscribe.address,
        newest: mint(86_400)?,
        tokens,
        pids: server.target.pids.clone(),
        seconds: Vec::new(),
        ended: BTreeMap::new(),
        refused: 0,
    };
    let returned = crowd.run(name, tokens_end)?;
    println!("{name}: {}", returned.told());
    Ok(returned)
}

/// One client.
struct Client {
    /// Which of the first tokens it has.
    token: usize,
    has_ended: bool,
    is_back: bool,
    state: State,
}

enum State {
    /// It connects at this time.
    Away(Instant),
    Open {
        socket: TcpStream,
        is_asked: bool,
        read: Vec<u8>,
    },
}

struct Crowd {
    poll: Poll,
    clients: Vec<Client>,
    address: SocketAddr,
    tokens: Vec<String>,
    newest: String,
    pids: Vec<u32>,
    seconds: Vec<Second>,
    ended: BTreeMap<String, u32>,
    refused: u32,
}

impl Client {
    fn new(token: usize) -> Self {
        Self { token, has_ended: false, is_back: false, state: State::Away(Instant::now()) }
    }
}

impl Crowd {
    fn run(mut self, name: &str, tokens_end: [u64; 2]) -> anyhow::Result<Return> {
        let began = Instant::now();
        for (number, client) in self.clients.iter_mut().enumerate() {
            client.state = State::Away(began + Duration::from_secs_f64(number as f64 / OPENED_PER_SECOND));
        }
        let deadline = began + Duration::from_secs(tokens_end[1]) + PATIENCE;
        let mut events = Events::with_capacity(1024);
        let mut cpu = proc::cpu(&self.pids)?;
        while self.clients.iter().any(|client| !client.is_back) && Instant::now() < deadline {
            let second = usize::try_from(began.elapsed().as_secs())?;
            while self.seconds.len() <= second {
                let newer = proc::cpu(&self.pids)?;
                if let Some(last) = self.seconds.last_mut() {
                    last.server_cpu_us = Cpu::since(newer, cpu).total_us();
                }
                cpu = newer;
                self.seconds.push(Second::default());
            }
            self.connect_due()?;
            self.poll
                .poll(&mut events, Some(TICK))
                .or_else(|e| if e.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(e) })?;
            for event in &events {
                self.serve(event.token().0)?;
            }
        }
        self.report(name, tokens_end)
    }

    fn connect_due(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for (number, client) in self.clients.iter_mut().enumerate() {
            if let State::Away(due) = client.state
                && due <= now
            {
                let last = u8::try_from(number % 8 + 1)?;
                let mut socket = connect::begin(self.address, Some(Ipv4Addr::new(127, 0, 1, last)))?;
                register(self.poll.registry(), &mut socket, number)?;
                client.state = State::Open { socket, is_asked: false, read: Vec::new() };
            }
        }
        Ok(())
    }

    /// Goes on with one client, whose socket has something to tell.
    fn serve(&mut self, number: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[number];
        let State::Open { socket, is_asked, read } = &mut client.state else { return Ok(()) };
        if !*is_asked {
            if socket.peer_addr().is_err() {
                return socket.take_error()?.map_or(Ok(()), |error| bail!("a client cannot connect: {error}"));
            }
            let token = if client.has_ended { &self.newest } else { &self.tokens[client.token] };
            let request = format!(
                "GET /sse/{CHANNEL}?token={token} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
            );
            ensure!(socket.write(request.as_bytes())? == request.len(), "a socket takes no request");
            *is_asked = true;
        }
        let mut bytes = [0; 4096];
        let is_closed = loop {
            match socket.read(&mut bytes) {
                Ok(0) => break true,
                Ok(count) => read.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        let second = self.seconds.last_mut().context("the run has begun")?;
        if client.has_ended && !client.is_back && read.starts_with(b"HTTP/1.1 200") {
            client.is_back = true;
            second.returned += 1;
        }
        if !is_closed && !read.ends_with(b"\r\n0\r\n\r\n") {
            return Ok(());
        }
        let text = String::from_utf8_lossy(read).into_owned();
        if !text.starts_with("HTTP/1.1 200") {
            self.refused += 1;
        }
        let retry = text.rsplit_once("retry: ").and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
        let reason = text.rsplit_once("\"reason\":\"").and_then(|(_, rest)| rest.split('"').next());
        *self.ended.entry(reason.unwrap_or("no last words").to_owned()).or_default() += 1;
        second.ended += 1;
        client.has_ended = true;
        client.state = State::Away(Instant::now() + Duration::from_millis(retry.unwrap_or(3_000)));
        Ok(())
    }

    fn report(self, name: &str, tokens_end: [u64; 2]) -> anyhow::Result<Return> {
        let returned: Vec<_> = self.seconds.iter().map(|second| second.returned).collect();
        let streams = u32::try_from(self.clients.len())?;
        Ok(Return {
            name: name.to_owned(),
            streams,
            tokens_end,
            peak_per_second: returned.iter().copied().max().unwrap_or_default(),
            nine_of_ten_within: shortest_with(&returned, streams / 10 * 9),
            missing: u32::try_from(self.clients.iter().filter(|client| !client.is_back).count())?,
            refused: self.refused,
            ended: self.ended,
            seconds: self.seconds,
        })
    }
}

fn register(registry: &Registry, socket: &mut TcpStream, number: usize) -> std::io::Result<()> {
    registry.register(socket, Token(number), Interest::READABLE | Interest::WRITABLE)
}

/// The shortest row of seconds in which so many came back; 0 if so many never did.
fn shortest_with(returned: &[u32], count: u32) -> usize {
    let within = |length: &usize| returned.windows(*length).any(|window| window.iter().sum::<u32>() >= count);
    (1..=returned.len()).find(within).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_row_of_seconds_is_found_wherever_it_is() {
        assert_eq!(shortest_with(&[1, 0, 5, 4, 0, 1], 9), 2);
        assert_eq!(shortest_with(&[1, 1, 1], 3), 3);
        assert_eq!(shortest_with(&[1, 1], 3), 0);
    }
}
