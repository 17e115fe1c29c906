//! The page about metrics, written from the table.

use std::fmt::Write;

use crate::rows::{Kind, MetricRow, ROWS, Reading, Words};

const HEAD: &str = "\
# Metrics

<!-- Written from crates/telemetry/src/rows.rs; change it there, then run
     UPDATE_EXPECT=1 cargo test -p fantail-telemetry -->

`GET /metrics` on the internal listener answers in the classic text form of Prometheus, or in OpenMetrics to a
scraper that asks for it (`Accept: application/openmetrics-text`). `health_listen` answers it as well. Counters start at
zero with the process. No label holds a name that a client or a publisher chose, so the number of series is fixed.

| name | type | labels | meaning |
|---|---|---|---|
| `fantail_build_info` | info | `version` | Which build this is |
";

/// The reference page, in Markdown.
pub fn reference_markdown() -> String {
    let mut page = HEAD.to_owned();
    for row in &ROWS {
        let kind = match row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let label = label_of(row).map_or_else(String::new, |label| format!("`{label}`"));
        write_to(&mut page, format_args!("| `{}` | {kind} | {label} | {} |\n", row.exposed_name(), row.help));
    }
    page.push_str("\n## Values of labels\n\n");
    page.push_str("`shard` counts from 0.\n\n| name | label | value | meaning |\n|---|---|---|---|\n");
    for (row, words) in ROWS.iter().filter_map(|row| Some((row, words_of(row)?))) {
        for (value, meaning) in words.values.iter().zip(words.meanings) {
            let (name, label, meaning) = (row.exposed_name(), words.label, meaning.trim().trim_end_matches('.'));
            write_to(&mut page, format_args!("| `{name}` | `{label}` | `{value}` | {meaning} |\n"));
        }
    }
    page
}

fn label_of(row: &MetricRow) -> Option<&'static str> {
    match &row.reading {
        Reading::EachShard(_) => Some("shard"),
        _ => words_of(row).map(|words| words.label),
    }
}

fn words_of(row: &MetricRow) -> Option<Words> {
    match &row.reading {
        Reading::ShardsBy(words, _) | Reading::HubBy(words, _) | Reading::HubState(words, _) => Some(*words),
        _ => None,
    }
}

fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string does not fail");
}
