//! `unicast`: every event is for one stream. N channels have one stream each, events go to the channels in a random order.
//! One thread does everything, so that the load costs little per event; it opens no more streams than one process may.

mod connection;
pub(crate) mod pace;
mod player;
mod publisher;
mod requests;
pub(crate) mod round;
mod server_use;
mod streams;
mod timer;

use anyhow::ensure;
use clap::Args;
use mio::Poll;
use serde::Serialize;

use crate::clock::now_nanos;
use crate::fleet::{self, Opening};
use crate::hold::{self, CONNECTIONS_PER_WORKER_MAX};
use crate::message::Open;
use crate::report::{self, Setting, Subject, Table};
use crate::run_verdict::RunVerdict;
use crate::target::{PublishForm, ServerUnderTest, TargetOptions};
use crate::unicast::pace::{LoadOptions, Order};
use crate::unicast::round::UnicastRound;
use crate::unicast::streams::UnicastStreams;
use crate::workload::OutputOptions;

/// Options of `unicast`.
#[derive(Debug, Args)]
pub(crate) struct UnicastOptions {
    #[command(flatten)]
    target: TargetOptions,

    #[command(flatten)]
    crowd: UnicastCrowd,

    #[command(flatten)]
    load: LoadOptions,

    #[command(flatten)]
    output: OutputOptions,
}

/// The streams, each with a channel of its own.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct UnicastCrowd {
    /// Streams to open, each on a channel of its own
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_PER_WORKER_MAX)))]
    pub(crate) streams: u32,

    /// Connections begun per second
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connect_rate: u32,

    /// Loopback addresses to connect from, when the server is on loopback
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub(crate) source_addresses: u8,

    /// How long opening all streams may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) open_deadline: u64,
}

/// The outcome of a run.
#[derive(Debug, Serialize)]
struct UnicastReport {
    setting: Setting,
    server: Subject,
    crowd: UnicastCrowd,
    workload: LoadOptions,
    opening: Opening,
    round: UnicastRound,
}

/// A server with its open streams. Rounds follow each other on it.
#[derive(Debug)]
pub(crate) struct UnicastSetup {
    target: ServerUnderTest,
    poll: Poll,
    streams: UnicastStreams,
    order: Order,
    channel_prefix: String,
}

/// Opens the streams, plays one round, reports.
pub(crate) fn unicast(options: UnicastOptions) -> anyhow::Result<RunVerdict> {
    let UnicastOptions { target, crowd, load, output } = options;
    load.check()?;
    let target = target.into_target()?;
    let (mut setup, opening) = UnicastSetup::open(&target, &crowd)?;
    let round = setup.play(&load)?;
    let server = Subject::of(&target)?;
    let report = UnicastReport { setting: Setting::read()?, server, crowd, workload: load, opening, round };
    print!("{}", report.table());
    report::print_doubts(&report.round.doubts());
    if let Some(path) = &output.json {
        report::write_json(path, &report)?;
    }
    Ok(report.round.verdict())
}

impl UnicastSetup {
    /// Opens all streams; an error if any of them cannot be opened.
    pub(crate) fn open(target: &ServerUnderTest, crowd: &UnicastCrowd) -> anyhow::Result<(Self, Opening)> {
        ensure!(target.form == PublishForm::Post, "events for one stream go one by one, with --publish-form post");
        ensure!(
            target.http2.streams_per_connection.is_none(),
            "each stream has a connection of its own here: leave out --http2"
        );
        target.check_channels(crowd.streams)?;
        hold::raise_descriptor_limit()?;
        // A new name each time, so that kept events of an earlier run cannot be mistaken for new ones.
        let channel_prefix = format!("unicast-{}-{:x}", std::process::id(), now_nanos());
        let plan = Open {
            subscribe: target.subscribe.clone(),
            tls: target.tls().cloned(),
            http2: target.http2,
            channel_prefix: channel_prefix.clone(),
            channels: crowd.streams,
            first_stream: 0,
            streams: crowd.streams,
            published: 0,
            connects_per_second: crowd.connect_rate,
            sources: fleet::sources(target.subscribe.address.ip(), 0, crowd.source_addresses),
            event: target.event.clone().map(Box::new),
            deadline_seconds: crowd.open_deadline,
            remember_ids: false,
            keep_tickets: false,
            returning: false,
        };
        let mut poll = Poll::new()?;
        let (streams, opened) = UnicastStreams::open(&mut poll, plan)?;
        let opening = fleet::summarise(&[opened], crowd.streams)?;
        let order = Order::shuffled(crowd.streams);
        Ok((Self { target: target.clone(), poll, streams, order, channel_prefix }, opening))
    }
}

impl UnicastReport {
    fn table(&self) -> Table {
        let mut table = Table::default();
        let target = &self.server.target;
        table.row("server", format!("{}, events at {}", target.subscribe, target.publish));
        table.opening(&self.opening);
        table.row("pace", self.workload.pace().to_string());
        self.round.rows(&mut table);
        table
    }
}
