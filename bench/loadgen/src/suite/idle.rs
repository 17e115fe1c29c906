//! The cost of idle streams: memory, and the CPU of keepalives.

use std::time::Duration;

use serde_json::json;

use crate::compare::Ratio;
use crate::fleet::Fleet;
use crate::proc;
use crate::report;
use crate::slope::{PerStream, Point, settle};
use crate::suite::Bench;
use crate::suite::figure::{Figure, Findings, Of, Unit};
use crate::suite::server::Server;
use crate::workload::ChannelLayout;

/// The three ways to state it, and memory that a server does not give back. A server may take memory for a short time
/// when many connect at once, and serve later streams from the rest of it. Then its slope is near nothing. Seen from
/// the empty server all of it counts, and in the whole server its program too.
pub(crate) const WHOLE: &str = "memory per idle stream, whole server";
const FROM_EMPTY: &str = "memory per idle stream, from empty";
const SLOPE: &str = "memory per idle stream, slope";
const KEPT: &str = "memory kept per stream after all have left";

/// Bytes per idle stream.
#[derive(Debug, Clone, Copy)]
struct Idle {
    whole: f64,
    from_empty: f64,
    slope: PerStream,
    kept: f64,
}

const SETTLE_PATIENCE: Duration = Duration::from_secs(15);
/// Handshakes that wait for their turn take memory for a moment, and later streams use it again. So they come no faster than every
/// server takes them.
const HANDSHAKES_PER_SECOND: u32 = 1_000;

/// The memory of one idle stream on Fantail and on each peer, one server at a time.
pub(crate) fn memory(
    bench: &Bench,
    scenario: &'static str,
    channels: ChannelLayout,
    counts: [u32; 2],
    peers: &[&str],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let ours = idle(bench, scenario, &bench.places.fantail(&[])?, channels, counts)?;
    let mut tell = |other: Option<(&str, Idle)>| {
        let [few, many] = counts;
        let columns: [(&str, Of<Idle>, String); 4] = [
            (WHOLE, |idle| idle.whole, format!("all RSS of the server over its {many} streams")),
            (FROM_EMPTY, |idle| idle.from_empty, format!("RSS with {many} streams over that of the empty server")),
            (SLOPE, |idle| idle.slope.rss, format!("RSS, slope from {few} to {many} streams")),
            (
                KEPT,
                |idle| idle.kept,
                format!("RSS over that of the empty server, after {many} streams were reset at once"),
            ),
        ];
        for (what, of, reach) in columns {
            findings.add(Figure {
                scenario,
                what: what.to_owned(),
                unit: Unit::Bytes,
                ours: of(&ours),
                other: other.map(|(name, idle)| (name.to_owned(), of(&idle))),
                // A slope near nothing, or below, has no meaningful ratio.
                ratio: other
                    .filter(|(_, idle)| of(&ours) > 0.0 && of(idle) > 0.0)
                    .map(|(_, idle)| Ratio::from_pairs(vec![of(&ours) / of(&idle)])),
                reach,
            });
        }
    };
    tell(None);
    let mut failed = Vec::new();
    for peer in peers {
        match bench.places.other(peer).and_then(|server| idle(bench, scenario, &server, channels, counts)) {
            Ok(theirs) => tell(Some((peer, theirs))),
            Err(error) => failed.push(format!("{scenario}: {peer} was not measured: {error:#}")),
        }
    }
    for text in failed {
        findings.remark(text);
    }
    Ok(())
}

fn idle(
    bench: &Bench,
    scenario: &str,
    server: &Server,
    channels: ChannelLayout,
    [few, many]: [u32; 2],
) -> anyhow::Result<Idle> {
    let mut opening = server.opening(channels);
    if server.target.tls().is_some() {
        opening.connect_rate = opening.connect_rate.min(HANDSHAKES_PER_SECOND);
    }
    let mut fleet = Fleet::start(&server.target, &opening, many)?;
    settle(&server.target.pids, SETTLE_PATIENCE)?;
    let empty = proc::memory(&server.target.pids)?;
    let mut point = |streams: u32| -> anyhow::Result<Point> {
        let opened = fleet.open(streams - fleet.streams())?;
        let settled = settle(&server.target.pids, SETTLE_PATIENCE)?;
        let memory = proc::memory(&server.target.pids)?;
        Ok(Point { streams, opening: opened, server: memory, kernel: proc::kernel()?, settled })
    };
    let (few, many) = (point(few)?, point(many)?);
    let whole = many.server.rss as f64 / f64::from(many.streams);
    let from_empty = (many.server.rss as f64 - empty.rss as f64) / f64::from(many.streams);
    let slope = PerStream::between(&few, &many);
    fleet.reset()?;
    settle(&server.target.pids, SETTLE_PATIENCE)?;
    let left = proc::memory(&server.target.pids)?;
    let kept = (left.rss as f64 - empty.rss as f64) / f64::from(many.streams);
    let name = format!("{scenario}-{}", server.target.name);
    let raw = json!({ "empty": empty, "few": few, "many": many, "left": left, "slope": slope, "from_empty": from_empty, "kept": kept });
    bench.write_raw(&name, &raw)?;
    Ok(Idle { whole, from_empty, slope, kept })
}

/// The CPU of keepalives alone, on Fantail and the floor at the same time, so that both see the same machine.
pub(crate) fn keepalive(bench: &Bench, scenario: &'static str, findings: &mut Findings) -> anyhow::Result<()> {
    let ours = bench.places.fantail(&["--keepalive-interval", "15s"])?;
    let floor = bench.places.floor(&["--keepalive", "15"])?;
    let servers = [&ours, &floor];
    let mut fleets = Vec::new();
    for server in servers {
        let mut fleet = Fleet::start(&server.target, &server.opening(ChannelLayout::Count(1)), bench.scale.streams)?;
        fleet.open(bench.scale.streams)?;
        fleets.push(fleet);
    }
    // The work that opening left is done by then, and the first sweep has begun.
    std::thread::sleep(Duration::from_secs(3));
    let read = || servers.map(|server| proc::cpu(&server.target.pids));
    let [ours_before, floor_before] = read();
    std::thread::sleep(Duration::from_secs(bench.scale.keepalive_seconds));
    let [ours_after, floor_after] = read();
    let (ours, floor) = (ours_after?.since(ours_before?), floor_after?.since(floor_before?));
    bench.write_raw(
        scenario,
        &json!({ "seconds": bench.scale.keepalive_seconds, "streams": bench.scale.streams, "ours": ours, "floor": floor }),
    )?;
    let percent = |micros: u64| micros as f64 / 1e4 / bench.scale.keepalive_seconds as f64;
    let (ours, floor) = (percent(ours.total_us()), percent(floor.total_us()));
    findings.add(Figure {
        scenario,
        what: "idle CPU, share of a core".to_owned(),
        unit: Unit::Percent,
        ours,
        other: Some(("floor".to_owned(), floor)),
        ratio: Some(Ratio::from_pairs(vec![ours / floor])),
        reach: format!(
            "{} streams, a keepalive each 15 s, over {} s",
            report::grouped(bench.scale.streams.into()),
            bench.scale.keepalive_seconds
        ),
    });
    Ok(())
}
