//! The outcome for people and for programs: an aligned table on standard output, the same and more as JSON in a file.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::fleet::Opening;
use crate::latency::Percentiles;
use crate::message::Handshakes;
use crate::proc::{Kernel, Machine};
use crate::round::{FaultCounts, RoundReport, ServerUse};
use crate::target::ServerUnderTest;
use crate::workload::{OpeningOptions, Pace, PublishOptions};

/// The workload, resolved, as it stands in every JSON file.
#[derive(Debug, Serialize)]
pub(crate) struct Workload {
    pub(crate) streams: u32,
    pub(crate) channels: u32,
    pub(crate) opening: OpeningOptions,
    pub(crate) publishing: Option<PublishOptions>,
    pub(crate) pace: Option<Pace>,
}

/// A server and the CPUs that it may run on.
#[derive(Debug, Serialize)]
pub(crate) struct Subject {
    pub(crate) target: ServerUnderTest,
    pub(crate) allowed_cpus: Vec<String>,
}

/// The beginning of every JSON file.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) program: &'static str,
    pub(crate) version: &'static str,
    pub(crate) machine: Machine,
}

/// Labels and values in two columns.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<(String, String)>,
}

impl Subject {
    pub(crate) fn of(target: &ServerUnderTest) -> anyhow::Result<Self> {
        let allowed_cpus =
            target.pids.iter().map(|pid| crate::proc::allowed_cpus(*pid)).collect::<anyhow::Result<_>>()?;
        Ok(Self { target: target.clone(), allowed_cpus })
    }
}

impl Setting {
    pub(crate) fn read() -> anyhow::Result<Self> {
        Ok(Self { program: "fantail-loadgen", version: env!("CARGO_PKG_VERSION"), machine: crate::proc::machine()? })
    }
}

impl Table {
    pub(crate) fn row(&mut self, label: impl Into<String>, value: impl Into<String>) {
        self.rows.push((label.into(), value.into()));
    }

    pub(crate) fn opening(&mut self, opening: &Opening) {
        let Opening { streams, seconds, per_second, time_to_head_us, handshakes } = opening;
        self.row("streams opened", format!("{} in {seconds:.2} s, {per_second:.0}/s", grouped((*streams).into())));
        self.row("time to head", durations(time_to_head_us));
        let Handshakes { full, resumed } = *handshakes;
        if full + resumed > 0 {
            let [full, resumed] = [full, resumed].map(|count| grouped(count.into()));
            self.row("handshakes of TLS", format!("{full} full, {resumed} resumed"));
        }
    }

    pub(crate) fn round(&mut self, round: &RoundReport) {
        self.row("events published", grouped(round.published));
        self.row("deliveries", format!("{} of {} expected", grouped(round.deliveries), grouped(round.expected)));
        self.row("faults", faults(round.faults));
        self.row("declared gaps, ended streams", format!("{}, {}", grouped(round.gaps), grouped(round.ended_streams)));
        self.row("latency", durations(&round.latency_us));
        self.row("deliveries per second", group(&format!("{:.0}", round.deliveries_per_second)));
        if let Some(server) = &round.server {
            self.server(server, round.deliveries);
        }
        self.row("busiest worker", format!("{:.0} % of a core", round.worker_busy_most * 100.0));
    }

    fn server(&mut self, server: &ServerUse, deliveries: u64) {
        let ServerUse { cpu, cpu_us_per_delivery, busy, memory_before, memory_after } = server;
        let share = |micros: u64| micros as f64 / deliveries.max(1) as f64;
        let (user, system) = (share(cpu.user_us), share(cpu.system_us));
        self.row(
            "server CPU per delivery",
            format!("{cpu_us_per_delivery:.2} us ({user:.2} user, {system:.2} system)"),
        );
        let seconds = cpu.total_us() as f64 / 1e6;
        self.row("server CPU", format!("{seconds:.2} s, {:.0} % of a core", busy * 100.0));
        let [before, after] = [memory_before, memory_after].map(|memory| bytes(memory.rss));
        self.row("server memory (RSS)", format!("{before} before, {after} after"));
    }

    pub(crate) fn kernel(&mut self, label: &str, kernel: &Kernel) {
        self.row(label, format!("{} TCP buffers, {} slab", bytes(kernel.tcp), bytes(kernel.slab)));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
        self.rows.iter().try_for_each(|(label, value)| writeln!(out, "{label:<width$}  {value}"))
    }
}

/// Warnings about circumstances that make figures worth less. They are reported, never silently corrected.
pub(crate) fn doubts(round: &RoundReport) -> Vec<String> {
    let mut doubts = Vec::new();
    if !round.complete {
        doubts.push("not every event came before the deadline; raise --deadline if the server is only slow".to_owned());
    }
    if round.worker_busy_most > 0.9 {
        doubts.push("a worker was busy all the time: use more --workers, or read latency as the worker's".to_owned());
    }
    if round.server.is_some_and(|server| server.cpu.total_us() < 1_000_000) {
        doubts.push(
            "the server used less than 1 s of CPU, which the kernel counts in steps of 10 ms: use more --events"
                .to_owned(),
        );
    }
    doubts
}

/// Prints them beside the figures, on standard error.
pub(crate) fn print_doubts<'a>(doubts: impl IntoIterator<Item = &'a String>) {
    for doubt in doubts {
        eprintln!("doubt: {doubt}");
    }
}

/// Writes `report` to `path`.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    group(&number.to_string())
}

/// A size in the unit that fits it.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{:.0} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

pub(crate) fn group(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(crate) fn faults(faults: FaultCounts) -> String {
    let FaultCounts { lost, duplicated, reordered, corrupt, foreign } = faults;
    let [lost, duplicated, reordered, corrupt, foreign] = [lost, duplicated, reordered, corrupt, foreign].map(grouped);
    format!("{lost} lost, {duplicated} duplicated, {reordered} reordered, {corrupt} corrupt, {foreign} foreign")
}

pub(crate) fn durations(percentiles: &Percentiles) -> String {
    let Percentiles { p50, p90, p99, p999, max, .. } = *percentiles;
    let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(millis);
    format!("p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max}")
}

fn millis(micros: f64) -> String {
    if micros < 1_000.0 { format!("{micros:.0} us") } else { format!("{:.1} ms", micros / 1_000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn sizes_take_a_fitting_unit() {
        assert_eq!([512, 20_480, 52_428_800].map(bytes), ["512 B", "20 KiB", "50.0 MiB"]);
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::default();
        table.row("a", "1");
        table.row("long", "2");
        assert_eq!(table.to_string(), "a     1\nlong  2\n");
    }
}
