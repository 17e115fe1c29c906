//! The way in from Redis: the cost of one message for Fantail's control loop and its feed, at the highest rate that a
//! closed loop of one publisher reaches.

use serde_json::json;

use crate::compare::Ratio;
use crate::proc::{self, Cpu};
use crate::report;
use crate::run;
use crate::suite::figure::{Figure, Findings, Unit};
use crate::suite::scenario::OURS;
use crate::suite::server::Server;
use crate::suite::{Bench, publishing};
use crate::target::ServerUnderTest;
use crate::workload::ChannelLayout;

/// Messages on their way together. Each step goes on until more of them bring no more per second.
const WINDOWS: [u64; 5] = [1, 16, 64, 256, 512];
/// Enough for some tenths of a second at the rates of a single publisher.
const EVENTS_PER_WINDOW: u64 = 4_000;
const EVENTS_MOST: u64 = 200_000;
/// A step that brings less than this is the last.
const GROWTH_LEAST: f64 = 1.05;

pub(crate) fn play(
    bench: &Bench,
    scenario: &'static str,
    channels: ChannelLayout,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let redis = Server::redis()?;
    let fantail = bench.places.fantail(&["--redis-url", "redis://127.0.0.1:18260"])?;
    let target = ServerUnderTest { publish: redis.target.publish.clone(), ..fantail.target.clone() };
    let streams = if channels == ChannelLayout::PerStream { bench.scale.streams } else { 1 };
    let (mut setup, opened) = run::set(&target, streams, &fantail.opening(channels), &publishing(1, 128, 1))?;
    let mut rounds = Vec::new();
    let mut best = 0.0;
    for window in WINDOWS {
        let events = (window * EVENTS_PER_WINDOW).min(EVENTS_MOST) / bench.scale.events_divisor;
        let before = proc::threads(fantail.pid())?;
        let round = setup.play(&publishing(events, 128, window))?;
        let threads: Vec<(String, Cpu)> = proc::threads(fantail.pid())?
            .into_iter()
            .map(|(name, cpu)| (name.clone(), cpu.since(before.get(&name).copied().unwrap_or_default())))
            .collect();
        let rate = round.deliveries_per_second;
        rounds.push((window, threads, round));
        if rate < best * GROWTH_LEAST {
            break;
        }
        best = rate;
    }
    bench.write_raw(scenario, &json!({ "opening": opened, "rounds": rounds }))?;
    for (_, _, round) in &rounds {
        findings.note_faults(scenario, OURS, [round.faults]);
    }
    let Some((window, threads, round)) =
        rounds.iter().max_by(|a, b| a.2.deliveries_per_second.total_cmp(&b.2.deliveries_per_second))
    else {
        return Ok(());
    };
    findings.note_doubts(scenario, OURS, report::doubts(round));
    let reach = format!(
        "{} channels, one stream each, 128 B, {window} messages on their way",
        report::grouped(setup.fleet.channels().into())
    );
    let mut tell = |what: String, unit, ours| {
        let figure = Figure { scenario, what, unit, ours, other: None, ratio: None::<Ratio>, reach: reach.clone() };
        findings.add(figure);
    };
    tell("messages taken in and delivered".to_owned(), Unit::PerSecond, round.deliveries_per_second);
    for (name, cpu) in threads.iter().filter(|(_, cpu)| cpu.total_us() > 0) {
        // The main thread has the program's name and runs the control loop.
        let label = if name == "fantail" { "control loop" } else { name };
        tell(format!("CPU per message, {label}"), Unit::Micros, cpu.total_us() as f64 / round.published as f64);
    }
    Ok(())
}
