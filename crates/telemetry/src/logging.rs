//! Log lines: where they go and in which shape.
//!
//! Lines go to standard error or to a file, one write each. Nothing is logged per event or per stream at the
//! default level, so a reader of the log that stalls holds up the control loop's rare lines and
//! not the fan-out.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The module of the NATS library.
const NATS_LIBRARY: &str = "async_nats";

/// Shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One readable line, coloured on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error("the log filter cannot be read: {0}")]
    Filter(#[from] ParseError),
    /// The file cannot be opened.
    #[error("log_file {} cannot be opened: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// Somebody was here before.
    #[error("logging is already set up: {0}")]
    AlreadySet(#[from] TryInitError),
}

/// Sets logging up for the whole process, once, with a level or a filter such as
/// `info,fantail_feed=debug`. Lines of libraries that use `log` are taken along. They are appended to `file`, or go to standard
/// error without one.
pub fn init(level: &str, format: Format, file: Option<&Path>) -> Result<(), LoggingError> {
    let is_coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match file {
        None => subscriber(level, format, is_coloured, io::stderr)?.try_init()?,
        Some(path) => {
            let file = OpenOptions::new().append(true).create(true).open(path);
            let file = file.map_err(|error| LoggingError::File { path: path.to_owned(), error })?;
            subscriber(level, format, false, Arc::new(file))?.try_init()?;
        }
    }
    if format == Format::Json {
        panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// Writes an error that ends the program, or keeps it from starting: in the log's shape, and whatever its level is. Logging
/// may not be set up yet.
pub fn write_last(format: Format, error: &str) {
    match format {
        // Nobody is left to be told that it cannot be written.
        Format::Text => drop(writeln!(io::stderr(), "{error}")),
        Format::Json => write_json(|| tracing::error!(target: "fantail", "{error}")),
    }
}

/// Runs `write` with a log of its own, which keeps errors whatever the filter of the program's says.
fn write_json(write: impl FnOnce()) {
    if let Ok(subscriber) = subscriber("error", Format::Json, false, io::stderr) {
        tracing::subscriber::with_default(subscriber, write);
    }
}

/// A panic as one line; by default it is several, of plain text.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let message = panic.payload_as_str().unwrap_or("something that is no text");
    let location = panic.location().map(tracing::field::display);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    write_json(|| {
        tracing::error!(target: "fantail", thread = thread.name(), location, backtrace, "panicked: {message}");
    });
}

fn subscriber<W>(
    level: &str,
    format: Format,
    is_coloured: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = quiet(EnvFilter::builder().parse(level)?, level)?;
    // The default, said aloud: a line that cannot be written must not be reported by a print to standard error,
    // which panics if that is what is broken.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    Ok(match format {
        Format::Text => Box::new(registry.with(lines.with_ansi(is_coloured))),
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            Box::new(registry.with(lines))
        }
    })
}

/// Leaves out the lines of the NATS library, unless the filter names it. It writes one for each connection and each loss,
/// and the feed tells of both in its own words.
fn quiet(filter: EnvFilter, level: &str) -> Result<EnvFilter, ParseError> {
    if level.contains(NATS_LIBRARY) {
        return Ok(filter);
    }
    Ok(filter.add_directive(format!("{NATS_LIBRARY}=off").parse()?))
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use std::io::Write;
    use std::sync::Mutex;

    use super::*;
    use crate::escape;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: Format, write: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(level, format, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, write);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_nats_library_is_heard_only_if_it_is_named() {
        let write = || tracing::error!(target: NATS_LIBRARY, "max reconnection attempts reached");
        assert_eq!(logged("info", Format::Text, write), "");
        assert!(logged("info,async_nats=error", Format::Text, write).contains("max reconnection"));
        assert!(logged("warn", Format::Text, || tracing::warn!("nats is lost")).contains("nats is lost"));
    }

    #[test]
    fn the_level_decides_what_is_written() {
        let write = || {
            tracing::info!("kept");
            tracing::debug!("dropped");
        };
        let text = logged("info", Format::Text, write);
        assert!(text.contains("kept") && !text.contains("dropped"), "{text}");
        assert_eq!(logged("off", Format::Text, write), "");
        assert!(logged("warn,fantail_telemetry=debug", Format::Text, write).contains("dropped"));
    }

    #[test]
    fn json_is_one_object_per_line_with_values_as_fields() {
        let text = logged("info", Format::Json, || tracing::info!(workers = 4, "listening"));
        assert!(text.starts_with('{') && text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        assert!(text.contains("\"message\":\"listening\"") && text.contains("\"workers\":4"), "{text}");
    }

    #[test]
    fn escaped_text_stays_on_its_line_in_both_shapes() {
        for format in [Format::Text, Format::Json] {
            let text = logged("info", format, || tracing::info!(channel = %escape("a\nERROR \x1b[2J"), "refused"));
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.contains('\x1b') && text.contains("x0aERROR"), "{text}");
        }
    }

    #[test]
    fn a_bad_filter_is_refused() {
        assert!(matches!(init("fantail=loud", Format::Text, None), Err(LoggingError::Filter(_))));
    }
}
