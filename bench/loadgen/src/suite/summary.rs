//! Writes the findings: the setup, a summary and charts.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::Serialize;

use crate::report::{self, Setting};
use crate::suite::chart::{Bar, Panel, chart};
use crate::suite::figure::{Figure, Findings};
use crate::suite::idle::WHOLE;
use crate::suite::scenario::OURS;

/// The setup that a reader needs to judge the figures.
#[derive(Debug, Serialize)]
pub(crate) struct Setup {
    pub(crate) setting: Setting,
    pub(crate) commit: String,
    pub(crate) server_cpu: String,
    pub(crate) client_cpus: String,
    pub(crate) load_average: String,
    /// Peers with their versions, or with how they are installed.
    pub(crate) peers: Vec<(String, Result<String, String>)>,
    pub(crate) kernel_settings: Vec<(&'static str, String)>,
    pub(crate) quick: bool,
}

/// Settings of the kernel that move figures.
const KERNEL_SETTINGS: [&str; 6] = [
    "net/core/somaxconn",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_mem",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
];

impl Setup {
    pub(crate) fn read(
        server_cpu: &str,
        peers: Vec<(String, Result<String, String>)>,
        quick: bool,
    ) -> anyhow::Result<Self> {
        let told = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| error.to_string()).trim().to_owned();
        Ok(Self {
            setting: Setting::read()?,
            commit: commit(),
            server_cpu: server_cpu.to_owned(),
            client_cpus: crate::proc::allowed_cpus(std::process::id())?,
            load_average: told("/proc/loadavg"),
            peers,
            kernel_settings: KERNEL_SETTINGS.map(|name| (name, told(&format!("/proc/sys/{name}")))).into(),
            quick,
        })
    }
}

/// Writes everything into `folder`.
pub(crate) fn write(folder: &Path, setup: &Setup, findings: &Findings) -> anyhow::Result<()> {
    report::write_json(&folder.join("setup.json"), setup)?;
    report::write_json(&folder.join("findings.json"), findings)?;
    let path = folder.join("summary.md");
    fs::write(&path, text(setup, findings)).with_context(|| format!("cannot write {}", path.display()))?;
    for (name, panels) in charts(findings) {
        fs::write(folder.join(format!("{name}.svg")), chart(&panels))?;
    }
    Ok(())
}

fn text(setup: &Setup, findings: &Findings) -> String {
    let machine = &setup.setting.machine;
    let mut out = String::from("# Results\n\n");
    // Writing into a String cannot fail.
    let _ = writeln!(
        out,
        "{}, {} CPUs, Linux {}, commit {}. Servers on CPU {}, clients on {}. Load average before: {}.{}\n",
        machine.cpu_model,
        machine.cpus,
        machine.kernel_release,
        setup.commit,
        setup.server_cpu,
        setup.client_cpus,
        setup.load_average,
        if setup.quick { " A quick run: small and noisy." } else { "" },
    );
    out.push_str(
        "Ratios are ours over the other's, the median of pairs played in turn with the least and the most.\n\n",
    );
    out.push_str("| scenario | figure | ours | other | ratio | reach |\n|---|---|---|---|---|---|\n");
    for figure in &findings.figures {
        out.push_str(&figure.line());
        out.push('\n');
    }
    section(&mut out, "Failures", &findings.failures);
    section(&mut out, "Remarks", &findings.remarks);
    let peers = setup.peers.iter().map(|(name, found)| match found {
        Ok(version) => format!("{name}: {version}"),
        Err(how) => format!("{name} is missing; {how}"),
    });
    section(&mut out, "Peers", &peers.collect::<Vec<_>>());
    for (name, panels) in charts(findings) {
        let titles: Vec<_> = panels.iter().map(|panel| panel.title).collect();
        let _ = write!(out, "\n![{}]({name}.svg)\n", titles.join("; "));
    }
    out
}

fn section(out: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = write!(out, "\n## {title}\n\n");
    for line in lines {
        let _ = writeln!(out, "- {line}");
    }
}

/// The charts with values: an overview, one of latencies, and those of streams over TLS, of streams over HTTP/2 and of events for
/// one stream.
fn charts(findings: &Findings) -> Vec<(&'static str, Vec<Panel>)> {
    let ratios = |title, what| Panel { title, bars: ratio_bars(findings, what, &["steady-floor", "steady-peers"]) };
    let unicast = |title, short| {
        let what = format!("server CPU per event, {short}");
        Panel { title, bars: ratio_bars(findings, &what, &["unicast-http"]) }
    };
    let memory = Panel {
        title: "Memory of the whole server per idle stream",
        bars: value_bars(findings, WHOLE, "idle-one-channel"),
    };
    let encrypted = Panel {
        title: "Memory of the whole server per idle stream over TLS",
        bars: value_bars(findings, WHOLE, "tls-idle"),
    };
    let over_tls = |title, what| Panel { title, bars: ratio_bars(findings, what, &["tls-steady"]) };
    let all = [
        ("overview", vec![ratios("Server CPU per delivery, Fantail = 1", "server CPU per delivery"), memory]),
        (
            "latency",
            vec![
                ratios("Time until half of the streams have an event, Fantail = 1", "latency p50"),
                ratios("Time until 99 of 100 streams have an event, Fantail = 1", "latency p99"),
            ],
        ),
        ("tls", vec![over_tls("Server CPU per delivery over TLS, Fantail = 1", "server CPU per delivery"), encrypted]),
        (
            "http2",
            vec![
                Panel {
                    title: "Server CPU per delivery, 100 streams in each HTTP/2 connection, Fantail = 1",
                    bars: ratio_bars(findings, "server CPU per delivery", &["http2-tabs-peers"]),
                },
                Panel {
                    title: "Memory of the whole server per idle stream, 100 in each HTTP/2 connection",
                    bars: value_bars(findings, WHOLE, "http2-idle"),
                },
            ],
        ),
        (
            "unicast",
            vec![
                unicast("Server CPU per event for one stream, 1 connection, Fantail = 1", "1 connection"),
                unicast("Server CPU per event for one stream, 16 connections, Fantail = 1", "16 connections"),
            ],
        ),
    ];
    let shown = |(name, panels): (_, Vec<Panel>)| {
        let panels: Vec<_> = panels.into_iter().filter(|panel| panel.bars.len() > 1).collect();
        (!panels.is_empty()).then_some((name, panels))
    };
    all.into_iter().filter_map(shown).collect()
}

/// Each other's figure over ours, from the pairs: values of rounds that were not played in turn are not comparable.
fn ratio_bars(findings: &Findings, what: &str, scenarios: &[&str]) -> Vec<Bar> {
    let chosen = |figure: &&Figure| figure.what == what && scenarios.contains(&figure.scenario);
    let others = findings.figures.iter().filter(chosen).filter_map(|figure| {
        let value = 1.0 / figure.ratio.as_ref()?.median;
        Some(bar(&figure.other.as_ref()?.0, value, format!("{value:.2}")))
    });
    sorted(std::iter::once(bar(OURS, 1.0, "1".to_owned())).chain(others))
}

/// Our figure, which is the same in all lines of the scenario, and each other's.
fn value_bars(findings: &Findings, what: &str, scenario: &str) -> Vec<Bar> {
    let chosen = |figure: &&Figure| figure.what == what && figure.scenario == scenario;
    let figures: Vec<_> = findings.figures.iter().filter(chosen).collect();
    let ours = figures.first().map(|figure| bar(OURS, figure.ours, figure.unit.text(figure.ours)));
    let others = figures.iter().filter_map(|figure| {
        let (name, value) = figure.other.as_ref()?;
        Some(bar(name, *value, figure.unit.text(*value)))
    });
    sorted(ours.into_iter().chain(others))
}

fn bar(label: &str, value: f64, text: String) -> Bar {
    Bar { label: label.to_owned(), value, text, ours: label == OURS }
}

fn sorted(bars: impl Iterator<Item = Bar>) -> Vec<Bar> {
    let mut bars: Vec<_> = bars.collect();
    bars.sort_by(|a, b| a.value.total_cmp(&b.value));
    bars
}

fn commit() -> String {
    let asked = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = asked(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed = asked(&["status", "--porcelain"]).is_some_and(|status| !status.is_empty());
    if changed { format!("{commit} with changes") } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Ratio;
    use crate::suite::figure::Unit;

    fn figure(scenario: &'static str, what: &str, ours: f64, other: Option<(&str, f64)>, ratio: Option<f64>) -> Figure {
        Figure {
            scenario,
            what: what.to_owned(),
            unit: Unit::Bytes,
            ours,
            other: other.map(|(name, value)| (name.to_owned(), value)),
            ratio: ratio.map(|ratio| Ratio::from_pairs(vec![ratio])),
            reach: String::new(),
        }
    }

    #[test]
    fn overview_shows_ratios_of_pairs_and_never_values_of_different_times() {
        let cpu = "server CPU per delivery";
        let findings = Findings {
            figures: vec![
                figure("steady-floor", cpu, 6.0, Some(("floor", 5.0)), Some(1.25)),
                // The machine was slower by then, for both.
                figure("steady-peers", cpu, 9.0, Some(("nchan", 12.0)), Some(0.5)),
                figure("idle-one-channel", WHOLE, 1000.0, None, None),
                figure("idle-one-channel", WHOLE, 1000.0, Some(("nchan", 9000.0)), Some(0.1)),
            ],
            ..Findings::default()
        };
        let charts = charts(&findings);
        let told = |panel: &Panel| -> Vec<String> {
            panel.bars.iter().map(|bar| format!("{} {}", bar.label, bar.text)).collect()
        };
        let overview: Vec<_> = charts.iter().flat_map(|(_, panels)| panels.iter().map(told)).collect();
        assert_eq!(overview, [vec!["floor 0.80", "fantail 1", "nchan 2.00"], vec!["fantail 1000 B", "nchan 9000 B"]]);
    }
}
