//! The parent's side of the `hold` workers: starts them, deals streams to them, sends them commands and adds up their
//! observations. Several workers make more streams possible than one process may have descriptors.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use crate::clock::now_nanos;
use crate::hold::CONNECTIONS_PER_WORKER_MAX;
use crate::latency::{Latency, Percentiles};
use crate::message::{Handshakes, Notice, Open, Opened, WorkerCommand, WorkerTally, channel_of};
use crate::progress::DeliveryProgress;
use crate::target::ServerUnderTest;
use crate::workload::OpeningOptions;

/// Beyond a worker's own deadline, for the way there and back.
const WORKER_PATIENCE: Duration = Duration::from_secs(30);

/// All workers of one server.
#[derive(Debug)]
pub(crate) struct Fleet {
    holders: Vec<Holder>,
    notices: Receiver<(usize, Notice)>,
    target: ServerUnderTest,
    options: OpeningOptions,
    channels: u32,
    channel_prefix: String,
    streams: u32,
    /// Events expected since the first round.
    published: u64,
}

/// One worker process.
#[derive(Debug)]
struct Holder {
    child: Child,
    /// Dropped to end the worker.
    input: Option<ChildStdin>,
    streams: Vec<Range<u32>>,
    /// The streams that were told to stop reading.
    stopped: u32,
    /// Deliveries expected in this round, and as many as the worker last reported.
    expected: u64,
    delivered: u64,
}

/// The outcome of opening.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Opening {
    pub(crate) streams: u32,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) time_to_head_us: Percentiles,
    pub(crate) handshakes: Handshakes,
}

/// The observations of all workers in a round.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) tally: WorkerTally,
    pub(crate) latency: Latency,
    pub(crate) expected: u64,
}

impl Fleet {
    /// Starts the workers that `streams_most` streams need on `target`.
    pub(crate) fn start(target: &ServerUnderTest, options: &OpeningOptions, streams_most: u32) -> anyhow::Result<Self> {
        let channels = options.channels.channels(streams_most)?;
        target.check_channels(channels)?;
        let connections = target.http2.connections(streams_most);
        let count = options.workers.max(connections.div_ceil(CONNECTIONS_PER_WORKER_MAX));
        ensure!(count <= 250, "{streams_most} streams need {count} workers, at most 250 have source addresses");
        let (sender, notices) = channel();
        let holders =
            (0..count as usize).map(|number| Holder::start(number, sender.clone())).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            holders,
            notices,
            target: target.clone(),
            options: options.clone(),
            channels,
            // A new name each time, so that events that a server kept from an earlier run cannot be mistaken for new
            // ones.
            channel_prefix: format!("bench-{}-{:x}", std::process::id(), now_nanos()),
            streams: 0,
            published: 0,
        })
    }

    pub(crate) fn channels(&self) -> u32 {
        self.channels
    }

    pub(crate) fn streams(&self) -> u32 {
        self.streams
    }

    pub(crate) fn channel_prefix(&self) -> &str {
        &self.channel_prefix
    }

    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// About how many deliveries so many events make.
    pub(crate) fn deliveries_of(&self, events: u64) -> u64 {
        events * u64::from(self.streams) / u64::from(self.channels)
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.holders.iter().map(|holder| holder.child.id()).collect()
    }

    /// Opens so many more streams; an error if any of them cannot be opened.
    pub(crate) fn open(&mut self, streams: u32) -> anyhow::Result<Opening> {
        let progress = DeliveryProgress::new("opening streams", streams.into());
        let workers = u32::try_from(self.holders.len())?;
        for number in 0..workers {
            let share = streams / workers + u32::from(number < streams % workers);
            let plan = self.plan(number, workers, share, false);
            let holder = &mut self.holders[number as usize];
            holder.streams.push(self.streams..self.streams + share);
            holder.tell(&WorkerCommand::Open(Box::new(plan)))?;
            self.streams += share;
        }
        let outcomes = self.collect_opened(&progress)?;
        summarise(&outcomes, streams)
    }

    /// Stops reading from every n-th stream of each worker and returns how many that are.
    pub(crate) fn stop(&mut self, every: u32) -> anyhow::Result<u32> {
        ensure!(self.channels == 1, "streams can be stopped on one channel only, not on {}", self.channels);
        for holder in &mut self.holders {
            holder.tell(&WorkerCommand::Stop { every })?;
        }
        let stopped = self.collect_done()?;
        for (holder, count) in self.holders.iter_mut().zip(&stopped) {
            holder.stopped += count;
        }
        Ok(stopped.iter().sum())
    }

    /// Resets every connection at once.
    pub(crate) fn reset(&mut self) -> anyhow::Result<u32> {
        for holder in &mut self.holders {
            holder.tell(&WorkerCommand::Reset)?;
        }
        Ok(self.collect_done()?.iter().sum())
    }

    /// Opens every stream again behind the last id it saw.
    pub(crate) fn come_back(&mut self) -> anyhow::Result<Opening> {
        let progress = DeliveryProgress::new("coming back", self.streams.into());
        let workers = u32::try_from(self.holders.len())?;
        for number in 0..workers {
            let share = self.holders[number as usize].streams.iter().map(|range| range.end - range.start).sum();
            let plan = self.plan(number, workers, share, true);
            self.holders[number as usize].tell(&WorkerCommand::Open(Box::new(plan)))?;
        }
        let outcomes = self.collect_opened(&progress)?;
        summarise(&outcomes, self.streams)
    }

    /// Adds events that this round must bring to every stream, and asks the workers to report when they have come.
    /// Events are numbered over all rounds; event n belongs to channel n modulo channels.
    pub(crate) fn expect(&mut self, events: u64) -> anyhow::Result<()> {
        let (first, channels) = (self.published, u64::from(self.channels));
        self.published += events;
        for holder in &mut self.holders {
            for offset in 0..channels.min(events) {
                let count = (events - offset).div_ceil(channels);
                let channel = channel_of(first + offset, self.channels);
                holder.expected += count * holder.streams_on(channel.into(), channels);
            }
            holder.tell(&WorkerCommand::Await { deliveries: holder.expected })?;
        }
        Ok(())
    }

    /// Waits until everything expected has come; false if the deadline comes first.
    pub(crate) fn wait(&mut self, deadline: Instant, progress: &DeliveryProgress) -> anyhow::Result<bool> {
        while self.holders.iter().any(|holder| holder.delivered < holder.expected) {
            match self.next_notice(deadline)? {
                None => return Ok(false),
                Some((number, Notice::DeliveryProgress { deliveries } | Notice::Reached { deliveries })) => {
                    self.holders[number].note(deliveries);
                    progress.set(self.holders.iter().map(|holder| holder.delivered).sum());
                }
                Some((_, notice)) => bail!("a worker said {notice:?} in the middle of a round"),
            }
        }
        Ok(true)
    }

    /// Ends the round and adds up the observations.
    pub(crate) fn report(&mut self) -> anyhow::Result<Sighting> {
        let deadline = Instant::now() + WORKER_PATIENCE;
        let expected = self.holders.iter().map(|holder| holder.expected).sum();
        for holder in &mut self.holders {
            holder.tell(&WorkerCommand::Report { published: self.published })?;
        }
        let mut sighting = Sighting { tally: WorkerTally::default(), latency: Latency::new()?, expected };
        let mut left = self.holders.len();
        while left > 0 {
            match self.next_notice(deadline)? {
                None => bail!("{left} workers did not report"),
                Some((_, Notice::Report(tally))) => {
                    sighting.add(&tally);
                    left -= 1;
                }
                // Sent before the worker heard that the round is over.
                Some(_) => {}
            }
        }
        for holder in &mut self.holders {
            (holder.expected, holder.delivered) = (0, 0);
        }
        Ok(sighting)
    }

    fn plan(&self, worker: u32, workers: u32, streams: u32, returning: bool) -> Open {
        Open {
            subscribe: self.target.subscribe.clone(),
            tls: self.target.tls().cloned(),
            http2: self.target.http2,
            channel_prefix: self.channel_prefix.clone(),
            channels: self.channels,
            first_stream: self.streams,
            streams,
            published: self.published,
            connects_per_second: (self.options.connect_rate / workers).max(1),
            sources: sources(self.target.subscribe.address.ip(), worker, self.options.source_addresses),
            event: self.target.event.clone().map(Box::new),
            deadline_seconds: self.options.open_deadline,
            remember_ids: self.options.remember_ids,
            keep_tickets: self.options.keep_tickets,
            returning,
        }
    }

    fn collect_opened(&mut self, progress: &DeliveryProgress) -> anyhow::Result<Vec<Opened>> {
        let deadline = Instant::now() + Duration::from_secs(self.options.open_deadline) + WORKER_PATIENCE;
        let mut opening = vec![0_u64; self.holders.len()];
        let mut outcomes = Vec::new();
        while outcomes.len() < self.holders.len() {
            match self.next_notice(deadline)? {
                None => bail!("a worker did not finish opening its streams"),
                Some((number, Notice::Opening { open })) => opening[number] = open.into(),
                Some((number, Notice::Opened(outcome))) => {
                    opening[number] = outcome.open.into();
                    outcomes.push(outcome);
                }
                // Streams that come back catch up at once.
                Some((number, Notice::DeliveryProgress { deliveries } | Notice::Reached { deliveries })) => {
                    self.holders[number].note(deliveries);
                }
                Some((_, notice)) => bail!("a worker said {notice:?} while opening streams"),
            }
            progress.set(opening.iter().sum());
        }
        Ok(outcomes)
    }

    /// The workers' answers with `Done`.
    fn collect_done(&mut self) -> anyhow::Result<Vec<u32>> {
        let deadline = Instant::now() + WORKER_PATIENCE;
        let mut done = vec![None; self.holders.len()];
        while done.iter().any(Option::is_none) {
            match self.next_notice(deadline)? {
                None => bail!("a worker did not answer"),
                Some((number, Notice::Done { streams })) => done[number] = Some(streams),
                Some((number, Notice::DeliveryProgress { deliveries } | Notice::Reached { deliveries })) => {
                    self.holders[number].note(deliveries);
                }
                Some((_, notice)) => bail!("a worker said {notice:?} out of turn"),
            }
        }
        Ok(done.into_iter().flatten().collect())
    }

    fn next_notice(&self, deadline: Instant) -> anyhow::Result<Option<(usize, Notice)>> {
        match self.notices.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((_, Notice::Failed { reason })) => bail!("a worker failed: {reason}"),
            Ok(notice) => Ok(Some(notice)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("all workers have ended"),
        }
    }
}

impl Drop for Fleet {
    /// A worker ends with its input. Waiting for it gives the next run its descriptors and ports back.
    fn drop(&mut self) {
        for holder in &mut self.holders {
            holder.input = None;
        }
        for holder in &mut self.holders {
            let _ = holder.child.wait();
        }
    }
}

impl Holder {
    fn start(number: usize, notices: Sender<(usize, Notice)>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program to start workers")?;
        let mut child = std::process::Command::new(program)
            .arg("hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a worker")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("a worker has no output")?;
        std::thread::spawn(move || read_notices(number, output, &notices));
        Ok(Self { child, input, streams: Vec::new(), stopped: 0, expected: 0, delivered: 0 })
    }

    fn tell(&mut self, command: &WorkerCommand) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(command)?;
        line.push('\n');
        let input = self.input.as_mut().context("the worker was told to leave")?;
        input.write_all(line.as_bytes()).context("a worker has ended")
    }

    fn note(&mut self, deliveries: u64) {
        self.delivered = self.delivered.max(deliveries);
    }

    /// How many of its streams follow this channel.
    fn streams_on(&self, channel: u64, channels: u64) -> u64 {
        let below = |end: u32| (u64::from(end) + channels - 1 - channel) / channels;
        let all: u64 = self.streams.iter().map(|range| below(range.end) - below(range.start)).sum();
        // Streams are stopped only where there is one channel.
        all - u64::from(self.stopped)
    }
}

impl Sighting {
    fn add(&mut self, other: &WorkerTally) {
        let sum = &mut self.tally;
        sum.deliveries += other.deliveries;
        sum.lost += other.lost;
        sum.duplicated += other.duplicated;
        sum.reordered += other.reordered;
        sum.corrupt += other.corrupt;
        sum.foreign += other.foreign;
        sum.gaps += other.gaps;
        sum.ended += other.ended;
        sum.last_delivery_nanos = sum.last_delivery_nanos.max(other.last_delivery_nanos);
        self.latency.add(&other.latency);
    }
}

/// Passes a worker's notices on until its output ends.
fn read_notices(number: usize, output: ChildStdout, notices: &Sender<(usize, Notice)>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let notice = serde_json::from_str(&line)
            .unwrap_or_else(|error| Notice::Failed { reason: format!("it said {line:?}: {error}") });
        if notices.send((number, notice)).is_err() {
            return;
        }
    }
    // If the fleet is done nobody listens, which is fine.
    let _ = notices.send((number, Notice::Failed { reason: "it ended early".to_owned() }));
}

/// The addresses that a worker connects from: its own on loopback, else the kernel's choice.
pub(crate) fn sources(target: IpAddr, worker: u32, count: u8) -> Vec<Ipv4Addr> {
    let third = u8::try_from(worker + 1).unwrap_or(u8::MAX);
    match target {
        IpAddr::V4(address) if address.is_loopback() => {
            (1..=count).map(|last| Ipv4Addr::new(127, 0, third, last)).collect()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn summarise(outcomes: &[Opened], wanted: u32) -> anyhow::Result<Opening> {
    let mut failed = BTreeMap::<&str, u64>::new();
    for (reason, count) in outcomes.iter().flat_map(|outcome| &outcome.failed) {
        *failed.entry(reason).or_default() += count;
    }
    if !failed.is_empty() {
        let reasons: Vec<_> = failed.iter().map(|(reason, count)| format!("{reason} ({count})")).collect();
        bail!("{} of {wanted} streams did not open: {}", failed.values().sum::<u64>(), reasons.join(", "));
    }
    let began = outcomes.iter().map(|outcome| outcome.began_nanos).min().unwrap_or_default();
    let ended = outcomes.iter().map(|outcome| outcome.ended_nanos).max().unwrap_or_default();
    let seconds = Duration::from_nanos(ended.saturating_sub(began)).as_secs_f64();
    let mut heads = Latency::new()?;
    for outcome in outcomes {
        heads.add(&outcome.time_to_head);
    }
    let streams = outcomes.iter().map(|outcome| outcome.open).sum();
    let handshakes = outcomes.iter().map(|outcome| outcome.handshakes).fold(Handshakes::default(), Handshakes::and);
    let per_second = f64::from(streams) / seconds;
    Ok(Opening { streams, seconds, per_second, time_to_head_us: heads.percentiles(), handshakes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_connect_from_addresses_of_their_own() {
        let loopback = "127.0.0.1".parse().map(|target| sources(target, 1, 2));
        assert_eq!(loopback, Ok(vec![Ipv4Addr::new(127, 0, 2, 1), Ipv4Addr::new(127, 0, 2, 2)]));
        assert_eq!("10.0.0.1".parse().map(|target| sources(target, 0, 2)), Ok(Vec::new()));
    }
}
