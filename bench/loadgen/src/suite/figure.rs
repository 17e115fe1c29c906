//! The findings of scenarios: figures with their comparison, and remarks. Pure data.

use serde::Serialize;

use crate::compare::Ratio;
use crate::round::FaultCounts;
use crate::suite::scenario::{OURS, PLAIN};

/// The unit of a figure, which decides how it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Micros,
    Millis,
    Seconds,
    Bytes,
    PerSecond,
    Percent,
    Count,
}

/// The way from a measurement to a figure.
pub(crate) type Of<T> = fn(&T) -> f64;

/// One line of the summary.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) scenario: &'static str,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) ours: f64,
    /// The floor or a peer, and its figure.
    pub(crate) other: Option<(String, f64)>,
    /// Ours over the other's, pair by pair.
    pub(crate) ratio: Option<Ratio>,
    /// The conditions of the figure.
    pub(crate) reach: String,
}

/// All findings.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    pub(crate) figures: Vec<Figure>,
    /// Remarks beside the figures: doubts, losses of others, missing peers.
    pub(crate) remarks: Vec<String>,
    /// Our own broken promises, and scenarios that did not run. If there is any the suite has failed.
    pub(crate) failures: Vec<String>,
}

impl Unit {
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Self::Micros => format!("{value:.2} us"),
            Self::Millis => format!("{value:.2} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes if value.abs() < 10_240.0 => format!("{value:.0} B"),
            Self::Bytes => format!("{:.1} KiB", value / 1024.0),
            Self::PerSecond => format!("{value:.0}/s"),
            Self::Percent => format!("{value:.2} %"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

impl Figure {
    pub(crate) fn line(&self) -> String {
        let Self { scenario, what, unit, ours, other, ratio, reach } = self;
        let other =
            other.as_ref().map_or_else(|| "-".to_owned(), |(name, value)| format!("{name} {}", unit.text(*value)));
        let ratio = ratio.as_ref().map_or_else(|| "-".to_owned(), ratio_text);
        format!("| {scenario} | {what} | {} | {other} | {ratio} | {reach} |", unit.text(*ours))
    }
}

impl Findings {
    /// Adds a figure and shows it at once.
    pub(crate) fn add(&mut self, figure: Figure) {
        println!("{}", figure.line());
        self.figures.push(figure);
    }

    pub(crate) fn remark(&mut self, text: String) {
        if !self.remarks.contains(&text) {
            println!("remark: {text}");
            self.remarks.push(text);
        }
    }

    pub(crate) fn fail(&mut self, text: String) {
        eprintln!("failure: {text}");
        self.failures.push(text);
    }

    /// Our own faults fail the suite; those of others are reported.
    pub(crate) fn note_faults(&mut self, scenario: &str, name: &str, rounds: impl IntoIterator<Item = FaultCounts>) {
        let faults: u64 = rounds.into_iter().map(FaultCounts::total).sum();
        if faults == 0 {
            return;
        }
        let text = format!("{scenario}: {name} lost, doubled, swapped or cut {faults} events");
        if [OURS, PLAIN].contains(&name) { self.fail(text) } else { self.remark(text) }
    }

    pub(crate) fn note_doubts(&mut self, scenario: &str, name: &str, doubts: impl IntoIterator<Item = String>) {
        for doubt in doubts {
            self.remark(format!("{scenario}, {name}: {doubt}"));
        }
    }
}

fn ratio_text(Ratio { median, min, max, pairs }: &Ratio) -> String {
    if pairs.len() == 1 { format!("{median:.3} (one run)") } else { format!("{median:.3} [{min:.3}..{max:.3}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_tells_the_pairs_behind_a_ratio() {
        let figure = Figure {
            scenario: "steady",
            what: "CPU".to_owned(),
            unit: Unit::Micros,
            ours: 6.0,
            other: Some(("floor".to_owned(), 5.0)),
            ratio: Some(Ratio::from_pairs(vec![1.1, 1.3, 1.2])),
            reach: "one core".to_owned(),
        };
        assert_eq!(figure.line(), "| steady | CPU | 6.00 us | floor 5.00 us | 1.200 [1.100..1.300] | one core |");
    }
}
