//! One client in a storm: it follows something, reads, stalls, breaks off and comes back, each at random, until it hears
//! that the storm is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fantail_testkit::client::SubscribeRequest;
use fantail_testkit::{End, Error, Event, Mark, PATIENCE, Random, Reader, SseClient, Start};
use tokio::time::{Instant, sleep};

use crate::disturbances::{Ends, Storm};

/// A client.
pub(crate) struct Client {
    number: u64,
    random: Random,
    storm: Arc<Storm>,
}

/// How a client behaves while it follows something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReaderHabit {
    /// Reads all the time.
    Steady,
    /// Breaks off, and comes back or goes away.
    Restless,
    /// Stops reading now and then, with hardly any room in its socket.
    Sleepy,
}

/// One reader of the ledger, over as many connections as it takes.
struct Visit<'a> {
    client: &'a mut Client,
    habit: ReaderHabit,
    path: String,
    http_1_0: bool,
    stream: SseClient,
    reader: Reader,
    /// What the client would send as `Last-Event-ID`: of the last event that it took.
    id: String,
}

/// How reading went on.
enum Read {
    TimeIsUp,
    StormIsOver(Mark),
    Ended(End),
}

impl Client {
    pub(crate) fn new(number: u64, random: Random, storm: Arc<Storm>) -> Self {
        Self { number, random, storm }
    }

    pub(crate) async fn live(mut self) {
        sleep(self.millis(0, 1_000)).await;
        while self.follow_something().await {}
    }

    /// Follows something until it is left for good. False when the storm is over.
    async fn follow_something(&mut self) -> bool {
        let habit = match self.random.below(100) {
            0..40 => ReaderHabit::Steady,
            40..97 => ReaderHabit::Restless,
            _ => ReaderHabit::Sleepy,
        };
        let storm = Arc::clone(&self.storm);
        let channels = match habit {
            ReaderHabit::Sleepy => storm.channel_set.choose_busy(&mut self.random),
            ReaderHabit::Steady | ReaderHabit::Restless => storm.channel_set.choose(&mut self.random),
        };
        // The node passes over what it does not know; the faulty server does not.
        let path = format!("/sse?habit={habit:?}&channel={}", channels.join("&channel="));
        let http_1_0 = habit != ReaderHabit::Steady && self.random.chance(1, 4);

        let joining = storm.joining.read().await;
        if storm.is_over() {
            return false;
        }
        let stream = request(self.address(http_1_0), &path, habit, http_1_0).connect().await.unwrap();
        drop(joining);
        assert_eq!(stream.status(), 200);
        let name = format!("client {}, {habit:?}", self.number);
        let reader = storm.ledger.reader(name, &channels, Start::Live(storm.ledger.mark()));
        Visit { client: self, habit, path, http_1_0, stream, reader, id: String::new() }.stay().await
    }

    fn address(&self, http_1_0: bool) -> SocketAddr {
        if http_1_0 { self.storm.public_1_0 } else { self.storm.public }
    }

    fn millis(&mut self, from: u64, below: u64) -> Duration {
        Duration::from_millis(from + self.random.below(below - from))
    }
}

impl Visit<'_> {
    /// Until the client leaves, or the storm is over; then false.
    async fn stay(mut self) -> bool {
        loop {
            let time = self.client.millis(20, 1_000);
            match self.read_for(time).await {
                Read::StormIsOver(mark) => {
                    self.reader.stopped(mark);
                    return false;
                }
                Read::Ended(end) => {
                    self.check_end(end);
                    self.keep_browsers_id();
                    if self.id.is_empty() {
                        // It was turned away while it waited for the feed, so nothing was promised.
                        self.reader.left();
                        return true;
                    }
                    self = self.come_back().await;
                }
                Read::TimeIsUp => match self.habit {
                    ReaderHabit::Steady => {}
                    // A window this small opens slowly, so nobody sleeps once the storm is over.
                    ReaderHabit::Sleepy if self.client.storm.is_over() => {}
                    ReaderHabit::Sleepy => {
                        let time = self.client.millis(50, 1_500);
                        sleep(time).await;
                    }
                    // Nobody leaves for good once the storm is over: whoever comes back proves more.
                    ReaderHabit::Restless if self.client.random.chance(1, 8) && !self.client.storm.is_over() => {
                        self.reader.left();
                        return true;
                    }
                    ReaderHabit::Restless => {
                        self.prepare_to_leave().await;
                        if self.id.is_empty() {
                            self.reader.left();
                            return true;
                        }
                        self = self.come_back().await;
                    }
                },
            }
        }
    }

    async fn read_for(&mut self, time: Duration) -> Read {
        let until = Instant::now() + time;
        loop {
            match self.stream.next_event(until.saturating_duration_since(Instant::now())).await {
                Ok(event) => {
                    self.take(&event);
                    if let Some(mark) = self.client.storm.closing(&event.data) {
                        return Read::StormIsOver(mark);
                    }
                    if Instant::now() > until {
                        return Read::TimeIsUp;
                    }
                }
                Err(Error::Timeout { .. }) => return Read::TimeIsUp,
                Err(Error::Ended(end)) => return Read::Ended(end),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn take(&mut self, event: &Event) {
        self.reader.record(event);
        self.id.clone_from(&event.id);
    }

    /// Chooses the id to come back with: of the last event that was taken, as if everything behind it had been lost on
    /// its way; or the one that a browser has after taking what has come so far, which may be that of the opening.
    async fn prepare_to_leave(&mut self) {
        if self.id.is_empty() || self.client.random.chance(1, 2) {
            for event in self.stream.take_up_to_now(PATIENCE).await {
                self.take(&event);
            }
            self.keep_browsers_id();
        }
    }

    /// Right only when nothing is parsed that was not taken. A connection that brought no id leaves a browser with the
    /// one that it had.
    fn keep_browsers_id(&mut self) {
        if !self.stream.last_event_id().is_empty() {
            self.stream.last_event_id().clone_into(&mut self.id);
        }
    }

    /// Gives the connection up, if it still stands, and opens another where it ended, at once or later.
    async fn come_back(self) -> Self {
        assert!(!self.id.is_empty(), "a stream has an id from its first bytes");
        let Self { client, habit, path, http_1_0, mut stream, reader, id } = self;
        match client.random.below(3) {
            0 => stream.reset().unwrap_or_default(),
            // Reads no more, but is still there for a while.
            1 => drop((stream.half_close().await, sleep(client.millis(0, 100)).await)),
            _ => drop(stream),
        }
        let away = match client.random.below(3) {
            0 => Duration::ZERO,
            1 => client.millis(0, 50),
            _ => client.millis(50, 1_500),
        };
        sleep(away).await;
        let address = client.address(http_1_0);
        let in_query = |id: &str| request(address, &format!("{path}&last_event_id={id}"), habit, http_1_0);
        let request = match client.random.below(4) {
            0 => in_query(&id),
            1 => in_query("the-header-wins").last_event_id(&id),
            _ => request(address, &path, habit, http_1_0).last_event_id(&id),
        };
        stream = request
            .connect()
            .await
            .unwrap_or_else(|e| panic!("{e}: client {}, {habit:?}, http 1.0 {http_1_0}, {path}", client.number));
        assert_eq!(stream.status(), 200);
        client.storm.resumed.fetch_add(1, Ordering::Relaxed);
        Self { client, habit, path, http_1_0, stream, reader, id }
    }

    fn check_end(&self, end: End) {
        let storm = &self.client.storm;
        let is_allowed = match end {
            End::Clean => storm.disturbances.ends != Ends::Never && !self.stream.parser().in_mid_block(),
            End::Reset => storm.disturbances.ends == Ends::KicksAndSlow,
            End::Cut => false,
        };
        let unknown_lines = self.stream.parser().unknown_lines();
        if !is_allowed || unknown_lines > 0 {
            let (number, habit) = (self.client.number, self.habit);
            storm.offence(format!("client {number}, {habit:?}: ended {end}, unknown lines {unknown_lines}"));
        }
    }
}

fn request(address: SocketAddr, path: &str, habit: ReaderHabit, http_1_0: bool) -> SubscribeRequest {
    let request = SseClient::request(address, path);
    let request = if habit == ReaderHabit::Sleepy { request.receive_buffer(8_192) } else { request };
    if http_1_0 { request.http_1_0() } else { request }
}
