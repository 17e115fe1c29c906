//! Handshakes of TLS: how many a core does when all clients come at once, full ones and resumed ones.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;

use crate::compare::{Ratio, median};
use crate::fleet::{Fleet, Opening};
use crate::proc::{self, Cpu};
use crate::report;
use crate::suite::Bench;
use crate::suite::figure::{Figure, Findings, Of, Unit};
use crate::suite::server::{Places, Server};
use crate::suite::storm::AT_ONCE;
use crate::tls_options::KeyExchange;
use crate::workload::{ChannelLayout, OpeningOptions};

const ROUNDS: usize = 3;
/// A server is at rest when it used no CPU for so long; the kernel counts in steps of 10 ms.
const AT_REST: Duration = Duration::from_millis(300);
const REST_PATIENCE: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The figures of a storm.
const COLUMNS: [(&str, Unit, Of<Storm>); 3] = [
    ("streams opened by a second of server CPU", Unit::PerSecond, |storm| {
        f64::from(storm.opening.streams) / storm.cpu.total_us() as f64 * 1e6
    }),
    ("streams opened", Unit::PerSecond, |storm| storm.opening.per_second),
    ("time to head p99", Unit::Millis, |storm| storm.opening.time_to_head_us.p99 / 1e3),
];

/// All streams opened once, with what the server used for it.
#[derive(Debug, Clone, Serialize)]
struct Storm {
    opening: Opening,
    cpu: Cpu,
}

/// The storms of all rounds, in both ways to open a stream.
#[derive(Debug, Default, Serialize)]
struct Storms {
    full: Vec<Storm>,
    resumed: Vec<Storm>,
}

/// Storms of full and resumed handshakes on Fantail and on each peer, one server at a time.
pub(crate) fn play(
    bench: &Bench,
    scenario: &'static str,
    peers: &[&str],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let ours = storms(bench, scenario, &bench.places.fantail(&[])?)?;
    tell(bench, scenario, "", &ours, None, findings);
    let post_quantum = storms(bench, &format!("{scenario}-post-quantum"), &post_quantum(&bench.places)?)?;
    tell(bench, scenario, ", X25519MLKEM768", &post_quantum, None, findings);
    for peer in peers {
        match bench.places.other(peer).and_then(|server| storms(bench, scenario, &server)) {
            Ok(theirs) => tell(bench, scenario, "", &ours, Some((peer, &theirs)), findings),
            Err(error) => findings.remark(format!("{scenario}: {peer} was not measured: {error:#}")),
        }
    }
    Ok(())
}

/// Our own program for clients that offer what browsers do. Other servers may not know it, so they are measured without.
fn post_quantum(places: &Places) -> anyhow::Result<Server> {
    let mut places = places.clone();
    if let Some(encryption) = &mut places.encryption {
        encryption.key_exchange = KeyExchange::X25519MlKem768;
    }
    places.fantail(&[])
}

fn storms(bench: &Bench, name: &str, server: &Server) -> anyhow::Result<Storms> {
    let mut storms = Storms::default();
    for _ in 0..ROUNDS {
        play_round(bench, server, &mut storms)?;
    }
    bench.write_raw(&format!("{name}-{}", server.target.name), &storms)?;
    Ok(storms)
}

/// All streams open, are reset, and come back.
fn play_round(bench: &Bench, server: &Server, storms: &mut Storms) -> anyhow::Result<()> {
    let streams = bench.scale.streams;
    let options = OpeningOptions {
        connect_rate: AT_ONCE,
        workers: 3,
        keep_tickets: true,
        ..server.opening(ChannelLayout::Count(1))
    };
    let pids = &server.target.pids;
    wait_until_at_rest(pids)?;
    // New workers have no tickets, so their first handshakes are full ones.
    let mut fleet = Fleet::start(&server.target, &options, streams)?;
    let full = storm(pids, || fleet.open(streams))?;
    fleet.reset()?;
    wait_until_at_rest(pids)?;
    let resumed = storm(pids, || fleet.come_back())?;
    if server.target.tls().is_some() {
        let [first, second] = [full.opening.handshakes, resumed.opening.handshakes];
        ensure!(first.full == streams, "{} of {streams} first handshakes were full", first.full);
        ensure!(second.resumed == streams, "{} of {streams} second handshakes were resumed", second.resumed);
    }
    storms.full.push(full);
    storms.resumed.push(resumed);
    Ok(())
}

fn storm(pids: &[u32], open: impl FnOnce() -> anyhow::Result<Opening>) -> anyhow::Result<Storm> {
    let before = proc::cpu(pids)?;
    let opening = open()?;
    Ok(Storm { opening, cpu: proc::cpu(pids)?.since(before) })
}

/// Streams that were reset leave work behind, which belongs to no handshake.
pub(crate) fn wait_until_at_rest(pids: &[u32]) -> anyhow::Result<()> {
    let deadline = Instant::now() + REST_PATIENCE;
    let (mut used, mut since) = (proc::cpu(pids)?, Instant::now());
    while since.elapsed() < AT_REST && Instant::now() < deadline {
        std::thread::sleep(LOOK_INTERVAL);
        let now = proc::cpu(pids)?;
        if now != used {
            (used, since) = (now, Instant::now());
        }
    }
    Ok(())
}

fn tell(
    bench: &Bench,
    scenario: &'static str,
    label: &str,
    ours: &Storms,
    theirs: Option<(&str, &Storms)>,
    findings: &mut Findings,
) {
    let streams = report::grouped(bench.scale.streams.into());
    let reach = format!("{streams} streams, 3 workers with 512 unanswered each");
    let mut tell = |kind: &str, ours: &[Storm], theirs: Option<(&str, &[Storm])>| {
        for (what, unit, of) in COLUMNS {
            let values = |storms: &[Storm]| -> Vec<f64> { storms.iter().map(of).collect() };
            let ratio = |theirs| {
                let pairs = values(ours).into_iter().zip(values(theirs));
                Ratio::from_pairs(pairs.map(|(ours, theirs)| ours / theirs).collect())
            };
            findings.add(Figure {
                scenario,
                what: format!("{what}, {kind}{label}"),
                unit,
                ours: median(values(ours)),
                other: theirs.map(|(name, theirs)| (name.to_owned(), median(values(theirs)))),
                ratio: theirs.map(|(_, theirs)| ratio(theirs)),
                reach: reach.clone(),
            });
        }
    };
    tell("full handshakes", &ours.full, theirs.map(|(name, theirs)| (name, theirs.full.as_slice())));
    tell("resumed handshakes", &ours.resumed, theirs.map(|(name, theirs)| (name, theirs.resumed.as_slice())));
}
