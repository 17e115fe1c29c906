//! Writing the table's numbers in the classic text form of Prometheus, version 0.0.4.
//!
//! Unlike `OpenMetrics` it describes a counter by its name with `_total`, knows no kind `info`, and has no end.

use std::fmt::{self, Display, Write};

use crate::exposition::{Number, Sources, rows};
use crate::process::ProcessFigures;
use crate::rows::Kind;

const BUILD: &str = "fantail_build_info";
const BUILD_HELP: &str = "Which build this is";

/// One scrape.
pub(crate) fn write(sources: &Sources, page: &mut String) -> fmt::Result {
    describe(page, BUILD, Kind::Gauge, BUILD_HELP)?;
    write_sample(page, BUILD, Some(("version", env!("CARGO_PKG_VERSION"))), 1)?;
    let process = ProcessFigures::read(sources.started);
    for row in rows(process.as_ref()) {
        let name = row.exposed_name();
        describe(page, &name, row.kind, row.help)?;
        sources.each_sample(row, process.as_ref(), &mut |label, number| match number {
            Number::Whole(number) => write_sample(page, &name, label, number),
            Number::Float(number) => write_sample(page, &name, label, number),
        })?;
    }
    Ok(())
}

fn describe(page: &mut String, name: &str, kind: Kind, help: &str) -> fmt::Result {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    writeln!(page, "# HELP {name} {help}.\n# TYPE {name} {kind}")
}

/// Names, labels and their values are words of the table, and hold nothing to be escaped.
fn write_sample(page: &mut String, name: &str, label: Option<(&str, &str)>, value: impl Display) -> fmt::Result {
    match label {
        None => writeln!(page, "{name} {value}"),
        Some((label, word)) => writeln!(page, "{name}{{{label}=\"{word}\"}} {value}"),
    }
}
