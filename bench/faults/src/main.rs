//! `fantail-faults`: tries one fault after the other on a real Redis or NATS and two real nodes, and reports the events that
//! readers got.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use fantail_faults::open_then_publish::OpenResults;
use fantail_faults::report::{TrialRow, table};
use fantail_faults::{FAULTS, Fault, Mode, Plan, at_every_byte, kill_at_every_byte, open_then_publish, trial};
use fantail_testkit::{Defect, Random};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The exit code of a broken promise.
const BROKEN: u8 = 3;

/// Breaks Redis, NATS, the network and Fantail itself under load, and judges the events of the readers.
///
/// Exits with 0 when the promise was kept, 3 when it was not or something could not be tried, 1 when nothing could be
/// tried, 2 when the command line is wrong.
#[derive(Debug, Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: FaultsCommand,
}

#[derive(Debug, Subcommand)]
enum FaultsCommand {
    /// Try faults; scripts/faults runs it
    Run(RunOptions),
    /// Publish the instant a stream's head comes, and see that the event comes
    OpenThenPublish(OpenOptions),
    /// Cut a response behind every byte, and see that nothing is missing after the return
    AtEveryByte(ByteOptions),
    /// Kill a node when a client has got so many bytes of its first event, for every number of them
    KillAtEveryByte(KillOptions),
    /// List the faults
    List,
}

#[derive(Debug, clap::Args)]
struct OpenOptions {
    /// How often, in each mode
    #[arg(long, default_value_t = 100_000)]
    times: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct ByteOptions {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct KillOptions {
    /// The program under test
    #[arg(long, default_value = "target/release/fantail")]
    fantail: PathBuf,
    /// Repeats the random choices of this seed
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The program under test
    #[arg(long, default_value = "target/release/fantail")]
    fantail: PathBuf,
    /// The kind of feed; every kind that the program knows when none is given
    #[arg(long)]
    mode: Vec<Mode>,
    /// Repeats the random choices of this seed
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct RunOptions {
    /// Faults by the beginning of their name; all of them when none is named
    names: Vec<String>,
    /// A selection, each held for a short time
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    common: Common,
    /// Readers of each trial
    #[arg(long, default_value_t = 300)]
    readers: u64,
    /// Publishers of each trial
    #[arg(long, default_value_t = 8)]
    publishers: u64,
    /// Trials at the same time
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Put a faulty server in front of the nodes; the fault must be found
    #[arg(long = "break")]
    broken: Option<Break>,
    /// Count it as a broken promise if events are given up that the Redis log or the stream of NATS still has
    #[arg(long)]
    strict: bool,
    /// Where to write the table and everything else
    #[arg(long)]
    results: Option<PathBuf>,
}

/// The faults of such a server.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Break {
    Drop,
    Double,
    Swap,
    Cut,
    Foreign,
    LostGap,
}

impl Break {
    const fn defect(self) -> Defect {
        match self {
            Self::Drop => Defect::Drop,
            Self::Double => Defect::Double,
            Self::Swap => Defect::Swap,
            Self::Cut => Defect::Cut,
            Self::Foreign => Defect::Misroute,
            Self::LostGap => Defect::HideGaps,
        }
    }
}

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let outcome = match command {
        FaultsCommand::List => {
            list();
            Ok(true)
        }
        FaultsCommand::Run(options) => in_runtime(run(options)),
        FaultsCommand::OpenThenPublish(options) => in_runtime(open_then_publish(options)),
        FaultsCommand::AtEveryByte(options) => in_runtime(at_every_byte(options.common)),
        FaultsCommand::KillAtEveryByte(options) => in_runtime(kill_at_every_byte(options)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => BROKEN.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn in_runtime(work: impl Future<Output = Result<bool>>) -> Result<bool> {
    fantail_faults::allow_many_descriptors()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn list() {
    for fault in &FAULTS {
        let modes: Vec<_> = fault.modes.iter().map(|mode| mode.name()).collect();
        println!("{:27} {} ({})", fault.name, fault.what, modes.join(", "));
    }
}

/// Whether every promise was kept.
async fn run(options: RunOptions) -> Result<bool> {
    let modes = options.common.known_modes(&Mode::WITH_BROKER).await?;
    let seed = options.common.seed();
    let mut trials = JoinSet::new();
    let slots = Arc::new(Semaphore::new(options.jobs.max(1)));
    let mut number = 0;
    for mode in modes {
        for fault in chosen(&options)?.into_iter().filter(|fault| fault.modes.contains(&mode)) {
            let plan = plan(&options, mode, seed);
            let slots = Arc::clone(&slots);
            let at = number;
            trials.spawn(async move {
                let _slot = slots.acquire().await;
                (at, TrialRow::new(fault, &plan, trial::run(fault, &plan).await))
            });
            number += 1;
        }
    }
    let mut rows = Vec::new();
    while let Some(ended) = trials.join_next().await {
        let (at, row) = ended?;
        println!("{}", row.line());
        rows.push((at, row));
    }
    rows.sort_by_key(|(at, _)| *at);
    let rows: Vec<TrialRow> = rows.into_iter().map(|(_, row)| row).collect();
    if rows.is_empty() {
        bail!("no such fault in this mode; `list` tells their names");
    }
    if let Some(results) = &options.results {
        write_results(results, &rows, seed)?;
    }
    Ok(rows.iter().all(if options.strict { TrialRow::is_strictly_kept } else { TrialRow::is_kept }))
}

fn plan(options: &RunOptions, mode: Mode, seed: u64) -> Plan {
    // The ledger knows the order of each publisher's own events only, so swapped events must be of one.
    let publishers = if options.broken.is_some() { 1 } else { options.publishers };
    Plan {
        fantail: options.common.fantail.clone(),
        mode,
        seed,
        quick: options.quick,
        crowd: (options.readers, publishers),
        defect: options.broken.map_or(Defect::None, Break::defect),
    }
}

impl Common {
    /// The modes that were asked for, else those of `all` that the program knows.
    async fn known_modes(&self, all: &[Mode]) -> Result<Vec<Mode>> {
        let mut modes = Vec::new();
        for mode in if self.mode.is_empty() { all } else { &self.mode } {
            if mode.is_known_to(&self.fantail).await? {
                modes.push(*mode);
            } else if !self.mode.is_empty() {
                bail!("{} does not know {}", self.fantail.display(), mode.flags().join(" "));
            }
        }
        Ok(modes)
    }

    /// The seed that was given, or a new one. It is printed.
    fn seed(&self) -> u64 {
        let seed = self.seed.unwrap_or_else(|| Random::from_entropy().next_u64());
        println!("seed {seed}");
        seed
    }
}

async fn open_then_publish(options: OpenOptions) -> Result<bool> {
    let seed = options.common.seed();
    let mut missed = 0;
    for mode in options.common.known_modes(&Mode::OF_ONE_LANE).await? {
        let tally = open_then_publish::run(&options.common.fantail, mode, options.times, seed).await?;
        let (name, took) = (mode.name(), tally.took.as_secs_f64());
        let OpenResults { times, missed: own, declared, .. } = tally;
        println!("open-then-publish ({name}): {times} times in {took:.0} s, missed {own}, gaps {declared}");
        missed += own;
    }
    Ok(missed == 0)
}

async fn at_every_byte(common: Common) -> Result<bool> {
    let seed = common.seed();
    let mut is_kept = true;
    for mode in common.known_modes(&Mode::OF_ONE_LANE).await? {
        let tally = at_every_byte::run(&common.fantail, mode, seed).await?;
        let (name, cuts, bytes) = (mode.name(), tally.cuts, tally.bytes);
        println!("at-every-byte ({name}): {cuts} cuts in responses of {bytes} bytes, {}", tally.verdict);
        is_kept &= tally.is_kept();
    }
    Ok(is_kept)
}

async fn kill_at_every_byte(options: KillOptions) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(|| Random::from_entropy().next_u64());
    println!("seed {seed}");
    let mut is_kept = true;
    for mode in [Mode::Log, Mode::Jetstream] {
        for tally in kill_at_every_byte::run(&options.fantail, mode, seed).await? {
            let (name, kills, bytes) = (mode.name(), tally.cuts, tally.bytes);
            println!("kill-at-every-byte ({name}): {kills} kills, the last behind byte {bytes}, {}", tally.verdict);
            is_kept &= tally.is_kept();
        }
    }
    Ok(is_kept)
}

fn chosen(options: &RunOptions) -> Result<Vec<&'static Fault>> {
    if options.names.is_empty() {
        return Ok(FAULTS.iter().filter(|fault| !options.quick || fault.seconds.1.is_some()).collect());
    }
    let mut faults = Vec::new();
    for name in &options.names {
        let before = faults.len();
        faults.extend(Fault::named(name));
        if faults.len() == before {
            bail!("there is no fault {name:?}; `list` tells their names");
        }
    }
    Ok(faults)
}

fn write_results(folder: &Path, rows: &[TrialRow], seed: u64) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let all: Vec<_> = rows.iter().map(TrialRow::json).collect();
    std::fs::write(folder.join("raw.json"), serde_json::to_string_pretty(&all)?)?;
    let broken = rows.iter().filter(|row| !row.is_kept()).count();
    let head = format!("# Faults\n\nSeed {seed}; {} trials, {broken} broken.\n\n", rows.len());
    std::fs::write(folder.join("summary.md"), head + &table(rows))?;
    Ok(())
}
