//! `run`: one server, one round.

use clap::Args;
use serde::Serialize;

use crate::fleet::{Fleet, Opening};
use crate::proc::{self, Kernel};
use crate::publisher::LoadPublisher;
use crate::report::{self, Setting, Subject, Table, Workload};
use crate::round::{LoadSetup, RoundReport};
use crate::run_verdict::RunVerdict;
use crate::target::{ServerUnderTest, TargetOptions};
use crate::workload::{OpeningOptions, OutputOptions, PublishOptions};

/// Options of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    target: TargetOptions,

    /// Streams to open
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,

    #[command(flatten)]
    opening: OpeningOptions,

    #[command(flatten)]
    publishing: PublishOptions,

    #[command(flatten)]
    output: OutputOptions,
}

/// The outcome of a run.
#[derive(Debug, Serialize)]
struct RunReport {
    setting: Setting,
    server: Subject,
    workload: Workload,
    opening: Opening,
    round: RoundReport,
    kernel_before: Kernel,
    kernel_open: Kernel,
    kernel_after: Kernel,
}

/// Opens the streams, plays one round, reports.
pub(crate) fn run(options: RunOptions) -> anyhow::Result<RunVerdict> {
    let RunOptions { target, streams, opening, publishing, output } = options;
    let pace = publishing.pace()?;
    let target = target.into_target()?;
    let kernel_before = proc::kernel()?;
    let (mut setup, opened) = set(&target, streams, &opening, &publishing)?;
    let kernel_open = proc::kernel()?;
    let round = setup.play(&publishing)?;
    let channels = setup.fleet.channels();
    let report = RunReport {
        setting: Setting::read()?,
        server: Subject::of(&target)?,
        workload: Workload { streams, channels, opening, publishing: Some(publishing), pace: Some(pace) },
        opening: opened,
        round,
        kernel_before,
        kernel_open,
        kernel_after: proc::kernel()?,
    };
    print!("{}", report.table());
    report::print_doubts(&report::doubts(&report.round));
    if let Some(path) = &output.json {
        report::write_json(path, &report)?;
    }
    Ok(RunVerdict::of([&report.round]))
}

/// Opens the streams of one server and connects to publish.
pub(crate) fn set(
    target: &ServerUnderTest,
    streams: u32,
    opening: &OpeningOptions,
    publishing: &PublishOptions,
) -> anyhow::Result<(LoadSetup, Opening)> {
    let mut fleet = Fleet::start(target, opening, streams)?;
    let opened = fleet.open(streams)?;
    let publisher =
        LoadPublisher::connect(target, publishing.publish_connections, publishing.payload, fleet.channel_prefix())?;
    Ok((LoadSetup { target: target.clone(), fleet, publisher }, opened))
}

impl RunReport {
    fn table(&self) -> Table {
        let mut table = Table::default();
        table.row("server", self.server.target.subscribe.to_string());
        table.opening(&self.opening);
        table.round(&self.round);
        table.kernel("kernel before streams", &self.kernel_before);
        table.kernel("kernel with streams open", &self.kernel_open);
        table.kernel("kernel after events", &self.kernel_after);
        table
    }
}
