//! Rounds played in turn on Fantail and another server.

use std::time::Duration;

use serde_json::json;

use crate::compare::{Ratio, median, play_pairs};
use crate::publisher::LoadPublisher;
use crate::report;
use crate::round::{LoadSetup, RoundReport};
use crate::run;
use crate::suite::figure::{Figure, Findings, Of, Unit};
use crate::suite::scenario::{FLOOR, OURS, ScenarioLoad};
use crate::suite::{Bench, publishing};
use crate::target::ServerUnderTest;
use crate::workload::PublishOptions;

const REST: Duration = Duration::from_secs(1);

/// Plays `loads` against one other server. All loads have the layout of the first.
pub(crate) fn play(
    bench: &Bench,
    scenario: &'static str,
    streams: u32,
    loads: &[ScenarioLoad],
    other: &str,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let Some(layout) = loads.first().map(|load| load.channels) else { return Ok(()) };
    let ours = bench.places.fantail(&[])?;
    let theirs = bench.places.other(other)?;
    let first = options(bench, streams, &loads[0]);
    let (mut setup_a, opening_a) = run::set(&ours.target, streams, &ours.opening(layout), &first)?;
    let (mut setup_b, opening_b) = run::set(&theirs.target, streams, &theirs.opening(layout), &first)?;
    for (number, load) in loads.iter().enumerate() {
        let options = options(bench, streams, load);
        for setup in [&mut setup_a, &mut setup_b] {
            setup.publisher = publisher(&setup.target, &options, setup)?;
        }
        let rounds = load.rounds.min(bench.scale.rounds_most);
        let (a, b) = play_pairs((&mut setup_a, &options), (&mut setup_b, &options), rounds, REST)?;
        let name = format!("{scenario}-{other}-{number}");
        bench.write_raw(&name, &json!({ "load": load.label, "workload": options, "openings": [opening_a, opening_b], "ours": a, "other": b }))?;
        tell(scenario, streams, load, other, (&a, &b), findings)?;
    }
    Ok(())
}

fn publisher(target: &ServerUnderTest, options: &PublishOptions, setup: &LoadSetup) -> anyhow::Result<LoadPublisher> {
    LoadPublisher::connect(target, options.publish_connections, options.payload, setup.fleet.channel_prefix())
}

fn options(bench: &Bench, streams: u32, load: &ScenarioLoad) -> PublishOptions {
    let channels = load.channels.channels(streams).unwrap_or(1);
    let per_channel = (load.events_per_stream / bench.scale.events_divisor).max(1);
    // Whole groups, so that every event of a round waits with as many others.
    let events = (per_channel * u64::from(channels)).next_multiple_of(load.in_flight);
    publishing(events, load.payload, load.in_flight)
}

fn tell(
    scenario: &'static str,
    streams: u32,
    load: &ScenarioLoad,
    other: &str,
    (a, b): (&[RoundReport], &[RoundReport]),
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for (name, rounds) in [(OURS, a), (other, b)] {
        findings.note_faults(scenario, name, rounds.iter().map(|round| round.faults));
        findings.note_doubts(scenario, name, rounds[1..].iter().flat_map(report::doubts));
    }
    let reach = format!("{}; {} streams", load.label, report::grouped(streams.into()));
    let cpu = |round: &RoundReport| round.server.map_or(f64::NAN, |server| server.cpu_us_per_delivery);
    findings.add(Figure {
        scenario,
        what: "server CPU per delivery".to_owned(),
        unit: Unit::Micros,
        ours: middle(a, cpu),
        other: Some((other.to_owned(), middle(b, cpu))),
        ratio: Some(Ratio::of(&a[1..], &b[1..])?),
        reach: reach.clone(),
    });
    // Against the floor only the cost is a question; it makes no promise.
    if other == FLOOR && scenario != "steady-floor" {
        return Ok(());
    }
    let latencies: [(&str, Of<RoundReport>); 2] =
        [("latency p50", |round| round.latency_us.p50 / 1e3), ("latency p99", |round| round.latency_us.p99 / 1e3)];
    for (what, of) in latencies {
        let ratios = a[1..].iter().zip(&b[1..]).map(|(a, b)| of(a) / of(b)).collect();
        findings.add(Figure {
            scenario,
            what: what.to_owned(),
            unit: Unit::Millis,
            ours: middle(a, of),
            other: Some((other.to_owned(), middle(b, of))),
            ratio: Some(Ratio::from_pairs(ratios)),
            reach: reach.clone(),
        });
    }
    Ok(())
}

/// The median of the rounds that count.
fn middle(rounds: &[RoundReport], of: impl Fn(&RoundReport) -> f64) -> f64 {
    median(rounds[1..].iter().map(of).collect())
}
