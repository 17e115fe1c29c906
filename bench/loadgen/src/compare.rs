//! `compare`: the same rounds on two servers in turn. Both keep their streams open all the time. A round on one is
//! directly followed by the same round on the other, so that other work of the machine hits both alike. Only ratios of
//! such pairs are reported.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;

use crate::fleet::Opening;
use crate::report::{self, Setting, Subject, Table, Workload};
use crate::round::{LoadSetup, RoundReport};
use crate::run;
use crate::run_verdict::RunVerdict;
use crate::target::ServerUnderTest;
use crate::workload::{OpeningOptions, OutputOptions, PublishOptions};

/// Options of `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareOptions {
    /// The server in question, as words: name=, subscribe=URL, tls-ca=FILE, tls-version=1.3|1.2, tls-key-exchange=NAME,
    /// http2=STREAMS, http2-window=BYTES, publish=URL, batch=URL, form=post|array|ndjson, pid=PID, body=TEMPLATE, header=LINE, event=TEMPLATE
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., required = true)]
    a: Vec<String>,

    /// The server it is measured against, in the same words
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., required = true)]
    b: Vec<String>,

    /// Pairs of rounds that count; one more goes before them to warm up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Idle time before each round. Long enough, it brings every connection of both servers into the same state: after
    /// a pause Linux acknowledges at once for a while, which costs the sender more
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    rest: u64,

    /// Streams to open on each server
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,

    #[command(flatten)]
    opening: OpeningOptions,

    #[command(flatten)]
    publishing: PublishOptions,

    #[command(flatten)]
    output: OutputOptions,
}

/// The outcome of a comparison.
#[derive(Debug, Serialize)]
struct CompareReport {
    setting: Setting,
    workload: Workload,
    rest_seconds: u64,
    a: Side,
    b: Side,
    /// CPU per delivery of A over that of B, pair by pair.
    cpu_ratio: Ratio,
}

#[derive(Debug, Serialize)]
struct Side {
    server: Subject,
    opening: Opening,
    /// In the order in which they were played. The first is the warm-up and counts nowhere.
    rounds: Vec<RoundReport>,
}

/// Ratios of paired rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) pairs: Vec<f64>,
}

/// Opens both servers' streams, plays the rounds in turn, reports.
pub(crate) fn compare(options: CompareOptions) -> anyhow::Result<RunVerdict> {
    let CompareOptions { a, b, rounds, rest, streams, opening, publishing, output } = options;
    let pace = publishing.pace()?;
    let [a, b] = [("a", a), ("b", b)].map(|(name, words)| checked_target(name, &words));
    let (mut setup_a, opening_a) = run::set(&a?, streams, &opening, &publishing)?;
    let (mut setup_b, opening_b) = run::set(&b?, streams, &opening, &publishing)?;
    let (rounds_a, rounds_b) =
        play_pairs((&mut setup_a, &publishing), (&mut setup_b, &publishing), rounds, Duration::from_secs(rest))?;
    let channels = setup_a.fleet.channels();
    let report = CompareReport {
        setting: Setting::read()?,
        workload: Workload { streams, channels, opening, publishing: Some(publishing), pace: Some(pace) },
        rest_seconds: rest,
        cpu_ratio: Ratio::of(&rounds_a[1..], &rounds_b[1..])?,
        a: Side::of(&setup_a, opening_a, rounds_a)?,
        b: Side::of(&setup_b, opening_b, rounds_b)?,
    };
    print!("\n{}", report.table());
    if let Some(path) = &output.json {
        report::write_json(path, &report)?;
    }
    let rounds = || report.a.rounds.iter().chain(&report.b.rounds);
    let doubts: BTreeSet<_> = rounds().flat_map(report::doubts).collect();
    report::print_doubts(&doubts);
    Ok(RunVerdict::of(rounds()))
}

/// The same rounds on both in turn, one pair more than asked for: the first is the warm-up.
pub(crate) fn play_pairs(
    (setup_a, publishing_a): (&mut LoadSetup, &PublishOptions),
    (setup_b, publishing_b): (&mut LoadSetup, &PublishOptions),
    rounds: u32,
    rest: Duration,
) -> anyhow::Result<(Vec<RoundReport>, Vec<RoundReport>)> {
    let mut play_a = || {
        std::thread::sleep(rest);
        setup_a.play(publishing_a)
    };
    let mut play_b = || {
        std::thread::sleep(rest);
        setup_b.play(publishing_b)
    };
    let mut rounds_a = Vec::new();
    let mut rounds_b = Vec::new();
    for number in 0..=rounds {
        // The first of a pair changes, so that neither always profits from a warm or suffers from a busy machine.
        let (round_a, round_b) = if number % 2 == 0 {
            let round_a = play_a()?;
            (round_a, play_b()?)
        } else {
            let round_b = play_b()?;
            (play_a()?, round_b)
        };
        print_pair(number, &round_a, &round_b);
        rounds_a.push(round_a);
        rounds_b.push(round_b);
    }
    Ok((rounds_a, rounds_b))
}

fn checked_target(name: &str, words: &[String]) -> anyhow::Result<ServerUnderTest> {
    let target = ServerUnderTest::from_words(name, words).with_context(|| format!("--{name} is not usable"))?;
    ensure!(!target.pids.is_empty(), "--{name} needs pid=PID: without it there is no CPU time to compare");
    Ok(target)
}

fn print_pair(number: u32, a: &RoundReport, b: &RoundReport) {
    let label = if number == 0 { "warm-up".to_owned() } else { format!("round {number}") };
    let cpu = |round: &RoundReport| round.server.map_or(0.0, |server| server.cpu_us_per_delivery);
    let faults = a.faults.total() + b.faults.total();
    println!("{label:<9} A {:>7.2} us  B {:>7.2} us  A/B {:.3}  faults {faults}", cpu(a), cpu(b), cpu(a) / cpu(b));
}

impl Side {
    fn of(setup: &LoadSetup, opening: Opening, rounds: Vec<RoundReport>) -> anyhow::Result<Self> {
        Ok(Self { server: Subject::of(&setup.target)?, opening, rounds })
    }

    fn median(&self, of: impl Fn(&RoundReport) -> f64) -> f64 {
        median(self.rounds[1..].iter().map(of).collect())
    }
}

impl Ratio {
    pub(crate) fn of(a: &[RoundReport], b: &[RoundReport]) -> anyhow::Result<Self> {
        let cpu = |round: &RoundReport| round.server.map_or(0.0, |server| server.cpu_us_per_delivery);
        let measurable = a.iter().chain(b).all(|round| cpu(round) > 0.0);
        ensure!(measurable, "a round used no CPU time that the kernel could count: use more --events or --streams");
        Ok(Self::from_pairs(a.iter().zip(b).map(|(a, b)| cpu(a) / cpu(b)).collect()))
    }

    pub(crate) fn from_pairs(pairs: Vec<f64>) -> Self {
        Self {
            median: median(pairs.clone()),
            min: pairs.iter().copied().fold(f64::INFINITY, f64::min),
            max: pairs.iter().copied().fold(0.0, f64::max),
            pairs,
        }
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

impl CompareReport {
    fn table(&self) -> Table {
        let mut table = Table::default();
        for (letter, side) in [("A", &self.a), ("B", &self.b)] {
            let name = &side.server.target.name;
            table.row(letter, format!("{name}, {}", side.server.target.subscribe));
            table.row(
                format!("{letter} CPU per delivery"),
                format!("{:.2} us", side.median(|round| round.server.map_or(0.0, |server| server.cpu_us_per_delivery))),
            );
            let rate = side.median(|round| round.deliveries_per_second);
            table.row(format!("{letter} deliveries per second"), format!("{rate:.0}"));
            table.row(
                format!("{letter} latency p50, p99"),
                format!(
                    "{:.1} ms, {:.1} ms",
                    side.median(|round| round.latency_us.p50) / 1e3,
                    side.median(|round| round.latency_us.p99) / 1e3
                ),
            );
        }
        let Ratio { median, min, max, pairs } = &self.cpu_ratio;
        table
            .row("CPU per delivery, A/B", format!("{median:.3} median of {} pairs, {min:.3} to {max:.3}", pairs.len()));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_between_the_middles() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn ratio_keeps_its_pairs_and_extremes() {
        let ratio = Ratio::from_pairs(vec![1.2, 1.0, 1.1]);
        let expected = Ratio { median: 1.1, min: 1.0, max: 1.2, pairs: vec![1.2, 1.0, 1.1] };
        assert_eq!(ratio, expected);
    }
}
