//! `suite`: plays the scenarios on Fantail, the floor and the peers at hand, and writes the results. A peer that is
//! missing or fails is reported and left out; a promise that Fantail breaks fails the suite.

mod chart;
mod encryption;
mod figure;
mod handshakes;
mod idle;
mod owncloud;
mod pairs;
mod redis;
mod scenario;
pub(crate) mod server;
mod serving;
mod storm;
mod stuck_tab;
mod summary;
mod unicast;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use fantail_testkit::Certificates;
use serde::Serialize;

use crate::http2_options::Http2Options;
use crate::report;
use crate::run_verdict::RunVerdict;
use crate::suite::encryption::Encryption;
use crate::suite::figure::Findings;
use crate::suite::scenario::{FLOOR, OURS, PLAIN, Play, SCENARIOS, Scale, Scenario, Transport};
use crate::suite::server::Places;
use crate::suite::summary::Setup;
use crate::tls_options::KeyExchange;
use crate::workload::PublishOptions;

/// Options of `suite`.
#[derive(Debug, Args)]
pub(crate) struct SuiteOptions {
    /// Scenarios to play, by name or by the beginning of it; all if none is named
    scenarios: Vec<String>,

    /// Where results go
    #[arg(long, value_name = "FOLDER")]
    results: PathBuf,

    /// The folder with the release programs
    #[arg(long, value_name = "FOLDER", default_value = "target/release")]
    programs: PathBuf,

    /// The folder with a folder per peer
    #[arg(long, value_name = "FOLDER", default_value = "bench/peers")]
    peers: PathBuf,

    /// The CPU that servers are bound to; clients run where this program may run
    #[arg(long, value_name = "CPU", default_value = "0")]
    server_cpu: String,

    /// Fewer streams and rounds: a look, not a measurement
    #[arg(long)]
    quick: bool,
}

/// The parts that every scenario needs.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    pub(crate) places: Places,
    pub(crate) scale: Scale,
    raw: PathBuf,
    /// One certificate for all servers, ECDSA with P-256.
    certificates: Arc<Certificates>,
    /// Peers that can be played against.
    present: Vec<String>,
}

/// Plays the scenarios and writes the results after each, so that an end in the middle loses little.
pub(crate) fn suite(options: &SuiteOptions) -> anyhow::Result<RunVerdict> {
    let chosen = choose(&options.scenarios)?;
    let absolute = |path: &PathBuf| path.canonicalize().with_context(|| format!("there is no {}", path.display()));
    let places = Places {
        programs: absolute(&options.programs)?,
        peers: absolute(&options.peers)?,
        server_cpu: options.server_cpu.clone(),
        encryption: None,
        http2: Http2Options::HTTP1,
    };
    let peers = places.check_peers()?;
    let raw = options.results.join("raw");
    fs::create_dir_all(&raw).with_context(|| format!("cannot make {}", raw.display()))?;
    let mut findings = Findings::default();
    for (name, found) in &peers {
        if let Err(how) = found {
            findings.remark(format!("{name} is missing; {how}"));
        }
    }
    let mut present: Vec<_> = peers.iter().filter(|(_, found)| found.is_ok()).map(|(name, _)| name.clone()).collect();
    present.extend([FLOOR, PLAIN].map(str::to_owned));
    let setup = Setup::read(&options.server_cpu, peers, options.quick)?;
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    let bench = Bench { places, scale, raw, certificates: Arc::new(Certificates::make()?), present };
    let began = Instant::now();
    for scenario in chosen {
        println!("\n{}: {} ({:.0} s in)", scenario.name, scenario.question, began.elapsed().as_secs_f64());
        if let Err(error) = bench.over(scenario.over).play(scenario, &mut findings) {
            findings.fail(format!("{} did not run: {error:#}", scenario.name));
        }
        summary::write(&options.results, &setup, &findings)?;
    }
    println!("\nresults are in {}", options.results.display());
    let faults = findings.failures.len() as u64;
    Ok(if faults == 0 { RunVerdict::Kept } else { RunVerdict::Failed { scenarios: faults } })
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    for name in names {
        let known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        ensure!(
            known.iter().any(|known| known.starts_with(name)),
            "there is no scenario {name}, only {}",
            known.join(", ")
        );
    }
    let wanted = |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| scenario.name.starts_with(name));
    Ok(SCENARIOS.iter().filter(wanted).collect())
}

impl Bench {
    /// The streams of a full run, to which counts of events are tuned.
    pub(crate) const FULL_STREAMS: u32 = Scale::FULL.streams;

    pub(crate) fn write_raw(&self, name: &str, data: &impl Serialize) -> anyhow::Result<()> {
        report::write_json(&self.raw.join(format!("{name}.json")), data)
    }

    /// The same with streams over these protocols.
    fn over(&self, transport: Transport) -> Self {
        let Transport { tls, http2 } = transport;
        let encryption = tls.map(|version| Encryption {
            certificates: Arc::clone(&self.certificates),
            version,
            key_exchange: KeyExchange::X25519,
        });
        Self { places: Places { encryption, http2, ..self.places.clone() }, ..self.clone() }
    }

    fn play(&self, scenario: &Scenario, findings: &mut Findings) -> anyhow::Result<()> {
        let name = scenario.name;
        match scenario.play {
            Play::Memory { channels, counts, peers } => {
                let counts = counts.unwrap_or([self.scale.streams_few, self.scale.streams]);
                idle::memory(self, name, channels, counts, &self.there(peers), findings)
            }
            Play::Keepalive => idle::keepalive(self, name, findings),
            Play::Pairs { streams, loads, against } => {
                let streams = streams.unwrap_or(self.scale.streams);
                each(name, &self.there(against), findings, |other, findings| {
                    pairs::play(self, name, streams, loads, other, findings)
                });
                Ok(())
            }
            Play::Connect { peers } => storm::connect(self, name, &self.there(peers), findings),
            Play::Handshakes { peers } => handshakes::play(self, name, &self.there(peers), findings),
            Play::ServingWhileHandshaking { peers } => {
                serving::while_handshaking(self, name, OURS, findings)?;
                each(name, &self.there(peers), findings, |other, findings| {
                    serving::while_handshaking(self, name, other, findings)
                });
                Ok(())
            }
            Play::HeadWhileServing { peers } => {
                storm::head_while_serving(self, name, OURS, findings)?;
                each(name, &self.there(peers), findings, |other, findings| {
                    storm::head_while_serving(self, name, other, findings)
                });
                Ok(())
            }
            Play::Return { events_away } => storm::come_back(self, name, events_away, findings),
            Play::Slow { payload, events } => storm::slow(self, name, payload, events, findings),
            Play::StuckTab { streams } => stuck_tab::play(self, name, streams, findings),
            Play::OwnCloud => owncloud::play(self, name, findings),
            Play::Redis { channels } => redis::play(self, name, channels, findings),
            Play::Unicast { streams, loads, against } => {
                each(name, &self.there(against), findings, |other, findings| {
                    unicast::play(self, name, streams, loads, other, findings)
                });
                Ok(())
            }
            Play::UnicastWays { streams, loads, other } => unicast::ways(self, name, streams, loads, other, findings),
            Play::UnicastCurve { peers } => unicast::curve(self, name, &self.there(peers), findings),
        }
    }

    /// The installed ones, and no more than a quick run has time for.
    fn there<'a>(&self, peers: &[&'a str]) -> Vec<&'a str> {
        let present = |peer: &&str| self.present.iter().any(|present| present == peer);
        peers.iter().copied().filter(present).take(self.scale.peers_most).collect()
    }
}

/// A peer that fails is reported; the others go on. Without the floor there is no figure.
fn each(
    scenario: &str,
    others: &[&str],
    findings: &mut Findings,
    play: impl Fn(&str, &mut Findings) -> anyhow::Result<()>,
) {
    for other in others {
        if let Err(error) = play(other, findings) {
            let text = format!("{scenario}: not measured against {other}: {error:#}");
            if *other == FLOOR { findings.fail(text) } else { findings.remark(text) }
        }
    }
}

pub(crate) fn publishing(events: u64, payload: u32, in_flight: u64) -> PublishOptions {
    PublishOptions { events, payload, rate: None, in_flight: Some(in_flight), deadline: 30, publish_connections: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_the_beginning_of_their_name() {
        let names = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            choose(&words).map(|chosen| chosen.iter().map(|scenario| scenario.name).collect::<Vec<_>>())
        };
        assert!(names(&[]).is_ok_and(|all| all.len() == SCENARIOS.len()));
        assert!(names(&["steady"]).is_ok_and(|two| two == ["steady-floor", "steady-peers"]));
        assert!(names(&["idel"]).is_err());
    }
}
