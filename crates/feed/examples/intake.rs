//! The cost of one event from the socket to the intake.
//!
//! `cargo run --release -p fantail-feed --example intake -- redis://127.0.0.1:6379 [messages] [bytes]`
//!
//! A second process floods a Redis with `PUBLISH`, this one follows and counts. Printed is the CPU time of the thread
//! that runs the feed, per message: reading the socket, parsing, the lookup, and an intake that does nothing or, in the
//! second run of each kind, encodes the event once as a node does. Every run checks that all messages came, in order.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fantail_feed::{FeedState, Intake, Placement, Recalled, Receipt, RedisFeed, RedisSettings};
use fantail_wire::{ChannelName, EncodeError, EventId, GapReason, Lane, Publication, Terms, encode};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

/// Messages in one write of the publisher: bursts, which share a read, and single events, each of which wakes the feed.
const BURSTS: [usize; 2] = [1_000, 1];
/// After so many messages the publisher may go on for as many.
const CREDIT: usize = 1_000;
/// How many of those it may be ahead: enough that nobody waits, and far from the 32 MB at which Redis cuts a subscriber
/// off.
const AHEAD_MAX: usize = 8;
const CHANNELS: usize = 100;

struct Counter {
    encodes: bool,
    events: usize,
    expected: usize,
    in_order: bool,
    bytes: usize,
    /// Lets the publisher go on: one byte for each [`CREDIT`] that has arrived.
    credit: Option<ChildStdin>,
    done: watch::Sender<FollowProgress>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FollowProgress {
    Following(usize),
    Done,
}

impl Intake for Counter {
    fn event(&mut self, publication: &Publication, _placement: Placement) -> Result<Receipt, EncodeError> {
        if self.encodes {
            let frame = encode(&publication.event, Some("aaaaaaaaaaaa.1760000000000.1"), 1 << 20)?;
            self.bytes += frame.len();
        }
        let number = publication.event.data.split(' ').next().and_then(|number| number.parse().ok());
        self.in_order &= number == Some(self.events);
        self.events += 1;
        if self.events.is_multiple_of(CREDIT)
            && let Some(credit) = &mut self.credit
        {
            // The publisher ends before its last messages have arrived here.
            let _ = credit.write_all(b".");
        }
        if self.events == self.expected {
            self.done.send_replace(FollowProgress::Done);
        }
        Ok(Receipt::default())
    }

    fn followed(&mut self, _channel: &ChannelName, _from: Option<EventId>) {
        self.done.send_modify(|progress| {
            if let FollowProgress::Following(channels) = progress {
                *channels += 1;
            }
        });
    }

    fn lost(&mut self, _lane: Lane) {
        self.in_order = false;
        self.done.send_replace(FollowProgress::Done);
    }

    fn state(&mut self, _state: FeedState) {}

    fn synced(&mut self, _lane: Lane, _terms: &Terms) {}

    fn gap(&mut self, _channel: &ChannelName, _at: EventId, _reason: GapReason) {}

    fn dropped(&mut self, _channel: &ChannelName) {}

    fn recalled(&mut self, _channel: &ChannelName, _recalled: Recalled) {}
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["flood", address, kind, messages, bytes, burst] => {
            flood(address, kind, number(messages), number(bytes), number(burst));
        }
        [url, rest @ ..] => {
            let messages = rest.first().map_or(1_000_000, |messages| number(messages));
            let bytes = rest.get(1).map_or(128, |bytes| number(bytes));
            for kind in ["plain", "envelope"] {
                for burst in BURSTS {
                    for encodes in [false, true] {
                        measure(url, kind, if burst == 1 { messages / 10 } else { messages }, bytes, burst, encodes);
                    }
                }
            }
        }
        [] => eprintln!("usage: intake redis://host:port [messages] [bytes]"),
    }
}

fn number(text: &str) -> usize {
    text.replace('_', "").parse().expect("a number")
}

fn measure(url: &str, kind: &str, messages: usize, bytes: usize, burst: usize, encodes: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (done, mut progress) = watch::channel(FollowProgress::Following(0));
        let counter = Counter { encodes, events: 0, expected: messages, in_order: true, bytes: 0, credit: None, done };
        let intake = Arc::new(Mutex::new(counter));
        let feed = RedisFeed::start(&RedisSettings::parse(url).expect("a redis url"), &intake);
        for channel in 0..CHANNELS {
            feed.follow(&ChannelName::parse(&format!("bench/{channel}")).expect("valid"));
        }
        let all_followed = progress.wait_for(|progress| *progress == FollowProgress::Following(CHANNELS));
        tokio::time::timeout(Duration::from_secs(10), all_followed).await.expect("redis answers").expect("open");

        let before = thread_cpu();
        let address = url.trim_start_matches("redis://").to_owned();
        let program = std::env::current_exe().expect("this program");
        let arguments =
            ["flood".into(), address, kind.to_owned(), messages.to_string(), bytes.to_string(), burst.to_string()];
        let mut publisher =
            Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().expect("a second process");
        intake.lock().credit = publisher.stdin.take();
        progress.wait_for(|progress| *progress == FollowProgress::Done).await.expect("open");
        let nanoseconds = thread_cpu().saturating_sub(before).as_nanos() / messages as u128;
        assert!(intake.lock().in_order, "messages were lost or came out of order");
        assert!(publisher.wait().expect("the publisher").success());
        let with = if encodes { "encode" } else { "nothing" };
        println!(
            "{kind:>8} of {bytes} bytes in bursts of {burst:>4}, intake does {with:>7}: {nanoseconds} ns per message"
        );
    });
}

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().expect("not negative"), now.tv_nsec.try_into().expect("below a second"))
}

/// Publishes numbered messages in pipelines over many channels.
fn flood(address: &str, kind: &str, messages: usize, bytes: usize, burst: usize) {
    let mut stream = TcpStream::connect(address).expect("redis");
    let mut next = 0;
    while next < messages {
        if next >= AHEAD_MAX * CREDIT && next.is_multiple_of(CREDIT) {
            std::io::stdin().read_exact(&mut [0]).expect("the node is there");
        }
        let count = burst.min(messages - next);
        let mut commands = Vec::new();
        for number in next..next + count {
            let data = format!("{number} {}", "x".repeat(bytes.saturating_sub(8)));
            let (prefix, payload) = match kind {
                "plain" => ("fantail:", data),
                _ => ("fantail-event:", format!(r#"{{"data":"{data}","event":"tick"}}"#)),
            };
            let channel = format!("{prefix}bench/{}", number % CHANNELS);
            let (length, size) = (channel.len(), payload.len());
            let command = format!("*3\r\n$7\r\nPUBLISH\r\n${length}\r\n{channel}\r\n${size}\r\n{payload}\r\n");
            commands.extend_from_slice(command.as_bytes());
        }
        stream.write_all(&commands).expect("redis reads");
        // One subscriber: each reply is ":1" and a line end.
        let mut replies = vec![0; count * 4];
        stream.read_exact(&mut replies).expect("redis replies");
        assert!(replies.starts_with(b":1\r\n"), "redis has no subscriber for them");
        next += count;
    }
}
