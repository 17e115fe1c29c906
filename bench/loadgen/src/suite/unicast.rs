//! Every event for one stream: the same rounds on Fantail and another server in turn, and latency over load.

use std::time::Duration;

use fantail_testkit::OWNCLOUD_STREAM;
use serde_json::json;

use crate::compare::{Ratio, median};
use crate::report;
use crate::suite::figure::{Figure, Findings, Of, Unit};
use crate::suite::scenario::{FLOOR, OURS, UnicastLoad, UnicastWay};
use crate::suite::server::{NATS_PORT, Server};
use crate::suite::{Bench, owncloud};
use crate::target::ServerUnderTest;
use crate::unicast::pace::{LoadOptions, WaitFor};
use crate::unicast::round::UnicastRound;
use crate::unicast::{UnicastCrowd, UnicastSetup};

const REST: Duration = Duration::from_secs(1);
const PAYLOAD: u32 = 128;
/// The percentages of the capacity at which latency is measured.
const PERCENTS: [f64; 4] = [10.0, 50.0, 90.0, 110.0];
/// Connections of the curve: enough that each mostly finds one free.
const CURVE_CONNECTIONS: u32 = 16;
/// Redis servers of the two sides. Each has its own, since the floor follows all channels of its.
const REDIS_PORTS: [u16; 2] = [18_260, 18_261];

/// A server with its open streams, and the Redis or NATS that feeds it.
struct Side {
    name: String,
    setup: UnicastSetup,
    // Ended in this order.
    _server: Server,
    _broker: Option<Server>,
}

/// Plays `loads` on Fantail and on one other server in turn.
pub(crate) fn play(
    bench: &Bench,
    scenario: &'static str,
    streams: Option<u32>,
    loads: &[UnicastLoad],
    other: &str,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let Some(first) = loads.first() else { return Ok(()) };
    let streams = streams.unwrap_or(bench.scale.streams / 2);
    let mut ours = Side::start(bench, OURS, first.way, streams)?;
    let mut theirs = Side::start(bench, other, first.way, streams)?;
    for (number, load) in loads.iter().enumerate() {
        let options = options(load, bench.scale.unicast_seconds);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for round in 0..bench.scale.unicast_rounds {
            // The first of a pair changes, so that neither always profits from a warm or suffers from a busy machine.
            if round % 2 == 0 {
                a.push(ours.play(&options)?);
                b.push(theirs.play(&options)?);
            } else {
                b.push(theirs.play(&options)?);
                a.push(ours.play(&options)?);
            }
        }
        let raw = json!({ "load": load.label, "workload": options, "streams": streams, "ours": a, "other": b });
        bench.write_raw(&format!("{scenario}-{other}-{number}"), &raw)?;
        for (name, rounds) in [(OURS, &a), (other, &b)] {
            findings.note_faults(scenario, name, rounds.iter().map(|round| round.faults));
            findings.note_doubts(scenario, name, rounds.iter().flat_map(UnicastRound::doubts));
        }
        tell(scenario, streams, load, other, (&a, &b), findings);
    }
    Ok(())
}

/// Plays `loads` on Fantail in turn by their own way and by the other one. There are as many streams as one process may hold,
/// so each way has its turn alone, with streams that are opened for it.
pub(crate) fn ways(
    bench: &Bench,
    scenario: &'static str,
    streams: u32,
    loads: &[UnicastLoad],
    other: UnicastWay,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let Some(first) = loads.first() else { return Ok(()) };
    let (mut ours, mut theirs) = (vec![Vec::new(); loads.len()], vec![Vec::new(); loads.len()]);
    let turn = |way: UnicastWay, rounds: &mut [Vec<UnicastRound>]| -> anyhow::Result<()> {
        let mut side = Side::start(bench, OURS, way, streams)?;
        way.label().clone_into(&mut side.name);
        for (load, rounds) in loads.iter().zip(rounds) {
            let load = UnicastLoad { way, ..*load };
            rounds.push(side.play(&options(&load, bench.scale.unicast_seconds))?);
        }
        Ok(())
    };
    for number in 0..bench.scale.unicast_rounds {
        // The first of a pair changes, so that neither always profits from a warm or suffers from a busy machine.
        if number % 2 == 0 {
            turn(first.way, &mut ours)?;
            turn(other, &mut theirs)?;
        } else {
            turn(other, &mut theirs)?;
            turn(first.way, &mut ours)?;
        }
    }
    for (number, load) in loads.iter().enumerate() {
        let (a, b) = (&ours[number], &theirs[number]);
        let workload = options(load, bench.scale.unicast_seconds);
        let raw = json!({ "load": load.label, "workload": workload, "streams": streams, "ours": a, "other": b });
        bench.write_raw(&format!("{scenario}-{number}"), &raw)?;
        findings.note_faults(scenario, OURS, a.iter().chain(b).map(|round| round.faults));
        findings.note_doubts(scenario, OURS, a.iter().chain(b).flat_map(UnicastRound::doubts));
        tell(scenario, streams, load, other.label(), (a, b), findings);
    }
    Ok(())
}

/// Latency at shares of the rate that a closed loop reaches, each server at shares of its own.
pub(crate) fn curve(
    bench: &Bench,
    scenario: &'static str,
    peers: &[&str],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let ours = measure_curve(bench, scenario, OURS, findings)?;
    if peers.is_empty() {
        tell_curve(scenario, &ours, None, findings);
    }
    for peer in peers {
        match measure_curve(bench, scenario, peer, findings) {
            Ok(theirs) => tell_curve(scenario, &ours, Some((peer, &theirs)), findings),
            Err(error) => findings.remark(format!("{scenario}: {peer} was not measured: {error:#}")),
        }
    }
    Ok(())
}

impl Side {
    fn start(bench: &Bench, name: &str, way: UnicastWay, streams: u32) -> anyhow::Result<Self> {
        let port = REDIS_PORTS[usize::from(name == FLOOR)];
        let broker = match way {
            UnicastWay::Http { .. } => None,
            UnicastWay::Redis { .. } => Some(Server::redis_at(port)?),
            UnicastWay::OwnCloud { .. } => Some(owncloud::nats()?),
        };
        let (redis, nats) = (format!("redis://127.0.0.1:{port}"), format!("nats://127.0.0.1:{NATS_PORT}"));
        let server = match (name, way) {
            (OURS, UnicastWay::Http { .. }) => bench.places.fantail(&[])?,
            (OURS, UnicastWay::Redis { .. }) => bench.places.fantail(&["--redis-url", &redis])?,
            (OURS, UnicastWay::OwnCloud { .. }) => owncloud::node(bench, &nats)?,
            (FLOOR, UnicastWay::Redis { .. }) => bench.places.floor(&["--redis", &format!("127.0.0.1:{port}")])?,
            (other, _) => bench.places.other(other)?,
        };
        let publish = match way {
            UnicastWay::OwnCloud { .. } => format!("{nats}/{OWNCLOUD_STREAM}").parse()?,
            _ => broker.as_ref().unwrap_or(&server).target.publish.clone(),
        };
        let target = ServerUnderTest { publish, ..server.target.clone() };
        let opening = server.opening(crate::workload::ChannelLayout::PerStream);
        let crowd = UnicastCrowd {
            streams,
            connect_rate: opening.connect_rate,
            source_addresses: opening.source_addresses,
            open_deadline: opening.open_deadline,
        };
        let (setup, _) = UnicastSetup::open(&target, &crowd)?;
        Ok(Self { name: name.to_owned(), setup, _server: server, _broker: broker })
    }

    fn play(&mut self, options: &LoadOptions) -> anyhow::Result<UnicastRound> {
        std::thread::sleep(REST);
        let round = self.setup.play(options)?;
        let cpu = cpu_us(&round);
        println!("{:<12} {:>8.0} events/s  {cpu:>7.2} us of CPU each", self.name, round.measured.events_per_second);
        Ok(round)
    }
}

impl UnicastWay {
    /// A name for the server that events reach by it.
    fn label(self) -> &'static str {
        match self {
            Self::Http { .. } => "over HTTP",
            Self::Redis { .. } => "over Redis",
            Self::OwnCloud { .. } => "over NATS",
        }
    }
}

fn options(load: &UnicastLoad, seconds: f64) -> LoadOptions {
    let (publish_connections, in_flight) = match load.way {
        UnicastWay::Http { connections } => (connections, 1),
        UnicastWay::Redis { in_flight } | UnicastWay::OwnCloud { in_flight } => (1, in_flight),
    };
    LoadOptions {
        events: None,
        // A given pace needs more time: it makes fewer events, and their tail is the question.
        seconds: Some(if load.per_second.is_some() { seconds * 2.0 } else { seconds }),
        warm_up: None,
        payload: PAYLOAD,
        publish_connections,
        wait_for: WaitFor::Answer,
        in_flight,
        rate: load.per_second,
        deadline: 30,
    }
}

fn tell(
    scenario: &'static str,
    streams: u32,
    load: &UnicastLoad,
    other: &str,
    (a, b): (&[UnicastRound], &[UnicastRound]),
    findings: &mut Findings,
) {
    let streams = match streams {
        1 => "one stream".to_owned(),
        _ => format!("{} streams with own channels", report::grouped(streams.into())),
    };
    let reach = format!("{}; {streams}, {PAYLOAD} B", load.label);
    let columns: [(&str, Unit, Of<UnicastRound>); 5] = [
        ("server CPU per event", Unit::Micros, cpu_us),
        ("events per second", Unit::PerSecond, |round| round.measured.events_per_second),
        ("latency p50", Unit::Micros, |round| round.latency_us.p50),
        ("latency p99", Unit::Micros, |round| round.latency_us.p99),
        ("times that the server slept, per 1,000 events", Unit::Count, |round| {
            round.measured.server.as_ref().map_or(f64::NAN, |server| server.voluntary_switches_per_event * 1e3)
        }),
    ];
    for (what, unit, of) in columns {
        // A given rate is reached, or the round is in doubt.
        if load.per_second.is_some() && what == "events per second" {
            continue;
        }
        let middle = |rounds: &[UnicastRound]| median(rounds.iter().map(of).collect());
        let ratios: Vec<_> = a.iter().zip(b).map(|(a, b)| of(a) / of(b)).collect();
        findings.add(Figure {
            scenario,
            what: format!("{what}, {}", load.short),
            unit,
            ours: middle(a),
            other: Some((other.to_owned(), middle(b))),
            ratio: ratios.iter().all(|ratio| ratio.is_finite()).then(|| Ratio::from_pairs(ratios)),
            reach: reach.clone(),
        });
    }
}

fn cpu_us(round: &UnicastRound) -> f64 {
    round.measured.server.as_ref().map_or(f64::NAN, |server| server.cpu_us_per_event)
}

/// The capacity of a server, and its rounds under load.
struct Curve {
    per_second: f64,
    rounds: Vec<UnicastRound>,
}

fn measure_curve(bench: &Bench, scenario: &str, name: &str, findings: &mut Findings) -> anyhow::Result<Curve> {
    let way = UnicastWay::Http { connections: CURVE_CONNECTIONS };
    let mut side = Side::start(bench, name, way, bench.scale.streams / 2)?;
    let load = UnicastLoad { label: "", short: "", way, per_second: None };
    let closed = options(&load, bench.scale.unicast_seconds);
    let capacity = (0..bench.scale.unicast_rounds).map(|_| side.play(&closed)).collect::<anyhow::Result<Vec<_>>>()?;
    // The best: other work of the machine makes a server slower, never faster.
    let per_second = capacity.iter().map(|round| round.measured.events_per_second).fold(0.0, f64::max);
    let mut rounds = Vec::new();
    for percent in PERCENTS {
        let open = UnicastLoad { per_second: Some(per_second * percent / 100.0), ..load };
        rounds.push(side.play(&options(&open, bench.scale.unicast_seconds))?);
    }
    let raw = json!({ "capacity": capacity, "percents": PERCENTS, "rounds": rounds });
    bench.write_raw(&format!("{scenario}-{name}"), &raw)?;
    findings.note_faults(scenario, name, capacity.iter().chain(&rounds).map(|round| round.faults));
    // Beyond its capacity nobody keeps up, so the doubts of the last round are no news.
    let within = capacity.iter().chain(&rounds[..PERCENTS.len() - 1]);
    findings.note_doubts(scenario, name, within.flat_map(UnicastRound::doubts));
    Ok(Curve { per_second, rounds })
}

fn tell_curve(scenario: &'static str, ours: &Curve, theirs: Option<(&&str, &Curve)>, findings: &mut Findings) {
    let columns: [(&str, Of<UnicastRound>); 3] = [
        ("latency p50", |round| round.latency_us.p50 / 1e3),
        ("latency p99", |round| round.latency_us.p99 / 1e3),
        ("latency p99.9", |round| round.latency_us.p999 / 1e3),
    ];
    for (number, percent) in PERCENTS.iter().enumerate() {
        for (what, of) in columns {
            let rates = theirs.map_or_else(String::new, |(name, curve)| format!(", {name} {:.0}/s", curve.per_second));
            findings.add(Figure {
                scenario,
                what: format!("{what} at {percent:.0} % of the capacity"),
                unit: Unit::Millis,
                ours: of(&ours.rounds[number]),
                other: theirs.map(|(name, curve)| ((*name).to_owned(), of(&curve.rounds[number]))),
                ratio: None,
                reach: format!(
                    "open loop over {CURVE_CONNECTIONS} connections; capacity in a closed loop {:.0}/s{rates}",
                    ours.per_second
                ),
            });
        }
    }
}
