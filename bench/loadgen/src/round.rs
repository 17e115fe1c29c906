//! One measured round: publish, wait, and relate the streams' observations to the server's use of resources meanwhile.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clock::{due_nanos, now_nanos};
use crate::fleet::Fleet;
use crate::latency::Percentiles;
use crate::message::{WorkerTally, channel_of};
use crate::payload::Payload;
use crate::proc::{self, Cpu, Memory};
use crate::progress::DeliveryProgress;
use crate::publisher::LoadPublisher;
use crate::target::ServerUnderTest;
use crate::workload::{Pace, PublishOptions};

/// The most events written at once when publishing has fallen behind its rate.
const CATCH_UP_MAX: u64 = 256;
/// Events at a given rate begin this much later, so that the first is not late already.
pub(crate) const HEAD_START_NANOS: u64 = 1_000_000;

/// How long a round listens on after its last event: a second copy of that event must not come.
pub(crate) const LINGER: Duration = Duration::from_millis(200);

/// A server with its streams and its publishing connections.
#[derive(Debug)]
pub(crate) struct LoadSetup {
    pub(crate) target: ServerUnderTest,
    pub(crate) fleet: Fleet,
    pub(crate) publisher: LoadPublisher,
}

/// The outcome of a round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RoundReport {
    pub(crate) published: u64,
    pub(crate) expected: u64,
    pub(crate) deliveries: u64,
    pub(crate) faults: FaultCounts,
    pub(crate) gaps: u64,
    pub(crate) ended_streams: u64,
    /// Whether everything came before the deadline.
    pub(crate) complete: bool,
    pub(crate) seconds: f64,
    pub(crate) deliveries_per_second: f64,
    pub(crate) latency_us: Percentiles,
    pub(crate) server: Option<ServerUse>,
    /// The share of one core that the busiest worker used; near 1 the load generator is the limit.
    pub(crate) worker_busy_most: f64,
}

/// Faults that a correct server never makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct FaultCounts {
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupt: u64,
    pub(crate) foreign: u64,
}

/// The resources that the server's processes used.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct ServerUse {
    pub(crate) cpu: Cpu,
    pub(crate) cpu_us_per_delivery: f64,
    /// The share of one core.
    pub(crate) busy: f64,
    pub(crate) memory_before: Memory,
    pub(crate) memory_after: Memory,
}

/// Readings taken before and after.
struct Readings {
    taken: Instant,
    server: Cpu,
    server_memory: Memory,
    workers: Vec<Cpu>,
}

impl LoadSetup {
    /// Publishes the events of `options` and waits for them.
    pub(crate) fn play(&mut self, options: &PublishOptions) -> anyhow::Result<RoundReport> {
        let pace = options.pace()?;
        let published_before = self.fleet.published();
        let before = self.read()?;
        let began_nanos = now_nanos();
        let complete = match pace {
            Pace::InFlight { events } => self.publish_in_turns(options, events)?,
            Pace::Rate { per_second } => self.publish_at_rate(options, per_second)?,
        };
        self.publisher.confirm()?;
        let after = self.read()?;
        std::thread::sleep(LINGER);
        let sighting = self.fleet.report()?;
        let seconds =
            Duration::from_nanos(sighting.tally.last_delivery_nanos.saturating_sub(began_nanos)).as_secs_f64();
        let deliveries = sighting.tally.deliveries;
        Ok(RoundReport {
            published: self.fleet.published() - published_before,
            expected: sighting.expected,
            deliveries,
            faults: FaultCounts::of(&sighting.tally),
            gaps: sighting.tally.gaps,
            ended_streams: sighting.tally.ended,
            complete,
            seconds,
            deliveries_per_second: if seconds > 0.0 { deliveries as f64 / seconds } else { 0.0 },
            latency_us: sighting.latency.percentiles(),
            server: (!self.target.pids.is_empty()).then(|| ServerUse::between(&before, &after, deliveries)),
            worker_busy_most: busiest_worker(&before, &after),
        })
    }

    /// Some events together, then none until every stream has them.
    pub(crate) fn publish_in_turns(&mut self, options: &PublishOptions, together: u64) -> anyhow::Result<bool> {
        let progress = DeliveryProgress::new("deliveries", self.fleet.deliveries_of(options.events));
        let mut left = options.events;
        while left > 0 {
            let count = left.min(together);
            let first = self.fleet.published();
            self.fleet.expect(count)?;
            let sent_nanos = now_nanos();
            let channels = self.fleet.channels();
            self.publisher.publish((first..first + count).map(|event| payload(event, channels, sent_nanos)))?;
            if !self.fleet.wait(Instant::now() + options.deadline(), &progress)? {
                return Ok(false);
            }
            left -= count;
        }
        Ok(true)
    }

    /// Events at their times. Each carries the time it was meant for, not the time it was written: if this program or
    /// the server falls behind, the delay belongs into the latency.
    fn publish_at_rate(&mut self, options: &PublishOptions, per_second: f64) -> anyhow::Result<bool> {
        let progress = DeliveryProgress::new("deliveries", self.fleet.deliveries_of(options.events));
        let (first, channels) = (self.fleet.published(), self.fleet.channels());
        self.fleet.expect(options.events)?;
        let began = now_nanos() + HEAD_START_NANOS;
        let due_nanos = |event| due_nanos(began, event, per_second);
        let mut next = 0;
        while next < options.events {
            let now = now_nanos();
            let end = (next..options.events.min(next + CATCH_UP_MAX))
                .take_while(|event| due_nanos(*event) <= now)
                .last()
                .map_or(next, |event| event + 1);
            if end == next {
                std::thread::sleep(Duration::from_nanos(due_nanos(next) - now));
                continue;
            }
            self.publisher.publish((next..end).map(|event| payload(first + event, channels, due_nanos(event))))?;
            next = end;
        }
        self.fleet.wait(Instant::now() + options.deadline(), &progress)
    }

    fn read(&self) -> anyhow::Result<Readings> {
        let workers = self.fleet.pids().iter().map(|pid| proc::cpu(&[*pid])).collect::<anyhow::Result<_>>()?;
        Ok(Readings {
            taken: Instant::now(),
            server: proc::cpu(&self.target.pids)?,
            server_memory: proc::memory(&self.target.pids)?,
            workers,
        })
    }
}

impl FaultCounts {
    pub(crate) fn of(tally: &WorkerTally) -> Self {
        let WorkerTally { lost, duplicated, reordered, corrupt, foreign, .. } = *tally;
        Self { lost, duplicated, reordered, corrupt, foreign }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
            corrupt: self.corrupt + other.corrupt,
            foreign: self.foreign + other.foreign,
        }
    }

    pub(crate) fn total(self) -> u64 {
        self.lost + self.duplicated + self.reordered + self.corrupt + self.foreign
    }
}

impl ServerUse {
    fn between(before: &Readings, after: &Readings, deliveries: u64) -> Self {
        let cpu = after.server.since(before.server);
        Self {
            cpu,
            cpu_us_per_delivery: cpu.total_us() as f64 / deliveries.max(1) as f64,
            busy: busy(cpu, before, after),
            memory_before: before.server_memory,
            memory_after: after.server_memory,
        }
    }
}

/// The share of one core that was used between two readings.
fn busy(cpu: Cpu, before: &Readings, after: &Readings) -> f64 {
    cpu.total_us() as f64 / 1e6 / after.taken.duration_since(before.taken).as_secs_f64()
}

fn busiest_worker(before: &Readings, after: &Readings) -> f64 {
    let pairs = before.workers.iter().zip(&after.workers);
    pairs.map(|(earlier, later)| busy(later.since(*earlier), before, after)).fold(0.0, f64::max)
}

pub(crate) fn payload(event: u64, channels: u32, sent_nanos: u64) -> Payload {
    Payload { number: event / u64::from(channels) + 1, sent_nanos, channel: channel_of(event, channels) }
}
