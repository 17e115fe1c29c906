//! Many streams at once: connecting, new ones among the served, all coming back, and some that stop reading.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::clock::now_nanos;
use crate::compare::{Ratio, median, play_pairs};
use crate::fleet::{Fleet, Opening};
use crate::message::Handshakes;
use crate::proc;
use crate::progress::DeliveryProgress;
use crate::report;
use crate::round::{FaultCounts, RoundReport, payload};
use crate::run;
use crate::suite::figure::{Figure, Findings, Of, Unit};
use crate::suite::scenario::OURS;
use crate::suite::server::Server;
use crate::suite::{Bench, publishing};
use crate::workload::{ChannelLayout, OpeningOptions};

/// Faster than any server opens; the unanswered requests are the bound.
pub(crate) const AT_ONCE: u32 = 10_000_000;
const CONNECT_ROUNDS: usize = 3;
/// New streams beside the served ones, and how many come per second.
const NEWCOMERS: u32 = 500;
const NEWCOMERS_PER_SECOND: u32 = 250;
const ONE: ChannelLayout = ChannelLayout::Count(1);
/// One stream in so many stops reading.
const STOPPED_EVERY: u32 = 10;
/// How long a stopped stream stays: longer than all rounds together, and less than the 30 s after which the kernel
/// gives up a connection whose client takes nothing.
const STALLED_AFTER: Duration = Duration::from_secs(27);
const SLOW_ROUNDS: u32 = 4;
/// Long enough that the pauses before both servers' rounds are alike.
const SLOW_REST: Duration = Duration::from_millis(500);

/// Streams opened as fast as it goes; connections per second and time to the head.
pub(crate) fn connect(
    bench: &Bench,
    scenario: &'static str,
    peers: &[&str],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let opened = |server: &Server| -> anyhow::Result<Vec<Opening>> {
        let options = OpeningOptions { connect_rate: AT_ONCE, workers: 3, ..server.opening(ONE) };
        let rounds: Vec<_> = (0..CONNECT_ROUNDS)
            .map(|_| Fleet::start(&server.target, &options, bench.scale.streams)?.open(bench.scale.streams))
            .collect::<anyhow::Result<_>>()?;
        bench.write_raw(&format!("{scenario}-{}", server.target.name), &rounds)?;
        Ok(rounds)
    };
    let ours = opened(&bench.places.fantail(&[])?)?;
    for peer in peers {
        let theirs = match bench.places.other(peer).and_then(|server| opened(&server)) {
            Ok(theirs) => theirs,
            Err(error) => {
                findings.remark(format!("{scenario}: {peer} was not measured: {error:#}"));
                continue;
            }
        };
        let columns: [(&str, Unit, Of<Opening>); 3] = [
            ("streams opened", Unit::PerSecond, |round| round.per_second),
            ("time to head p50", Unit::Millis, |round| round.time_to_head_us.p50 / 1e3),
            ("time to head p99", Unit::Millis, |round| round.time_to_head_us.p99 / 1e3),
        ];
        for (what, unit, of) in columns {
            findings.add(Figure {
                scenario,
                what: what.to_owned(),
                unit,
                ours: median(ours.iter().map(of).collect()),
                other: Some(((*peer).to_owned(), median(theirs.iter().map(of).collect()))),
                ratio: Some(Ratio::from_pairs(ours.iter().zip(&theirs).map(|(a, b)| of(a) / of(b)).collect())),
                reach: format!(
                    "{} streams, 3 workers with 512 unanswered each",
                    report::grouped(bench.scale.streams.into())
                ),
            });
        }
    }
    Ok(())
}

/// The time to the head of new streams on a server that is idle and on the same server while it serves.
pub(crate) fn head_while_serving(
    bench: &Bench,
    scenario: &'static str,
    name: &str,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let server = if name == OURS { bench.places.fantail(&[])? } else { bench.places.other(name)? };
    let held = bench.scale.streams - 2 * NEWCOMERS;
    let events = 60 / bench.scale.events_divisor * u64::from(Bench::FULL_STREAMS / bench.scale.streams);
    let options = publishing(events, 128, 1);
    let (mut setup, _) = run::set(&server.target, held, &server.opening(ONE), &options)?;
    let newcomers = OpeningOptions { connect_rate: NEWCOMERS_PER_SECOND, ..server.opening(ONE) };
    let newcome = || Fleet::start(&server.target, &newcomers, NEWCOMERS)?.open(NEWCOMERS);
    let idle = newcome()?;
    let (serving, round) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let served = scope.spawn(|| setup.play(&options));
        std::thread::sleep(Duration::from_millis(300));
        let serving = newcome();
        let still_serving = !served.is_finished();
        let round = served.join().map_err(|_| anyhow::anyhow!("the serving thread panicked"))??;
        ensure!(still_serving, "the events ended before the newcomers were served; there must be more of them");
        Ok((serving?, round))
    })?;
    findings.note_faults(scenario, name, [round.faults]);
    bench.write_raw(&format!("{scenario}-{name}"), &json!({ "idle": idle, "serving": serving, "round": round }))?;
    for (what, of) in [("p50", 0), ("p99", 1)] {
        let at = |opening: &Opening| [opening.time_to_head_us.p50, opening.time_to_head_us.p99][of] / 1e3;
        findings.add(Figure {
            scenario,
            what: format!("{name}: time to head of a new stream while serving, {what}"),
            unit: Unit::Millis,
            ours: at(&serving),
            other: Some((format!("{name} idle"), at(&idle))),
            ratio: Some(Ratio::from_pairs(vec![at(&serving) / at(&idle)])),
            reach: format!("{NEWCOMERS} newcomers, {} streams served", report::grouped(held.into())),
        });
    }
    Ok(())
}

/// Resets all connections at once, publishes meanwhile, lets all come back.
pub(crate) fn come_back(
    bench: &Bench,
    scenario: &'static str,
    events_away: u64,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let server = bench.places.fantail(&[])?;
    let options = publishing(events_away, 128, 1);
    let opening = OpeningOptions {
        connect_rate: AT_ONCE,
        workers: 3,
        remember_ids: true,
        keep_tickets: true,
        ..server.opening(ONE)
    };
    let (mut setup, first) = run::set(&server.target, bench.scale.streams, &opening, &options)?;
    let before = setup.play(&publishing(5, 128, 1))?;
    let dropped = setup.fleet.reset()?;
    ensure!(dropped == bench.scale.streams, "only {dropped} streams were open before the reset");
    let from = setup.fleet.published();
    setup.fleet.expect(events_away)?;
    setup.publisher.publish((from..from + events_away).map(|event| payload(event, 1, now_nanos())))?;
    setup.publisher.confirm()?;
    let cpu_before = proc::cpu(&server.target.pids)?;
    let began = Instant::now();
    let back = setup.fleet.come_back()?;
    let progress = DeliveryProgress::new("catching up", 0);
    let complete = setup.fleet.wait(Instant::now() + Duration::from_secs(30), &progress)?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = proc::cpu(&server.target.pids)?.since(cpu_before);
    std::thread::sleep(Duration::from_millis(200));
    let sighting = setup.fleet.report()?;
    let faults = FaultCounts::of(&sighting.tally);
    let after = setup.play(&publishing(5, 128, 1))?;
    findings.note_faults(scenario, OURS, [before.faults, after.faults]);
    if faults.total() > 0 || !complete {
        findings.fail(format!("{scenario}: streams that came back saw {faults:?}, {} gaps", sighting.tally.gaps));
    }
    bench.write_raw(
        scenario,
        &json!({
            "first_opening": first, "back": back, "seconds_until_all_have_all": seconds, "server_cpu": cpu,
            "events_away": events_away, "deliveries": sighting.tally.deliveries, "faults": faults,
        }),
    )?;
    let reach = format!(
        "{} streams reset at once, {events_away} events missed each, all delivered: {}",
        report::grouped(dropped.into()),
        if complete { "yes" } else { "no" }
    );
    let mut tell = |what: &str, unit, ours, other: Option<(String, f64)>| {
        let comparable = other.as_ref().filter(|(_, value)| *value > 0.0);
        let ratio = comparable.map(|(_, value)| Ratio::from_pairs(vec![ours / value]));
        findings.add(Figure { scenario, what: what.to_owned(), unit, ours, other, ratio, reach: reach.clone() });
    };
    tell("time until every stream has everything", Unit::Seconds, seconds, None);
    let first = ("first connect".to_owned(), first.per_second);
    tell("streams resumed", Unit::PerSecond, back.per_second, Some(first));
    tell("time to head p99", Unit::Millis, back.time_to_head_us.p99 / 1e3, None);
    tell("server CPU per resumed stream", Unit::Micros, cpu.total_us() as f64 / f64::from(dropped), None);
    if server.target.tls().is_some() {
        let Handshakes { full, resumed } = back.handshakes;
        tell("handshakes resumed", Unit::Count, resumed.into(), Some(("full".to_owned(), full.into())));
    }
    tell("events lost, doubled or swapped", Unit::Count, faults.total() as f64, None);
    Ok(())
}

/// The cost of streams that stop reading, for the others and for the server. The same rounds are played in turn on two
/// servers, one of which has one stream in ten stopped, so that a change of the machine hits both alike. Then, the end
/// of the stopped ones.
pub(crate) fn slow(
    bench: &Bench,
    scenario: &'static str,
    payload: u32,
    events: u64,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let deadline = format!("{}s", STALLED_AFTER.as_secs());
    let slow = bench.places.fantail(&["--progress-deadline", &deadline])?;
    let plain = bench.places.second_fantail(&[])?;
    let options = publishing(events, payload, 1);
    let (mut setup, _) = run::set(&slow.target, bench.scale.streams, &slow.opening(ONE), &options)?;
    let (mut other, _) = run::set(&plain.target, bench.scale.streams, &plain.opening(ONE), &options)?;
    // Once to warm up; its cost belongs to no stopped stream.
    findings.note_faults(scenario, OURS, [setup.play(&options)?.faults, other.play(&options)?.faults]);
    // Both logs grow alike meanwhile: the difference in growth belongs to the stopped streams.
    let servers = [&slow, &plain];
    let read = || -> anyhow::Result<_> {
        let [slow, plain] = servers.map(|server| proc::memory(&server.target.pids));
        Ok((slow?, plain?, proc::kernel()?))
    };
    let before = read()?;
    let stopped = setup.fleet.stop(STOPPED_EVERY)?;
    findings.note_faults(scenario, OURS, [setup.play(&options)?.faults, other.play(&options)?.faults]);
    let after = read()?;
    let rounds = bench.scale.rounds_most.min(SLOW_ROUNDS);
    let (with, without) = play_pairs((&mut setup, &options), (&mut other, &options), rounds, SLOW_REST)?;
    let behind = metric(&slow, "fantail_streams_behind")?;
    if behind < f64::from(stopped) {
        findings.remark(format!("{scenario}: {stopped} streams stopped, but {behind} were left after the last round"));
    }
    let ended = wait_until_ended(&slow, stopped)?;
    bench.write_raw(
        scenario,
        &json!({
            "without": without, "with": with, "stopped": stopped, "behind": behind, "ended": ended,
            "memory_before": [before.0, before.1], "memory_after": [after.0, after.1], "kernel": [before.2, after.2],
        }),
    )?;
    let reach = format!("{stopped} of {} streams stopped, {events} events of {payload} B a round", bench.scale.streams);
    tell_of_the_others(scenario, (&with, &without), &reach, findings);
    let mut tell = |what: String, unit, ours| {
        findings.add(Figure { scenario, what, unit, ours, other: None, ratio: None, reach: reach.clone() });
    };
    let grown = |after: u64, before: u64| after as f64 - before as f64;
    let own = grown(after.0.rss, before.0.rss) - grown(after.1.rss, before.1.rss);
    tell("RSS per stopped stream".to_owned(), Unit::Bytes, own / f64::from(stopped));
    let kernel = grown(after.2.tcp, before.2.tcp) / f64::from(stopped);
    tell("kernel TCP buffers per stopped stream, both ends".to_owned(), Unit::Bytes, kernel);
    tell("streams behind at the end of the events".to_owned(), Unit::Count, behind);
    for (reason, count) in ended {
        tell(format!("ended as {reason}, progress_deadline {deadline}"), Unit::Count, count);
    }
    Ok(())
}

/// The streams that read on, in rounds in which others have stopped and in their pairs in which none has. The first pair counts nowhere:
/// the stopped ones fill up in it.
pub(crate) fn tell_of_the_others(
    scenario: &'static str,
    (with, without): (&[RoundReport], &[RoundReport]),
    reach: &str,
    findings: &mut Findings,
) {
    for rounds in [with, without] {
        findings.note_faults(scenario, OURS, rounds.iter().map(|round| round.faults));
        findings.note_doubts(scenario, OURS, rounds[1..].iter().flat_map(report::doubts));
    }
    let columns: [(&str, Unit, Of<RoundReport>); 3] = [
        ("latency p50 of the others", Unit::Millis, |round| round.latency_us.p50 / 1e3),
        ("latency p99 of the others", Unit::Millis, |round| round.latency_us.p99 / 1e3),
        ("server CPU per delivery", Unit::Micros, |round| {
            round.server.map_or(f64::NAN, |server| server.cpu_us_per_delivery)
        }),
    ];
    for (what, unit, of) in columns {
        let middle = |rounds: &[RoundReport]| median(rounds[1..].iter().map(of).collect());
        findings.add(Figure {
            scenario,
            what: what.to_owned(),
            unit,
            ours: middle(with),
            other: Some(("none stopped".to_owned(), middle(without))),
            ratio: Some(Ratio::from_pairs(with[1..].iter().zip(&without[1..]).map(|(a, b)| of(a) / of(b)).collect())),
            reach: reach.to_owned(),
        });
    }
}

/// The reasons of the streams' ends, once so many have ended.
fn wait_until_ended(server: &Server, streams: u32) -> anyhow::Result<Vec<(String, f64)>> {
    let deadline = Instant::now() + 2 * STALLED_AFTER;
    loop {
        let ended = ended_by_reason(server)?;
        let all: f64 = ended.iter().map(|(_, count)| count).sum();
        if all >= f64::from(streams) || Instant::now() > deadline {
            return Ok(ended);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn ended_by_reason(server: &Server) -> anyhow::Result<Vec<(String, f64)>> {
    let text = metrics(server)?;
    let rows = text.lines().filter_map(|line| {
        let (reason, value) = line.strip_prefix("fantail_streams_closed_total{reason=\"")?.split_once("\"}")?;
        Some((reason.to_owned(), value.trim().parse().ok()?))
    });
    Ok(rows.filter(|(_, count)| *count > 0.0).collect())
}

/// One figure of Fantail's metrics.
pub(crate) fn metric(server: &Server, name: &str) -> anyhow::Result<f64> {
    let text = metrics(server)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    value.with_context(|| format!("the server tells no {name}"))
}

fn metrics(server: &Server) -> anyhow::Result<String> {
    let publish = &server.target.publish;
    let mut socket = TcpStream::connect(publish.address).context("cannot ask for metrics")?;
    write!(socket, "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", publish.host)?;
    crate::answer::read_whole(&mut BufReader::new(socket)).context("metrics are not understood")
}
