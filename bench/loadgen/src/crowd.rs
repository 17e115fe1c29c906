//! `crowd`: very many streams, held by several Fantail processes on one shared port, and by as many workers as their
//! descriptors need. Reports the cost of a stream on both ends, and checks that an event reaches every one of them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::clock::now_nanos;
use crate::fleet::{Fleet, Opening};
use crate::hold::CONNECTIONS_PER_WORKER_MAX;
use crate::http2_options::Http2Options;
use crate::latency::Percentiles;
use crate::proc::{self, Kernel, Memory};
use crate::progress::DeliveryProgress;
use crate::publisher::LoadPublisher;
use crate::report::{self, Setting, Table, bytes, grouped};
use crate::round::{FaultCounts, payload};
use crate::run_verdict::RunVerdict;
use crate::suite::server::{Places, Port, Server};
use crate::workload::{ChannelLayout, OpeningOptions};

/// The first internal port; each process has the next.
const INTERNAL_PORT_FIRST: u32 = 18_400;
const LISTEN: &str = "127.0.0.1:18300";
const PAYLOAD_BYTES: u32 = 128;
/// How long one event may take to reach a million streams on a machine that is full.
const EVENT_PATIENCE: Duration = Duration::from_mins(2);
const EVENT_INTERVAL: Duration = Duration::from_mins(1);
/// Beyond what opening needs at its rate.
const OPENING_SLACK_SECONDS: u64 = 120;

/// Options of `crowd`.
#[derive(Debug, Args)]
pub(crate) struct CrowdOptions {
    /// Fantail processes, one shard each, that share the public port
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    processes: u32,

    /// Streams per process, on average: the kernel deals them out
    #[arg(long, default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(1..))]
    streams_per_process: u32,

    /// How long to hold them; one event a minute goes to all
    #[arg(long, default_value_t = 1)]
    minutes: u64,

    /// Connections begun per second, all workers together
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    connect_rate: u32,

    /// The folder with the release programs
    #[arg(long, value_name = "FOLDER", default_value = "target/release")]
    programs: PathBuf,

    /// The CPUs that the servers may use
    #[arg(long, value_name = "CPUS", default_value = "0")]
    server_cpus: String,

    /// Also write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The outcome of a crowd.
#[derive(Debug, Serialize)]
struct CrowdReport {
    setting: Setting,
    processes: u32,
    streams: u32,
    opening: Opening,
    /// With servers and workers but no stream, with all streams, and at the end.
    kernel: [Kernel; 3],
    servers_empty: Memory,
    servers_full: Memory,
    workers_empty: Memory,
    workers_full: Memory,
    events: Vec<EventReport>,
    ended_streams: u64,
}

/// One event to all streams.
#[derive(Debug, Clone, Serialize)]
struct EventReport {
    seconds_in: f64,
    deliveries: u64,
    expected: u64,
    faults: FaultCounts,
    seconds: f64,
    latency_us: Percentiles,
}

/// Servers and streams.
struct Crowd {
    fleet: Fleet,
    // Last, so that streams have left when the servers are ended.
    servers: Vec<Server>,
    /// Streams that have ended since they were opened.
    ended: u64,
}

/// Opens the streams, holds them, reports.
pub(crate) fn crowd(options: &CrowdOptions) -> anyhow::Result<RunVerdict> {
    let streams = options.processes.checked_mul(options.streams_per_process).context("that is too many streams")?;
    warn_of_limits(streams);
    let mut crowd = Crowd::gather(options, streams)?;
    let kernel_empty = proc::kernel()?;
    let (servers_empty, workers_empty) = crowd.memory()?;
    println!("{} server processes listen; opening {} streams", options.processes, grouped(streams.into()));
    let opening = crowd.fleet.open(streams)?;
    println!("open after {:.0} s", opening.seconds);
    let began = Instant::now();
    let mut events = vec![crowd.tell_all(began)?];
    // The kernel has taken back the memory of opening by now, and the first event has made everything that events make.
    let kernel_full = proc::kernel()?;
    let (servers_full, workers_full) = crowd.memory()?;
    let end = began + Duration::from_mins(options.minutes);
    while Instant::now() < end {
        std::thread::sleep(EVENT_INTERVAL.min(end.saturating_duration_since(Instant::now())));
        events.push(crowd.tell_all(began)?);
    }
    let report = CrowdReport {
        setting: Setting::read()?,
        processes: options.processes,
        streams,
        opening,
        kernel: [kernel_empty, kernel_full, proc::kernel()?],
        servers_empty,
        servers_full,
        workers_empty,
        workers_full,
        events,
        ended_streams: crowd.ended,
    };
    print!("\n{}", report.table());
    if let Some(path) = &options.json {
        report::write_json(path, &report)?;
    }
    let faults = report.events.iter().map(|event| event.faults.total()).sum::<u64>() + report.ended_streams;
    Ok(if faults == 0 { RunVerdict::Kept } else { RunVerdict::Broken { faults } })
}

impl Crowd {
    fn gather(options: &CrowdOptions, streams: u32) -> anyhow::Result<Self> {
        let programs = options.programs.canonicalize().context("there are no programs; build them first")?;
        let places = Places {
            peers: programs.clone(),
            programs,
            server_cpu: options.server_cpus.clone(),
            encryption: None,
            http2: Http2Options::HTTP1,
        };
        let (more, port): (&[&str], _) =
            if options.processes == 1 { (&[], Port::Own) } else { (&["--listen-shared"], Port::Shared) };
        let servers: Vec<_> = (0..options.processes)
            .map(|number| {
                let internal = format!("127.0.0.1:{}", INTERNAL_PORT_FIRST + number);
                places.fantail_at(LISTEN, &internal, more, port)
            })
            .collect::<anyhow::Result<_>>()?;
        let first = servers.first().context("there must be a process")?;
        let opening = OpeningOptions {
            channels: ChannelLayout::Count(1),
            connect_rate: options.connect_rate,
            workers: streams.div_ceil(CONNECTIONS_PER_WORKER_MAX),
            source_addresses: 8,
            open_deadline: u64::from(streams / options.connect_rate) + OPENING_SLACK_SECONDS,
            remember_ids: false,
            keep_tickets: false,
        };
        let fleet = Fleet::start(&first.target, &opening, streams)?;
        Ok(Self { servers, fleet, ended: 0 })
    }

    /// A publishing connection to each server: every process has a feed of its own. They are made anew for each event,
    /// since servers close connections that are idle for longer than a minute.
    fn publishers(&self) -> anyhow::Result<Vec<LoadPublisher>> {
        let connect =
            |server: &Server| LoadPublisher::connect(&server.target, 1, PAYLOAD_BYTES, self.fleet.channel_prefix());
        self.servers.iter().map(connect).collect()
    }

    /// One event to every stream, by way of every process.
    fn tell_all(&mut self, began: Instant) -> anyhow::Result<EventReport> {
        let (number, sent) = (self.fleet.published(), now_nanos());
        self.fleet.expect(1)?;
        let mut publishers = self.publishers()?;
        for publisher in &mut publishers {
            publisher.publish([payload(number, 1, sent)])?;
        }
        let progress = DeliveryProgress::new("deliveries", self.fleet.streams().into());
        self.fleet.wait(Instant::now() + EVENT_PATIENCE, &progress)?;
        publishers.iter_mut().try_for_each(LoadPublisher::confirm)?;
        let sighting = self.fleet.report()?;
        self.ended = sighting.tally.ended;
        let event = EventReport {
            seconds_in: began.elapsed().as_secs_f64(),
            deliveries: sighting.tally.deliveries,
            expected: sighting.expected,
            faults: FaultCounts::of(&sighting.tally),
            seconds: Duration::from_nanos(sighting.tally.last_delivery_nanos.saturating_sub(sent)).as_secs_f64(),
            latency_us: sighting.latency.percentiles(),
        };
        println!(
            "{:>4.0} s in: {} of {} streams got the event within {:.2} s, {} streams have ended",
            event.seconds_in,
            grouped(event.deliveries),
            grouped(event.expected),
            event.seconds,
            grouped(self.ended)
        );
        Ok(event)
    }

    /// Of all servers, and of all workers.
    fn memory(&self) -> anyhow::Result<(Memory, Memory)> {
        let pids: Vec<_> = self.servers.iter().map(Server::pid).collect();
        Ok((proc::memory(&pids)?, proc::memory(&self.fleet.pids())?))
    }
}

/// Warns of kernel limits that are usually too small. It does not change them: they are the operator's.
fn warn_of_limits(streams: u32) {
    let told = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let sockets = 2 * u64::from(streams);
    if told("/proc/sys/net/netfilter/nf_conntrack_max").is_some_and(|most| most < sockets) {
        let most = told("/proc/sys/net/netfilter/nf_conntrack_max").unwrap_or_default();
        let tracked = told("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or_default();
        eprintln!(
            "doubt: connections may be tracked ({tracked} now, {most} at most); if they are, raise it: sysctl -w net.netfilter.nf_conntrack_max={sockets}"
        );
    }
    if told("/proc/sys/fs/file-max").is_some_and(|most| most < sockets) {
        eprintln!(
            "doubt: fs.file-max is below the {sockets} sockets this needs; raise it: sysctl -w fs.file-max={}",
            2 * sockets
        );
    }
}

impl CrowdReport {
    fn table(&self) -> Table {
        let each = |full: u64, empty: u64| (full as f64 - empty as f64) / f64::from(self.streams);
        let [empty, full, end] = &self.kernel;
        let mut table = Table::default();
        let held = u64::from(self.streams) - self.ended_streams;
        table.row("streams held to the end", format!("{} of {}", grouped(held), grouped(self.streams.into())));
        table.opening(&self.opening);
        let lost: u64 = self.events.iter().map(|event| event.faults.total()).sum();
        table.row("events to all of them", format!("{}, {lost} lost, doubled or swapped", self.events.len()));
        table.row(
            "servers, RSS",
            format!("{} empty, {} full", bytes(self.servers_empty.rss), bytes(self.servers_full.rss)),
        );
        table.row("server RSS per stream", format!("{:.0} B", each(self.servers_full.rss, self.servers_empty.rss)));
        table.row("client RSS per stream", format!("{:.0} B", each(self.workers_full.rss, self.workers_empty.rss)));
        table.row("kernel slab per stream, both ends", format!("{:.0} B", each(full.slab, empty.slab)));
        table.row("TCP buffers per stream, both ends", format!("{:.0} B", each(full.tcp, empty.tcp)));
        table.row("all memory per stream, both ends", format!("{:.0} B", each(empty.available, full.available)));
        table.row(
            "TCP sockets",
            format!("{} before, {} open, {} at the end", empty.tcp_sockets, full.tcp_sockets, end.tcp_sockets),
        );
        table
    }
}
