//! The outcome of a unicast round: figures, their doubts, and the rows of a table. Pure data.

use serde::Serialize;

use crate::latency::Percentiles;
use crate::report::{Table, durations, faults, group, grouped};
use crate::round::FaultCounts;
use crate::run_verdict::RunVerdict;
use crate::unicast::server_use::{ServerThreads, ThreadUse};

/// From here on events wait for the load generator often enough to show in their latency.
const OWN_BUSY_DOUBTFUL: f64 = 0.7;
/// Too little for a figure per event.
const SERVER_CPU_LEAST_US: f64 = 10_000.0;

/// The outcome of a round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct UnicastRound {
    /// Events that were to come in the measured time and after it. Warm-up events under way at its beginning count.
    pub(crate) expected: u64,
    pub(crate) deliveries: u64,
    /// Of the whole round, the warm-up with it.
    pub(crate) faults: FaultCounts,
    pub(crate) gaps: u64,
    pub(crate) ended_streams: u64,
    /// Whether everything that was published came.
    pub(crate) complete: bool,
    /// Events that were due but had no free connection until the end; only in an open loop.
    pub(crate) unsent: u64,
    /// From just before the request was written, or from when the event was due, until the stream's bytes were read.
    pub(crate) latency_us: Percentiles,
    /// From just before a POST was written to its answer; empty over Redis.
    pub(crate) answer_us: Percentiles,
    pub(crate) measured: Measured,
}

/// The measured time, from the end of the warm-up until publishing ends.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    pub(crate) events_per_second: f64,
    /// The load generator's share of one core.
    pub(crate) own_busy: f64,
    pub(crate) server: Option<UnicastServerUse>,
}

/// The server's use of resources.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct UnicastServerUse {
    pub(crate) cpu_us_per_event: f64,
    /// The share of one core.
    pub(crate) busy: f64,
    pub(crate) voluntary_switches_per_event: f64,
    pub(crate) involuntary_switches_per_event: f64,
    pub(crate) threads: ServerThreads,
}

impl UnicastServerUse {
    pub(crate) fn new(threads: ServerThreads, events: u64, seconds: f64) -> Self {
        let total = threads.total();
        let per_event = |count: u64| count as f64 / events.max(1) as f64;
        Self {
            cpu_us_per_event: per_event(total.run_nanos) / 1e3,
            busy: total.run_nanos as f64 / 1e9 / seconds,
            voluntary_switches_per_event: per_event(total.voluntary),
            involuntary_switches_per_event: per_event(total.involuntary),
            threads,
        }
    }

    /// The CPU time of one event in the threads of this name.
    pub(crate) fn thread_us_per_event(&self, name: &str, events: u64) -> f64 {
        self.threads.0.get(name).map_or(0.0, |thread| thread.run_nanos as f64 / 1e3 / events.max(1) as f64)
    }
}

impl UnicastRound {
    pub(crate) fn verdict(&self) -> RunVerdict {
        match self.faults.total() {
            0 => RunVerdict::Kept,
            faults => RunVerdict::Broken { faults },
        }
    }

    pub(crate) fn rows(&self, table: &mut Table) {
        let Self { expected, deliveries, measured, .. } = self;
        table.row("deliveries", format!("{} of {} expected", grouped(*deliveries), grouped(*expected)));
        table.row("faults", faults(self.faults));
        table.row("declared gaps, ended streams", format!("{}, {}", grouped(self.gaps), grouped(self.ended_streams)));
        let rate = group(&format!("{:.0}", measured.events_per_second));
        table.row("events per second", format!("{rate}, measured for {:.2} s", measured.seconds));
        if self.unsent > 0 {
            table.row("due but never sent", grouped(self.unsent));
        }
        table.row("latency", durations(&self.latency_us));
        if self.answer_us.count > 0 {
            table.row("time to answer", durations(&self.answer_us));
        }
        if let Some(server) = &measured.server {
            server.rows(measured.events, table);
        }
        table.row("load generator", format!("{:.0} % of a core", measured.own_busy * 100.0));
    }

    /// Circumstances that make figures worth less.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if !self.complete {
            doubts.push(
                "not every event came before the deadline; raise --deadline if the server is only slow".to_owned(),
            );
        }
        let busy = self.measured.own_busy;
        if busy > OWN_BUSY_DOUBTFUL {
            doubts.push(format!(
                "the load generator used {:.0} % of a core: latency and events per second are partly its own",
                busy * 100.0
            ));
        }
        let cpu_us = self.measured.server.as_ref().map(|server| server.cpu_us_per_event * self.measured.events as f64);
        if cpu_us.is_some_and(|cpu_us| cpu_us < SERVER_CPU_LEAST_US) {
            doubts.push("the server used less than 10 ms of CPU: use more --events or --seconds".to_owned());
        }
        doubts
    }
}

impl UnicastServerUse {
    fn rows(&self, events: u64, table: &mut Table) {
        let ThreadUse { user_us, system_us, .. } = self.threads.total();
        let share = |us: u64| us as f64 / events.max(1) as f64;
        table.row(
            "server CPU per event",
            format!("{:.2} us ({:.2} user, {:.2} system)", self.cpu_us_per_event, share(user_us), share(system_us)),
        );
        for (name, thread) in self.threads.0.iter().filter(|(_, thread)| thread.run_nanos > 0) {
            let [voluntary, involuntary] = [thread.voluntary, thread.involuntary].map(share);
            table.row(
                format!("  {name}"),
                format!(
                    "{:.2} us; {voluntary:.3} voluntary, {involuntary:.3} involuntary switches",
                    self.thread_us_per_event(name, events)
                ),
            );
        }
        table.row(
            "server switches per event",
            format!(
                "{:.3} voluntary, {:.3} involuntary",
                self.voluntary_switches_per_event, self.involuntary_switches_per_event
            ),
        );
        table.row("server", format!("{:.0} % of a core", self.busy * 100.0));
    }
}
