//! One reader: it follows something, reads, stalls, breaks off and comes back on either node, each at random, through
//! whatever happens to the nodes, until it is told in its stream that the trial is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fantail_testkit::{Error, Event, Mark, Random, Reader, SseClient, Start};
use tokio::time::{Instant, sleep};

use crate::conditions::Readers;
use crate::trial_state::{Part, TrialState};

/// How long a reader waits for a response head before it tries the other node. Longer than a node waits for Redis.
const HEAD_PATIENCE: Duration = Duration::from_secs(8);
/// A receive buffer that is full soon.
const SMALL_BUFFER_BYTES: u32 = 8_192;

/// How long a moving reader stays.
const MOVING_INTERVAL: Duration = Duration::from_secs(1);

/// How much of an event is written down: who published it, and its place among that publisher's events.
const DIARY_CHARS: usize = 90;

/// How a reader behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderHabit {
    /// Follows all watched channels of one lane on one node, for as long as the trial takes.
    Watcher {
        /// Which node.
        node: usize,
        /// Which lane, of those of the mode.
        lane: usize,
    },
    /// Reads all the time.
    Steady,
    /// Breaks off, and comes back or goes away.
    Restless,
    /// Stops reading now and then, with hardly any room in its socket.
    Sleepy,
    /// Goes to the other node once a second.
    Moving,
}

/// A reader.
#[derive(Debug)]
pub struct TrialReader {
    number: u64,
    random: Random,
    state: Arc<TrialState>,
    kind: Option<ReaderHabit>,
    visits: u64,
}

/// One reader of the ledger, over as many connections as it takes.
struct Visit<'a> {
    trial_reader: &'a mut TrialReader,
    name: String,
    habit: ReaderHabit,
    path: String,
    node: usize,
    http_1_0: bool,
    /// Taken when it said how it ended.
    reader: Option<Reader>,
    stream: SseClient,
    /// What it would send as `Last-Event-ID`: of the last event that it took.
    id: String,
    /// What happened, line by line.
    diary: Vec<String>,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.trial_reader.state.keep_diary(std::mem::take(&mut self.name), std::mem::take(&mut self.diary));
    }
}

/// How reading went on.
enum Read {
    TimeIsUp,
    Over(Mark),
    Ended,
}

impl TrialReader {
    /// One that behaves at random.
    pub fn new(state: &Arc<TrialState>, number: u64) -> Self {
        Self { number, random: state.random(Part::Reader, number), state: Arc::clone(state), kind: None, visits: 0 }
    }

    /// One that watches a lane on a node.
    pub fn watcher(state: &Arc<TrialState>, node: usize, lane: usize) -> Self {
        let number = u64::MAX - (2 * lane + node) as u64;
        Self { kind: Some(ReaderHabit::Watcher { node, lane }), ..Self::new(state, number) }
    }

    /// Lives until the trial is over.
    pub async fn live(mut self) {
        if self.kind.is_none() {
            self.rest(0, 800).await;
        }
        while self.follow_something().await {}
    }

    /// Follows something until it is left for good. False when the trial is over.
    async fn follow_something(&mut self) -> bool {
        let habit = self.choose_habit();
        let state = Arc::clone(&self.state);
        let channels = match habit {
            ReaderHabit::Watcher { lane, .. } => state.conditions.watched(&state.channel_sets[lane]),
            ReaderHabit::Sleepy => state.choose_set(&mut self.random).choose_busy(&mut self.random),
            ReaderHabit::Steady | ReaderHabit::Restless | ReaderHabit::Moving => {
                state.choose_set(&mut self.random).choose(&mut self.random)
            }
        };
        let word = if habit == ReaderHabit::Steady { "Steady" } else { "other" };
        let path = format!("/sse?habit={word}&channel={}", channels.join("&channel="));
        let http_1_0 = matches!(habit, ReaderHabit::Restless | ReaderHabit::Sleepy) && self.random.chance(1, 8);
        let mut node = self.choose_node(habit, None);
        let stream = loop {
            if state.is_over() {
                return false;
            }
            match self.open(node, &path, habit, http_1_0, "").await {
                Some(stream) => break stream,
                None => node = self.choose_node(habit, Some(node)),
            }
        };
        self.visits += 1;
        let name = format!("reader {}.{}, {habit:?}", self.number, self.visits);
        let reader = Some(state.ledger.reader(&name, &channels, Start::Live(state.ledger.mark())));
        let diary = vec![format!("{:.4} node {node}: {path}", state.seconds())];
        let id = String::new();
        Visit { trial_reader: self, name, habit, path, node, http_1_0, reader, stream, id, diary }.stay().await
    }

    /// One try; after a failure a rest.
    async fn open(
        &mut self,
        node: usize,
        path: &str,
        habit: ReaderHabit,
        http_1_0: bool,
        id: &str,
    ) -> Option<SseClient> {
        let mut request = SseClient::request(self.state.public[node], path);
        if habit == ReaderHabit::Sleepy {
            request = request.receive_buffer(SMALL_BUFFER_BYTES);
        }
        if http_1_0 {
            request = request.http_1_0();
        }
        if !id.is_empty() {
            request = request.last_event_id(id);
        }
        if let Ok(mut stream) = request.send().await
            && let Ok(head) = stream.wait_for_head(HEAD_PATIENCE).await
        {
            match head.status {
                200 => return Some(stream),
                503 => {}
                status => self.state.offence(format!("reader {}: {path} was answered with {status}", self.number)),
            }
        }
        self.state.tallies.turned_away.fetch_add(1, Ordering::Relaxed);
        self.rest(20, 200).await;
        None
    }

    fn choose_habit(&mut self) -> ReaderHabit {
        self.kind.unwrap_or(match (self.state.conditions.readers, self.random.below(100)) {
            (Readers::Moving { staying }, drawn) if drawn < staying => ReaderHabit::Steady,
            (Readers::Moving { .. }, _) => ReaderHabit::Moving,
            (Readers::Various, 0..30) => ReaderHabit::Steady,
            (Readers::Various, 30..94) => ReaderHabit::Restless,
            (Readers::Various, _) => ReaderHabit::Sleepy,
        })
    }

    /// Mostly not the one where it was.
    fn choose_node(&mut self, habit: ReaderHabit, last: Option<usize>) -> usize {
        match (habit, last) {
            (ReaderHabit::Watcher { node, .. }, _) => node,
            (_, None) => self.random.below(2) as usize,
            (ReaderHabit::Moving, Some(last)) => 1 - last,
            (_, Some(last)) if self.random.chance(2, 3) => 1 - last,
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

impl Visit<'_> {
    /// Until the reader leaves, or the trial is over; then false.
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
                    ReaderHabit::Sleepy if self.trial_reader.state.is_over() => {}
                    ReaderHabit::Sleepy => self.trial_reader.rest(50, 1_500).await,
                    // Nobody leaves for good once the trial is over: whoever comes back proves more.
                    ReaderHabit::Restless
                        if self.trial_reader.random.chance(1, 8) && !self.trial_reader.state.is_over() =>
                    {
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
            match self.stream.next_event(until.saturating_duration_since(Instant::now())).await {
                Ok(event) => {
                    self.take(&event);
                    if let Some(mark) = self.trial_reader.state.closing(&event.data) {
                        return Read::Over(mark);
                    }
                    if Instant::now() > until {
                        return Read::TimeIsUp;
                    }
                }
                Err(Error::Timeout { .. }) => return Read::TimeIsUp,
                Err(Error::Protocol(what)) => {
                    self.offence(&what);
                    return Read::Ended;
                }
                Err(_) => return Read::Ended,
            }
        }
    }

    fn take(&mut self, event: &Event) {
        if let Some(reader) = &self.reader {
            reader.record(event);
        }
        let start: String = event.data.chars().take(DIARY_CHARS).collect();
        self.write_down(&format!("{} {} {start:?}", event.id, event.event));
        self.id.clone_from(&event.id);
        if event.event == "fantail.gap" {
            self.trial_reader.state.count_gap(&event.data);
        }
        if let ReaderHabit::Watcher { node, .. } = self.habit {
            self.trial_reader.state.recovery.saw(node, &event.data);
        }
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

    /// Chooses the id to come back with: of the last event that was taken, as if everything behind it had been lost on
    /// its way; or the one that a browser has after taking what has come so far, which may be that of the opening.
    async fn prepare_to_leave(&mut self) {
        if self.id.is_empty() || self.trial_reader.random.chance(1, 2) {
            for event in self.stream.take_up_to_now(HEAD_PATIENCE).await {
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
    async fn come_back(&mut self) {
        self.check_lines();
        let left_at = self.node;
        match self.trial_reader.random.below(3) {
            _ if self.habit == ReaderHabit::Moving => {}
            0 => self.trial_reader.rest(0, 50).await,
            1 => self.trial_reader.rest(50, 1_000).await,
            _ => {}
        }
        loop {
            self.node = self.trial_reader.choose_node(self.habit, Some(self.node));
            let opened = self.trial_reader.open(self.node, &self.path, self.habit, self.http_1_0, &self.id).await;
            if let Some(stream) = opened {
                // Only now the old one goes, half the time with a reset and in the middle of a frame.
                let old = std::mem::replace(&mut self.stream, stream);
                if self.trial_reader.random.chance(1, 2) {
                    let _ = old.reset();
                }
                break;
            }
        }
        self.write_down(&format!("node {}: comes back with {:?}", self.node, self.id));
        let tallies = &self.trial_reader.state.tallies;
        tallies.resumed.fetch_add(1, Ordering::Relaxed);
        tallies.moved.fetch_add(u64::from(self.node != left_at), Ordering::Relaxed);
    }

    fn check_lines(&self) {
        let unknown_lines = self.stream.parser().unknown_lines();
        if unknown_lines > 0 {
            self.offence(&format!("{unknown_lines} lines that are none of the stream's"));
        }
    }

    fn leave(&mut self) {
        self.check_lines();
        if let Some(reader) = self.reader.take() {
            reader.left();
        }
    }

    fn write_down(&mut self, what: &str) {
        self.diary.push(format!("{:.4} {what}", self.trial_reader.state.seconds()));
    }

    fn offence(&self, what: &str) {
        self.trial_reader.state.offence(format!("{}: {what}", self.name));
    }
}
