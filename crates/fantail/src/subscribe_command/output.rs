//! Events on standard output, in the chosen form. The server's own go to standard error where a person reads them.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::event_reader::StreamEvent;
use super::note;
use crate::http_client::printable;

/// Event types with this prefix are the server's own; no publisher sent them.
const OWN_TYPES: &str = "fantail.";

/// How an event is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people: the fields on lines of their own, a blank line behind each event.
    Fields,
    /// The data alone, as it is.
    Data,
    /// One JSON object per line, the server's own events among them.
    Json,
}

/// Whether there is more to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    GoOn,
    /// The limit is reached, or nobody reads any more.
    Done,
}

#[derive(Debug)]
pub(super) struct Output {
    form: Form,
    /// The events left until the limit.
    left: Option<u64>,
    /// The events of one read, written together.
    pending: Vec<u8>,
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'a str,
    data: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u64>,
}

impl Output {
    pub(super) fn new(form: Form, limit: Option<u64>) -> Self {
        Self { form, left: limit, pending: Vec::new() }
    }

    /// Prints events up to the limit. The limit does not count the server's own events.
    pub(super) fn print(&mut self, events: &[StreamEvent]) -> io::Result<Progress> {
        for event in events {
            let is_own = event.kind.starts_with(OWN_TYPES);
            if is_own && self.form != Form::Json {
                // It must come after the events before it.
                if self.flush()? == Progress::Done {
                    return Ok(Progress::Done);
                }
                note(&describe(event));
                continue;
            }
            write_event(&mut self.pending, self.form, event);
            if !is_own && let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    self.flush()?;
                    return Ok(Progress::Done);
                }
            }
        }
        self.flush()
    }

    /// A reader closes the pipe when it has read enough.
    fn flush(&mut self) -> io::Result<Progress> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.pending).and_then(|()| stdout.flush());
        self.pending.clear();
        match written {
            Ok(()) => Ok(Progress::GoOn),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Progress::Done),
            Err(error) => Err(error),
        }
    }
}

fn write_event(out: &mut Vec<u8>, form: Form, event: &StreamEvent) {
    match form {
        Form::Fields => write_fields(out, event),
        Form::Data => {
            out.extend_from_slice(event.data.as_bytes());
            out.push(b'\n');
        }
        Form::Json => {
            let line = Line { event: &event.kind, data: &event.data, id: &event.id, retry: event.retry_ms };
            serde_json::to_writer(&mut *out, &line).expect("strings and numbers have a JSON form");
            out.push(b'\n');
        }
    }
}

fn write_fields(out: &mut Vec<u8>, event: &StreamEvent) {
    let retry = event.retry_ms.map(|ms| ms.to_string()).unwrap_or_default();
    let fields = [("event", &event.kind), ("id", &event.id), ("retry", &retry)];
    let mut line =
        |name: &str, value: &str| out.extend_from_slice(format!("{name}: {}\n", printable(value)).as_bytes());
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        line(name, value);
    }
    for data in event.data.split('\n') {
        line("data", data);
    }
    out.push(b'\n');
}

/// The server's own event in words.
fn describe(event: &StreamEvent) -> String {
    let told: Value = serde_json::from_str(&event.data).unwrap_or_default();
    match (event.kind.as_str(), told["reason"].as_str(), told["state"].as_str()) {
        ("fantail.gap", ..) => describe_gap(&event.data),
        ("fantail.close", Some(reason), _) => format!("the server ends the stream ({})", printable(reason)),
        ("fantail.feed", _, Some(state)) => format!("the server's feed is {}", printable(state)),
        (kind, ..) => format!("{}: {}", printable(kind), printable(&event.data)),
    }
}

/// A gap in words. Data that cannot be read is shown as it came: something is missing in any case.
fn describe_gap(data: &str) -> String {
    let gap: Value = serde_json::from_str(data).unwrap_or_default();
    match (gap["channel"].as_str(), gap["reason"].as_str()) {
        (Some(channel), Some(reason)) => {
            format!("gap: events of channel {channel:?} may be missing here ({})", printable(reason))
        }
        _ => format!("gap: events may be missing here ({})", printable(data)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    fn printed(form: Form, event: &StreamEvent) -> String {
        let mut out = Vec::new();
        write_event(&mut out, form, event);
        String::from_utf8(out).unwrap()
    }

    fn event(data: &str, id: &str, retry_ms: Option<u64>) -> StreamEvent {
        StreamEvent { kind: "tick".into(), data: data.into(), id: id.into(), retry_ms }
    }

    #[test]
    fn fields_stand_on_lines_of_their_own_and_unset_ones_are_left_out() {
        assert_eq!(
            printed(Form::Fields, &event("a\nb", "7", Some(5))),
            "event: tick\nid: 7\nretry: 5\ndata: a\ndata: b\n\n"
        );
        assert_eq!(printed(Form::Fields, &event("", "", None)), "event: tick\ndata: \n\n");
    }

    /// An event may try to clear the terminal of its reader, or to forge the next event.
    #[test]
    fn fields_show_control_characters_and_do_not_carry_them_out() {
        assert_eq!(
            printed(Form::Fields, &event("\u{1b}[2J\tx\u{9b}2J", "a\u{7}", None)),
            "event: tick\nid: a\\u{7}\ndata: \\u{1b}[2J\tx\\u{9b}2J\n\n"
        );
    }

    #[test]
    fn data_alone_is_as_it_is() {
        assert_eq!(printed(Form::Data, &event("a\nb\u{1b}", "7", None)), "a\nb\u{1b}\n");
    }

    #[test]
    fn json_is_one_line_whatever_the_event_holds() {
        assert_eq!(
            printed(Form::Json, &event("a\n\"b\"", "", None)),
            "{\"event\":\"tick\",\"data\":\"a\\n\\\"b\\\"\",\"id\":\"\"}\n"
        );
        assert_eq!(
            printed(Form::Json, &event("", "7", Some(5))),
            "{\"event\":\"tick\",\"data\":\"\",\"id\":\"7\",\"retry\":5}\n"
        );
    }

    #[test]
    fn a_gap_names_channel_and_reason_or_shows_what_it_said() {
        let text = describe_gap(r#"{"channel":"a","reason":"trimmed"}"#);
        assert_eq!(text, r#"gap: events of channel "a" may be missing here (trimmed)"#);
        assert_eq!(describe_gap("\u{7}"), r"gap: events may be missing here (\u{7})");
    }

    #[test]
    fn the_servers_own_events_are_put_in_words_or_shown_as_they_came() {
        let told = |kind: &str, data: &str| describe(&StreamEvent { kind: kind.into(), ..event(data, "", None) });
        assert_eq!(told("fantail.close", r#"{"reason":"drained"}"#), "the server ends the stream (drained)");
        assert_eq!(told("fantail.feed", r#"{"state":"connecting"}"#), "the server's feed is connecting");
        assert_eq!(told("fantail.close", "\u{7}"), r"fantail.close: \u{7}");
        assert_eq!(told("fantail.new", "x"), "fantail.new: x");
    }
}
