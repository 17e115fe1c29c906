//! The report of trials: a line each, a table, and everything as JSON.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::trial::{Plan, TrialOutcome};

/// Columns of the table, with their content.
type Column = (&'static str, fn(&TrialRow) -> String);

/// One trial in the report.
#[derive(Debug)]
pub struct TrialRow {
    /// The fault's name.
    pub fault: &'static str,
    /// The kind of feed.
    pub mode: &'static str,
    /// The seed, which repeats the trial.
    pub seed: u64,
    /// Its outcome, or the reason why it could not be tried.
    pub outcome: Result<TrialOutcome, String>,
}

const COLUMNS: [Column; 16] = [
    ("fault", |row| row.fault.into()),
    ("mode", |row| row.mode.into()),
    ("delivered", |row| row.count(|outcome| outcome.verdict.delivered)),
    ("declared", |row| row.count(|outcome| outcome.verdict.declared)),
    ("repeated", |row| row.count(|outcome| outcome.verdict.repeated)),
    ("silent", |row| row.count(|outcome| outcome.verdict.silent)),
    ("duplicated", |row| row.count(|outcome| outcome.verdict.duplicated)),
    ("reordered", |row| row.count(|outcome| outcome.verdict.reordered)),
    ("corrupted", |row| row.count(|outcome| outcome.verdict.corrupted + outcome.verdict.cut)),
    ("foreign", |row| row.count(|outcome| outcome.verdict.foreign)),
    ("nowhere", |row| row.count(|outcome| outcome.verdict.nowhere)),
    ("encrypted", |row| row.count(|outcome| outcome.felt("encrypted"))),
    ("outages", |row| row.count(|outcome| outcome.felt("outages"))),
    ("first", |row| row.time(|outcome| outcome.recovered.first)),
    ("all", |row| row.time(|outcome| outcome.recovered.all)),
    ("kept", |row| if row.is_kept() { "yes".into() } else { "NO".into() }),
];

impl TrialRow {
    /// The row of one trial.
    pub fn new(fault: &'static Fault, plan: &Plan, outcome: anyhow::Result<TrialOutcome>) -> Self {
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        Self { fault: fault.name, mode: plan.mode.name(), seed: plan.seed, outcome }
    }

    /// Whether the promise was kept.
    pub fn is_kept(&self) -> bool {
        self.outcome.as_ref().is_ok_and(TrialOutcome::is_kept)
    }

    /// Whether in addition no event was given up that the broker kept.
    pub fn is_strictly_kept(&self) -> bool {
        self.is_kept() && self.outcome.as_ref().is_ok_and(|outcome| !outcome.gave_up)
    }

    /// One line, and more after a fault.
    pub fn line(&self) -> String {
        let Self { fault, mode, seed, .. } = self;
        let outcome = match &self.outcome {
            Ok(outcome) => outcome,
            Err(error) => return format!("{fault} ({mode}): could not be tried, seed {seed}: {error}"),
        };
        let verdict = &outcome.verdict;
        let mut text = format!("{fault} ({mode}): ");
        let counts = [
            ("delivered", verdict.delivered),
            ("declared", verdict.declared),
            ("repeated", verdict.repeated),
            ("silent", verdict.silent),
            ("duplicated", verdict.duplicated),
            ("reordered", verdict.reordered),
            ("corrupted", verdict.corrupted + verdict.cut),
            ("foreign", verdict.foreign),
            ("encrypted", outcome.felt("encrypted")),
        ];
        let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        text.push_str(&counts.join(", "));
        if verdict.nowhere > 0 {
            let _ = write!(text, ", accepted but delivered to nobody {}", verdict.nowhere);
        }
        let time = |time: Option<Duration>| time.map_or("never".into(), seconds);
        let (first, all) = (time(outcome.recovered.first), time(outcome.recovered.all));
        let _ = write!(text, "; first delivery after {first}, all channels after {all}");
        if outcome.gave_up {
            text.push_str("; events were given up though the broker kept them");
        }
        if verdict.declared > 0 {
            let gaps: Vec<_> = outcome.gaps.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            let _ = write!(text, "; gaps: {}", gaps.join(", "));
        }
        for remark in &outcome.remarks {
            let _ = write!(text, "; {remark}");
        }
        if !outcome.is_kept() {
            let _ = write!(text, "\n  BROKEN, seed {seed}: {verdict}");
            for offence in outcome.offences.iter().take(20) {
                let _ = write!(text, "\n  {offence}");
            }
        }
        text
    }

    /// Everything.
    pub fn json(&self) -> Value {
        let mut value = json!({ "fault": self.fault, "mode": self.mode, "seed": self.seed.to_string() });
        match &self.outcome {
            Ok(outcome) => {
                let verdict = &outcome.verdict;
                let felt: serde_json::Map<_, _> =
                    outcome.felt.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
                value["kept"] = json!(outcome.is_kept());
                value["verdict"] = json!({
                    "readers": verdict.readers, "delivered": verdict.delivered, "gaps": verdict.gaps,
                    "declared": verdict.declared, "unconfirmed": verdict.unconfirmed, "silent": verdict.silent,
                    "nowhere": verdict.nowhere, "repeated": verdict.repeated, "duplicated": verdict.duplicated, "reordered": verdict.reordered,
                    "corrupted": verdict.corrupted, "cut": verdict.cut, "foreign": verdict.foreign,
                    "unfinished": verdict.unfinished, "examples": verdict.examples,
                });
                value["offences"] = json!(outcome.offences);
                value["first_delivery_s"] = json!(outcome.recovered.first.map(|time| time.as_secs_f64()));
                value["all_channels_s"] = json!(outcome.recovered.all.map(|time| time.as_secs_f64()));
                value["gaps"] = json!(outcome.gaps);
                value["diaries"] = json!(outcome.diaries);
                value["gave_up"] = json!(outcome.gave_up);
                value["felt"] = Value::Object(felt);
                value["remarks"] = json!(outcome.remarks);
                value["took_s"] = json!(outcome.took.as_secs_f64());
            }
            Err(error) => value["error"] = json!(error),
        }
        value
    }

    fn count(&self, count: fn(&TrialOutcome) -> u64) -> String {
        self.outcome.as_ref().map_or("-".into(), |outcome| count(outcome).to_string())
    }

    fn time(&self, time: fn(&TrialOutcome) -> Option<Duration>) -> String {
        self.outcome.as_ref().ok().and_then(time).map_or("-".into(), seconds)
    }
}

/// A Markdown table.
pub fn table(rows: &[TrialRow]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect());
    text.push_str(&line(COLUMNS.iter().map(|_| "---".to_owned()).collect()));
    for row in rows {
        text.push_str(&line(COLUMNS.iter().map(|(_, cell)| cell(row)).collect()));
    }
    text
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
