//! Streams that stop reading, and the others of their connections. The same rounds are played in turn on two servers. On one of
//! them the first stream of each connection leaves its window shut.

use std::time::Duration;

use serde_json::json;

use crate::compare::play_pairs;
use crate::run;
use crate::suite::figure::{Figure, Findings, Unit};
use crate::suite::storm::{metric, tell_of_the_others};
use crate::suite::{Bench, publishing};
use crate::workload::{ChannelLayout, PublishOptions};

const ONE: ChannelLayout = ChannelLayout::Count(1);
/// A stuck stream is to stay, and its place in the log too.
const STUCK_FOR_LONG: [&str; 4] = ["--progress-deadline", "1h", "--log-events-max", "100000"];
/// Slow enough that a pass ends long before the next begins: latency is then that of one pass, and what delays it.
const EVENTS_PER_SECOND: f64 = 100.0;
const EVENTS: u64 = 500;
const PAYLOAD: u32 = 128;
/// Many short ones: other work of the machine then hits both servers alike.
const ROUNDS: u32 = 9;
const REST: Duration = Duration::from_millis(500);

pub(crate) fn play(bench: &Bench, scenario: &'static str, streams: u32, findings: &mut Findings) -> anyhow::Result<()> {
    let stuck = bench.places.fantail(&STUCK_FOR_LONG)?;
    let free = bench.places.second_fantail(&STUCK_FOR_LONG)?;
    let events = EVENTS / bench.scale.events_divisor;
    let rate = Some(EVENTS_PER_SECOND);
    let options = PublishOptions { rate, in_flight: None, ..publishing(events, PAYLOAD, 1) };
    let (mut setup, _) = run::set(&stuck.target, streams, &stuck.opening(ONE), &options)?;
    let (mut other, _) = run::set(&free.target, streams, &free.opening(ONE), &options)?;
    let connections = bench.places.http2.connections(streams);
    let stopped = setup.fleet.stop(streams / connections)?;
    // The windows of the stopped streams fill up in the first pair, which counts nowhere.
    let (with, without) =
        play_pairs((&mut setup, &options), (&mut other, &options), ROUNDS.min(bench.scale.rounds_most), REST)?;
    let [behind, behind_elsewhere] = [&stuck, &free].map(|server| metric(server, "fantail_streams_behind"));
    let (behind, behind_elsewhere) = (behind?, behind_elsewhere?);
    if behind < f64::from(stopped) {
        findings.remark(format!("{scenario}: {stopped} streams stopped, but {behind} were stuck at the end"));
    }
    bench.write_raw(
        scenario,
        &json!({
            "workload": options, "streams": streams, "stopped": stopped, "with": with, "without": without,
            "behind": [behind, behind_elsewhere],
        }),
    )?;
    let reach = format!(
        "{stopped} of {streams} streams stopped, one of each connection; {EVENTS_PER_SECOND:.0} events of {PAYLOAD} B a second"
    );
    tell_of_the_others(scenario, (&with, &without), &reach, findings);
    findings.add(Figure {
        scenario,
        what: "streams behind at the end of the events".to_owned(),
        unit: Unit::Count,
        ours: behind,
        other: Some(("none stopped".to_owned(), behind_elsewhere)),
        ratio: None,
        reach,
    });
    Ok(())
}
