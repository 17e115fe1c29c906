//! Writes what was found: the setup, a summary to read and charts to look at.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::Serialize;

use crate::report::{self, Setting};
use crate::suite::chart::{Bar, chart};
use crate::suite::figure::{Figure, Findings, Unit};
use crate::suite::idle::WHOLE;

/// Everything a reader needs to judge the figures.
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
    for (name, title, bars) in charts(findings) {
        fs::write(folder.join(format!("{name}.svg")), chart(title, &bars))?;
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
    for (name, title, _) in charts(findings) {
        let _ = write!(out, "\n![{title}]({name}.svg)\n");
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

type Chart = (&'static str, &'static str, Vec<Bar>);

/// Charts that have something to show.
fn charts(findings: &Findings) -> Vec<Chart> {
    let of = |what: &str, scenarios: &[&str]| bars(findings, what, scenarios);
    let all = vec![
        (
            "cpu-per-delivery",
            "Server CPU per delivery",
            of("server CPU per delivery", &["steady-floor", "steady-peers"]),
        ),
        ("memory-per-stream", "Memory of the whole server per idle stream", of(WHOLE, &["idle-one-channel"])),
        (
            "latency-p50",
            "Time until a stream has an event, median",
            of("latency p50", &["steady-floor", "steady-peers"]),
        ),
        (
            "latency-p99",
            "Time until a stream has an event, 99 of 100",
            of("latency p99", &["steady-floor", "steady-peers"]),
        ),
    ];
    all.into_iter().filter(|(_, _, bars)| bars.len() > 1).collect()
}

/// Ours, as the median over all comparisons, and each other's.
fn bars(findings: &Findings, what: &str, scenarios: &[&str]) -> Vec<Bar> {
    let chosen =
        |figure: &&Figure| figure.what == what && scenarios.contains(&figure.scenario) && figure.other.is_some();
    let figures: Vec<_> = findings.figures.iter().filter(chosen).collect();
    let unit = figures.first().map_or(Unit::Count, |figure| figure.unit);
    let ours = crate::compare::median(figures.iter().map(|figure| figure.ours).collect());
    let bar = |label: &str, value: f64| Bar {
        label: label.to_owned(),
        value,
        text: unit.text(value),
        ours: label == "fantail",
    };
    let mut bars = vec![bar("fantail", ours)];
    bars.extend(figures.iter().filter_map(|figure| figure.other.as_ref()).map(|(name, value)| bar(name, *value)));
    bars.sort_by(|a, b| a.value.total_cmp(&b.value));
    if figures.is_empty() { Vec::new() } else { bars }
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
