//! Deliveries on open streams while others come with full handshakes.

use serde_json::json;

use crate::compare::{Ratio, median};
use crate::fleet::{Fleet, Opening};
use crate::report;
use crate::round::{LoadSetup, RoundReport};
use crate::run;
use crate::suite::figure::{Figure, Findings, Of, Unit};
use crate::suite::handshakes::wait_until_at_rest;
use crate::suite::scenario::OURS;
use crate::suite::server::Server;

use crate::suite::{Bench, publishing};
use crate::workload::{ChannelLayout, OpeningOptions, PublishOptions};

const ONE: ChannelLayout = ChannelLayout::Count(1);
/// Of so many streams of a scenario, so many are open, and the others come.
const PARTS: u32 = 9;
const PARTS_OPEN: u32 = 5;
/// Handshakes begun per second. A machine that does fewer has them queue up, and the figure tells how many it did.
const HANDSHAKES_PER_SECOND: u32 = 2_000;
/// Slow enough that a pass ends long before the next begins: latency is then that of one pass, and what delays it.
const EVENTS_PER_SECOND: u32 = 2;
const ROUNDS: u32 = 3;

/// A round in quiet, the same round among newcomers, and the newcomers' opening.
type Pair = (RoundReport, RoundReport, Opening);

/// The latency of deliveries while handshakes arrive, over the latency of the same deliveries in quiet.
pub(crate) fn while_handshaking(
    bench: &Bench,
    scenario: &'static str,
    name: &str,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let server = if name == OURS { bench.places.fantail(&[])? } else { bench.places.other(name)? };
    let held = bench.scale.streams / PARTS * PARTS_OPEN;
    let newcomers = bench.scale.streams - held;
    let events = u64::from(newcomers * EVENTS_PER_SECOND / HANDSHAKES_PER_SECOND).max(2);
    let rate = Some(EVENTS_PER_SECOND.into());
    let options = PublishOptions { rate, in_flight: None, ..publishing(events, 128, 1) };
    let (mut setup, _) = run::set(&server.target, held, &server.opening(ONE), &options)?;
    // Once to warm up; it counts nowhere.
    pair(&server, &mut setup, newcomers, &options)?;
    let rounds = ROUNDS.min(bench.scale.rounds_most);
    let pairs: Vec<Pair> =
        (0..rounds).map(|_| pair(&server, &mut setup, newcomers, &options)).collect::<anyhow::Result<_>>()?;
    bench.write_raw(&format!("{scenario}-{name}"), &json!({ "held": held, "pairs": pairs }))?;
    for (quiet, busy, _) in &pairs {
        findings.note_faults(scenario, name, [quiet.faults, busy.faults]);
    }
    let reach = format!(
        "{} streams open, {} come, {events} events a round",
        report::grouped(held.into()),
        report::grouped(newcomers.into())
    );
    tell(scenario, name, &pairs, &reach, findings);
    Ok(())
}

fn pair(server: &Server, setup: &mut LoadSetup, newcomers: u32, options: &PublishOptions) -> anyhow::Result<Pair> {
    wait_until_at_rest(&server.target.pids)?;
    let quiet = setup.play(options)?;
    let opening = OpeningOptions { connect_rate: HANDSHAKES_PER_SECOND, ..server.opening(ONE) };
    let mut fleet = Fleet::start(&server.target, &opening, newcomers)?;
    let (busy, come) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let served = scope.spawn(|| setup.play(options));
        let come = fleet.open(newcomers);
        let busy = served.join().map_err(|_| anyhow::anyhow!("the serving thread panicked"))??;
        Ok((busy, come?))
    })?;
    Ok((quiet, busy, come))
}

fn tell(scenario: &'static str, name: &str, pairs: &[Pair], reach: &str, findings: &mut Findings) {
    let middle = |of: &dyn Fn(&Pair) -> f64| median(pairs.iter().map(of).collect());
    let latencies: [(&str, Of<RoundReport>); 2] =
        [("p50", |round| round.latency_us.p50 / 1e3), ("p99", |round| round.latency_us.p99 / 1e3)];
    for (what, of) in latencies {
        findings.add(Figure {
            scenario,
            what: format!("{name}: latency {what} while handshakes arrive"),
            unit: Unit::Millis,
            ours: middle(&|(_, busy, _)| of(busy)),
            other: Some((format!("{name} in quiet"), middle(&|(quiet, _, _)| of(quiet)))),
            ratio: Some(Ratio::from_pairs(pairs.iter().map(|(quiet, busy, _)| of(busy) / of(quiet)).collect())),
            reach: reach.to_owned(),
        });
    }
    let newcomers: [(&str, Unit, Of<Opening>); 2] = [
        ("handshakes that arrived", Unit::PerSecond, |come| come.per_second),
        ("time to head of those that come, p99", Unit::Millis, |come| come.time_to_head_us.p99 / 1e3),
    ];
    for (what, unit, of) in newcomers {
        findings.add(Figure {
            scenario,
            what: format!("{name}: {what}"),
            unit,
            ours: middle(&|(_, _, come)| of(come)),
            other: None,
            ratio: None,
            reach: reach.to_owned(),
        });
    }
}
