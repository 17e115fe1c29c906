//! `slope`: the memory of one more idle stream. It is the difference between two stream counts, divided by the streams
//! between them, so the memory that a server needs in any case falls out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use crate::fleet::{Fleet, Opening};
use crate::proc::{self, Kernel, Memory};
use crate::publisher::LoadPublisher;
use crate::report::{self, Setting, Subject, Table, Workload, bytes};
use crate::round::{LoadSetup, RoundReport};
use crate::run_verdict::RunVerdict;
use crate::target::TargetOptions;
use crate::workload::{OpeningOptions, OutputOptions, PublishOptions};

/// Memory counts as settled when it moved less than this over that many samples.
const SETTLED_WITHIN_BYTES: u64 = 32 * 1024;
const SETTLED_SAMPLES: usize = 10;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// Options of `slope`.
#[derive(Debug, Args)]
pub(crate) struct SlopeOptions {
    #[command(flatten)]
    target: TargetOptions,

    /// The smaller count of streams
    #[arg(long, value_name = "STREAMS", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    from: u32,

    /// The larger count of streams
    #[arg(long, value_name = "STREAMS", default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(2..))]
    to: u32,

    /// Publish the events to all streams before each reading, so that what a server allocates at first use counts too
    #[arg(long)]
    warm: bool,

    /// How long memory may take to settle
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    settle_deadline: u64,

    #[command(flatten)]
    opening: OpeningOptions,

    #[command(flatten)]
    publishing: PublishOptions,

    #[command(flatten)]
    output: OutputOptions,
}

/// The outcome of a slope.
#[derive(Debug, Serialize)]
struct SlopeReport {
    setting: Setting,
    server: Subject,
    workload: Workload,
    warm_rounds: Vec<RoundReport>,
    from: Point,
    to: Point,
    per_stream_bytes: PerStream,
}

/// One count of streams.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Point {
    pub(crate) streams: u32,
    pub(crate) opening: Opening,
    pub(crate) server: Memory,
    pub(crate) kernel: Kernel,
    pub(crate) settled: bool,
}

/// Bytes per stream. The kernel's part holds both ends of each connection, the server's and the load generator's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct PerStream {
    pub(crate) rss: f64,
    pub(crate) pss: f64,
    pub(crate) private_dirty: f64,
    pub(crate) kernel_tcp: f64,
    pub(crate) kernel_slab: f64,
}

/// Measures both points and reports the slope.
pub(crate) fn slope(options: SlopeOptions) -> anyhow::Result<RunVerdict> {
    let SlopeOptions { target, from, to, warm, settle_deadline, opening, publishing, output } = options;
    ensure!(from < to, "--from {from} must be less than --to {to}");
    let target = target.into_target()?;
    ensure!(!target.pids.is_empty(), "--server-pid is needed: it is that process whose memory is read");
    let fleet = Fleet::start(&target, &opening, to)?;
    let publisher =
        LoadPublisher::connect(&target, publishing.publish_connections, publishing.payload, fleet.channel_prefix())?;
    let mut setup = LoadSetup { target, fleet, publisher };
    let mut warm_rounds = Vec::new();
    let mut measure = |streams: u32| -> anyhow::Result<Point> {
        let opened = setup.fleet.open(streams - setup.fleet.streams())?;
        if warm {
            warm_rounds.push(setup.play(&publishing)?);
        }
        let settled = settle(&setup.target.pids, Duration::from_secs(settle_deadline))?;
        let server = proc::memory(&setup.target.pids)?;
        Ok(Point { streams, opening: opened, server, kernel: proc::kernel()?, settled })
    };
    let (from, to) = (measure(from)?, measure(to)?);
    let channels = setup.fleet.channels();
    let report = SlopeReport {
        setting: Setting::read()?,
        server: Subject::of(&setup.target)?,
        workload: Workload {
            streams: to.streams,
            channels,
            opening,
            pace: if warm { Some(publishing.pace()?) } else { None },
            publishing: warm.then_some(publishing),
        },
        warm_rounds,
        per_stream_bytes: PerStream::between(&from, &to),
        from,
        to,
    };
    print!("{}", report.table());
    if let Some(path) = &output.json {
        report::write_json(path, &report)?;
    }
    Ok(RunVerdict::of(&report.warm_rounds))
}

/// Waits until the servers' memory is stable; false if it never was.
pub(crate) fn settle(pids: &[u32], patience: Duration) -> anyhow::Result<bool> {
    let deadline = Instant::now() + patience;
    let mut recent = VecDeque::with_capacity(SETTLED_SAMPLES + 1);
    while Instant::now() < deadline {
        recent.push_back(proc::memory(pids)?.rss);
        if recent.len() > SETTLED_SAMPLES {
            recent.pop_front();
            let spread = recent.iter().max().zip(recent.iter().min()).map(|(max, min)| max - min);
            if spread.is_some_and(|spread| spread <= SETTLED_WITHIN_BYTES) {
                return Ok(true);
            }
        }
        std::thread::sleep(SAMPLE_INTERVAL);
    }
    Ok(false)
}

impl PerStream {
    pub(crate) fn between(from: &Point, to: &Point) -> Self {
        let streams = f64::from(to.streams - from.streams);
        // Signed: a heap that shrank is reported as it is.
        let each = |earlier: u64, later: u64| (later as f64 - earlier as f64) / streams;
        Self {
            rss: each(from.server.rss, to.server.rss),
            pss: each(from.server.pss, to.server.pss),
            private_dirty: each(from.server.private_dirty, to.server.private_dirty),
            kernel_tcp: each(from.kernel.tcp, to.kernel.tcp),
            kernel_slab: each(from.kernel.slab, to.kernel.slab),
        }
    }
}

impl SlopeReport {
    fn table(&self) -> Table {
        let mut table = Table::default();
        table.row("server", self.server.target.subscribe.to_string());
        for point in [&self.from, &self.to] {
            let Memory { rss, pss, private_dirty } = point.server;
            let settled = if point.settled { "" } else { " (had not settled)" };
            let [rss, pss, private_dirty] = [rss, pss, private_dirty].map(bytes);
            table.row(
                format!("{} streams", report::grouped(point.streams.into())),
                format!("RSS {rss}, PSS {pss}, private dirty {private_dirty}{settled}"),
            );
            table.kernel("  kernel, both ends", &point.kernel);
        }
        let PerStream { rss, pss, private_dirty, kernel_tcp, kernel_slab } = self.per_stream_bytes;
        table.row(
            "server memory per stream",
            format!("RSS {rss:.0} B, PSS {pss:.0} B, private dirty {private_dirty:.0} B"),
        );
        table.row(
            "kernel per stream, both ends",
            format!("TCP buffers {kernel_tcp:.0} B, slab {kernel_slab:.0} B (machine-wide, so noisy)"),
        );
        table
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "the histogram's bounds are constants")]
    use super::*;
    use crate::latency::Latency;
    use crate::message::Handshakes;

    fn point(streams: u32, rss: u64) -> Point {
        let time_to_head_us = Latency::new().unwrap().percentiles();
        Point {
            streams,
            opening: Opening {
                streams,
                seconds: 1.0,
                per_second: 1.0,
                time_to_head_us,
                handshakes: Handshakes::default(),
            },
            server: Memory { rss, ..Memory::default() },
            kernel: Kernel::default(),
            settled: true,
        }
    }

    #[test]
    fn fixed_memory_falls_out_of_the_slope() {
        let per_stream = PerStream::between(&point(100, 1_000_000), &point(1_100, 1_640_000));
        assert!((per_stream.rss - 640.0).abs() < f64::EPSILON);
    }

    #[test]
    fn shrinking_memory_is_told_as_negative() {
        assert!(PerStream::between(&point(100, 2_000), &point(200, 1_000)).rss < 0.0);
    }
}
