//! One reader: it follows something, reads, stalls, breaks off and comes back on any node, each at random, through all
//! that happens to the nodes. A closing event tells it that the trial is over.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{ReaderHabit, ReaderRules, Trial};
use crate::{
    PATIENCE,
    client::{SseClient, SubscribeRequest},
    error::{Error, within},
    ledger::{Mark, Reader, Start},
    random::Random,
    sse::Event,
};

/// A receive buffer that is full soon.
const SMALL_BUFFER_BYTES: u32 = 8_192;

/// How long a moving reader stays.
const MOVING_INTERVAL: Duration = Duration::from_secs(1);

/// The characters of an event that go into the diary: its publisher, and its place among that publisher's events.
const DIARY_CHARS: usize = 90;

/// A reader of a trial.
#[derive(Debug)]
pub struct TrialReader<R> {
    number: u64,
    random: Random,
    rules: Arc<R>,
    /// The habit that it always has.
    habit: Option<ReaderHabit>,
    visits: u64,
}

/// One reader of the ledger, over as many connections as it takes.
struct Visit<'a, R> {
    trial_reader: &'a mut TrialReader<R>,
    name: String,
    habit: ReaderHabit,
    path: String,
    node: usize,
    http_1_0: bool,
    /// Taken when its end is entered.
    reader: Option<Reader>,
    /// None between two connections.
    stream: Option<SseClient>,
    /// The id of the last event that it took, for `Last-Event-ID`.
    id: String,
}

/// The result of one read.
enum Read {
    TimeIsUp,
    Over(Mark),
    Ended,
}

impl<R: ReaderRules> TrialReader<R> {
    /// A reader that behaves at random, with a generator of its own.
    pub const fn new(rules: Arc<R>, number: u64, random: Random) -> Self {
        Self { number, random, rules, habit: None, visits: 0 }
    }

    /// A reader that always has this habit.
    pub const fn with_habit(rules: Arc<R>, number: u64, random: Random, habit: ReaderHabit) -> Self {
        Self { number, random, rules, habit: Some(habit), visits: 0 }
    }

    /// Lives until the trial is over.
    pub async fn live(mut self) {
        if self.habit.is_none() {
            self.rest(0, 800).await;
        }
        while self.follow_something().await {}
    }

    /// Follows something until it leaves for good. False when the trial is over.
    async fn follow_something(&mut self) -> bool {
        let rules = Arc::clone(&self.rules);
        let habit = self.habit.unwrap_or_else(|| rules.choose_habit(&mut self.random));
        let channels = rules.choose_channels(habit, &mut self.random);
        // A node ignores unknown options; the faulty server does not.
        let word = if habit == ReaderHabit::Steady { "Steady" } else { "other" };
        let path = format!("/sse?habit={word}&channel={}", channels.join("&channel="));
        let may_be_old = matches!(habit, ReaderHabit::Restless | ReaderHabit::Sleepy);
        let http_1_0 = may_be_old && self.random.chance(1, rules.http_1_0_in());
        let mut node = self.choose_node(habit, None);
        let stream = loop {
            if rules.trial().is_over() {
                return false;
            }
            let request = self.request(node, &path, habit, http_1_0);
            match self.open(request).await {
                Some(stream) => break Some(stream),
                None => node = self.choose_node(habit, Some(node)),
            }
        };
        self.visits += 1;
        let name = format!("reader {}.{}, {habit:?}", self.number, self.visits);
        let ledger = &rules.trial().ledger;
        let reader = Some(ledger.reader(&name, &channels, Start::Live(ledger.mark())));
        rules.trial().write_down(&name, || format!("node {node}: {path}"));
        let id = String::new();
        Visit { trial_reader: self, name, habit, path, node, http_1_0, reader, stream, id }.stay().await
    }

    /// A request over either way: a reader that comes back may take the other one.
    fn request(&mut self, node: usize, path: &str, habit: ReaderHabit, http_1_0: bool) -> SubscribeRequest {
        let tls = self.rules.tls().filter(|tls| self.random.chance(1, tls.one_in));
        let mut request = match tls {
            Some(tls) => SseClient::request(tls.addresses[node], path).over_tls(&tls.trust),
            None => SseClient::request(self.rules.addresses(http_1_0)[node], path),
        };
        if habit == ReaderHabit::Sleepy {
            request = request.receive_buffer(SMALL_BUFFER_BYTES);
        }
        if http_1_0 { request.http_1_0() } else { request }
    }

    /// One try; after a failure a rest.
    async fn open(&mut self, request: SubscribeRequest) -> Option<SseClient> {
        let away_after = self.rules.away_after();
        let limit = away_after.unwrap_or(PATIENCE);
        let opened = async {
            let mut stream = request.send().await?;
            stream.wait_for_head(limit).await?;
            Ok::<_, Error>(stream)
        };
        // A node that stands still takes the connection, and answers no handshake.
        let refusal = match within(limit, "an open stream", opened).await {
            Ok(stream) if stream.status() == 200 => {
                self.rules.trial().encrypted.fetch_add(u64::from(stream.is_encrypted()), Ordering::Relaxed);
                return Some(stream);
            }
            Ok(stream) if stream.status() == 503 && away_after.is_some() => None,
            Ok(stream) => Some(format!("a stream was answered with {}", stream.status())),
            Err(error) => away_after.is_none().then(|| format!("a stream was not opened: {error}")),
        };
        if let Some(refusal) = refusal {
            self.rules.trial().offence(format!("reader {}: {refusal}", self.number));
        }
        self.rules.trial().turned_away.fetch_add(1, Ordering::Relaxed);
        self.rest(20, 200).await;
        None
    }

    /// Mostly another node than the last.
    fn choose_node(&mut self, habit: ReaderHabit, last: Option<usize>) -> usize {
        let nodes = self.rules.addresses(false).len();
        match (habit, last) {
            (ReaderHabit::Watcher { node, .. }, _) => node,
            (_, None) => self.random.below(nodes as u64) as usize,
            (ReaderHabit::Moving, Some(last)) => (last + 1) % nodes,
            (_, Some(last)) if self.random.chance(2, 3) => (last + 1) % nodes,
            (_, Some(last)) => last,
        }
    }

    async fn rest(&mut self, from_ms: u64, below_ms: u64) {
        let time = self.millis(from_ms, below_ms);
        sleep(time).await;
    }

    fn millis(&mut self, from: u64, below: u64) -> Duration {
        Duration::from_millis(from + self.random.below(below - from))
    }
}

impl<R: ReaderRules> Visit<'_, R> {
    /// Stays until the reader leaves, or the trial is over; then false.
    async fn stay(mut self) -> bool {
        loop {
            let time = match self.habit {
                ReaderHabit::Moving => MOVING_INTERVAL,
                _ => self.trial_reader.millis(20, 1_000),
            };
            match self.read_for(time).await {
                Read::Over(mark) => {
                    self.check_lines();
                    if let Some(reader) = self.reader.take() {
                        reader.stopped(mark);
                    }
                    return false;
                }
                Read::Ended => {
                    self.keep_browsers_id();
                    if self.id.is_empty() {
                        // It was turned away while it waited for the feed, so nothing was promised.
                        self.leave();
                        return true;
                    }
                    self.come_back().await;
                }
                Read::TimeIsUp => match self.habit {
                    ReaderHabit::Watcher { .. } | ReaderHabit::Steady => {}
                    ReaderHabit::Sleepy if self.trial().is_over() => {}
                    ReaderHabit::Sleepy => self.trial_reader.rest(50, 1_500).await,
                    // No reader leaves for good once the trial is over: a reader that comes back proves more.
                    ReaderHabit::Restless if self.trial_reader.random.chance(1, 8) && !self.trial().is_over() => {
                        self.leave();
                        return true;
                    }
                    ReaderHabit::Restless | ReaderHabit::Moving => {
                        if !self.move_on().await {
                            return true;
                        }
                    }
                },
            }
        }
    }

    async fn read_for(&mut self, time: Duration) -> Read {
        let until = Instant::now() + time;
        loop {
            let Some(stream) = &mut self.stream else { return Read::Ended };
            match stream.next_event(until.saturating_duration_since(Instant::now())).await {
                Ok(event) => {
                    self.take(&event);
                    if let Some(mark) = self.trial().closing(&event.data) {
                        return Read::Over(mark);
                    }
                    if Instant::now() > until {
                        return Read::TimeIsUp;
                    }
                }
                Err(Error::Timeout { .. }) => return Read::TimeIsUp,
                Err(error) => {
                    if !self.trial_reader.rules.may_end(&error, stream.parser().in_mid_block()) {
                        self.offence(&error.to_string());
                    }
                    return Read::Ended;
                }
            }
        }
    }

    fn take(&mut self, event: &Event) {
        if let Some(reader) = &self.reader {
            reader.record(event);
        }
        self.write_down(|| {
            let start: String = event.data.chars().take(DIARY_CHARS).collect();
            format!("{} {} {start:?}", event.id, event.event)
        });
        self.id.clone_from(&event.id);
        self.trial_reader.rules.took(self.habit, event);
    }

    /// Breaks off and comes back. False if it has no id yet, so that it left for good.
    async fn move_on(&mut self) -> bool {
        self.prepare_to_leave().await;
        if self.id.is_empty() {
            self.leave();
            return false;
        }
        self.come_back().await;
        true
    }

    /// Chooses the id to come back with. It may be that of the last event that was taken, as if everything behind it
    /// had been lost on its way. Or it is the id that a browser has now, which may be that of the opening.
    async fn prepare_to_leave(&mut self) {
        if self.id.is_empty() || self.trial_reader.random.chance(1, 2) {
            let Some(stream) = &mut self.stream else { return };
            for event in stream.take_up_to_now(self.trial_reader.rules.away_after().unwrap_or(PATIENCE)).await {
                self.take(&event);
            }
            self.keep_browsers_id();
        }
    }

    /// Right only when every parsed event was taken. A connection that brought no id leaves a browser with the one that
    /// it had.
    fn keep_browsers_id(&mut self) {
        if let Some(stream) = self.stream.as_ref().filter(|stream| !stream.last_event_id().is_empty()) {
            stream.last_event_id().clone_into(&mut self.id);
        }
    }

    /// Drops the connection, if it still stands, and opens another where it ended, at once or later.
    async fn come_back(&mut self) {
        self.check_lines();
        let left_at = self.node;
        self.give_up().await;
        match self.trial_reader.random.below(3) {
            _ if self.habit == ReaderHabit::Moving => {}
            0 => self.trial_reader.rest(0, 50).await,
            1 => self.trial_reader.rest(50, 1_000).await,
            _ => {}
        }
        loop {
            self.node = self.trial_reader.choose_node(self.habit, Some(self.node));
            let request = self.resuming_request();
            if let Some(stream) = self.trial_reader.open(request).await {
                // A connection that was kept ends only now, half the time with a reset and in the middle of a frame.
                if let Some(old) = self.stream.replace(stream)
                    && self.trial_reader.random.chance(1, 2)
                {
                    let _ = old.reset();
                }
                break;
            }
        }
        self.write_down(|| format!("node {}: comes back with {:?}", self.node, self.id));
        self.trial().resumed.fetch_add(1, Ordering::Relaxed);
        self.trial().moved.fetch_add(u64::from(self.node != left_at), Ordering::Relaxed);
    }

    /// Leaves the old connection before the new one is opened, or keeps it.
    async fn give_up(&mut self) {
        if self.habit == ReaderHabit::Moving {
            return;
        }
        match self.trial_reader.random.below(4) {
            0 => drop(self.stream.take().map(SseClient::reset)),
            // It reads no more, but stays for a while.
            1 => {
                if let Some(mut stream) = self.stream.take() {
                    let _ = stream.half_close().await;
                    self.trial_reader.rest(0, 100).await;
                }
            }
            2 => self.stream = None,
            _ => {}
        }
    }

    /// The id goes into the header, as browsers send it, or into the query, or into both, where the header wins.
    fn resuming_request(&mut self) -> SubscribeRequest {
        let Self { trial_reader, path, node, habit, http_1_0, id, .. } = self;
        let (in_query, in_header) = match trial_reader.random.below(4) {
            0 => (Some(query_value(id)), false),
            1 => (Some("the-header-wins".to_owned()), true),
            _ => (None, true),
        };
        let path = in_query.map_or_else(|| path.clone(), |value| format!("{path}&last_event_id={value}"));
        let request = trial_reader.request(*node, &path, *habit, *http_1_0);
        if in_header { request.last_event_id(id) } else { request }
    }

    fn check_lines(&self) {
        let unknown_lines = self.stream.as_ref().map_or(0, |stream| stream.parser().unknown_lines());
        if unknown_lines > 0 && !self.trial_reader.rules.may_find_unknown_lines(self.habit) {
            self.offence(&format!("{unknown_lines} lines that are none of the stream's"));
        }
    }

    fn leave(&mut self) {
        self.check_lines();
        if let Some(reader) = self.reader.take() {
            reader.left();
        }
    }

    fn trial(&self) -> &Trial {
        self.trial_reader.rules.trial()
    }

    fn write_down(&self, what: impl FnOnce() -> String) {
        self.trial().write_down(&self.name, what);
    }

    fn offence(&self, what: &str) {
        self.trial().offence(format!("{}: {what}", self.name));
    }
}

/// An id as it stands in a query.
fn query_value(id: &str) -> String {
    id.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
