//! An entry of a channel's Stream, read back.

use std::collections::HashMap;

use fantail_wire::{Event, EventId, Term};
use foldhash::fast::RandomState;

use super::message::{channels, previous_number};
use crate::redis::envelope::Envelope;

/// How much of an entry's name and of a fault is told.
const TOLD_CHARS_MAX: usize = 200;

/// One event as the log keeps it for one of its channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) id: EventId,
    /// The number of the channel's event before this one, or one below which nothing is known.
    pub(crate) previous: u64,
    pub(crate) event: Event,
}

/// An entry that Fantail's functions did not write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the entry {entry} of {key} is not an event: {fault}")]
pub(crate) struct EntryError {
    /// The Stream.
    pub(crate) key: String,
    /// The entry's id in the Stream, as far as it has one.
    pub(crate) entry: String,
    /// The fault.
    pub(crate) fault: String,
}

impl LogEntry {
    /// Reads the entry `id` of the Stream `key`. `fields` are names and values in turn; none for one that is no text.
    pub(crate) fn read<'a>(
        key: &str,
        id: &str,
        fields: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<Self, EntryError> {
        read(id, fields).map_err(|fault| EntryError { key: key.to_owned(), entry: told(id), fault: told(&fault) })
    }

    /// Bytes that it takes in memory.
    pub(crate) fn cost(&self) -> usize {
        let Event { data, event, id, retry_ms: _ } = &self.event;
        let kind = event.as_ref().map_or("", |kind| kind.as_str());
        let id = id.as_ref().map_or("", |id| id.as_str());
        size_of::<Self>() + data.len() + kind.len() + id.len()
    }
}

fn read<'a>(id: &str, fields: impl Iterator<Item = Option<&'a [u8]>>) -> Result<LogEntry, String> {
    let fields = fields_by_name(fields)?;
    let field = |name: &'static str| fields.get(name.as_bytes()).copied();
    let text = |name: &'static str| {
        let bytes = field(name).ok_or_else(|| format!("it has no field {name}"))?;
        std::str::from_utf8(bytes).map_err(|_| format!("its field {name} is not text"))
    };
    let id = event_id(id, text("t")?)?;
    let previous = previous_number(text("p")?, &id).ok_or("its field p is no number below its own")?;
    if field("c").is_some() {
        channels(text("c")?).map_err(|error| format!("its field c: {error}"))?;
    }
    let envelope = field("e").ok_or("it has no field e")?;
    let event = Envelope::read_alone(envelope).map_err(|error| format!("its field e: {error}"))?;
    Ok(LogEntry { id, previous, event })
}

fn fields_by_name<'a>(
    mut fields: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<HashMap<&'a [u8], &'a [u8], RandomState>, &'static str> {
    let mut by_name = HashMap::default();
    while let Some(name) = fields.next() {
        let (name, value) =
            name.zip(fields.next().flatten()).ok_or("it has something else than fields and their values")?;
        by_name.insert(name, value);
    }
    Ok(by_name)
}

/// The id of an event whose entry is called `<ms>-<number>`.
fn event_id(entry: &str, term: &str) -> Result<EventId, String> {
    let place = entry.split_once('-').and_then(|(ms, number)| Some((ms.parse().ok()?, number.parse().ok()?)));
    let (ms, number) = place.filter(|(_, number)| *number > 0).ok_or("its name is not that of a number")?;
    let term = Term::parse(term).map_err(|_| "its field t is no term")?;
    Ok(EventId::new(term, ms, number))
}

/// The beginning as one printable line.
fn told(text: &str) -> String {
    text.chars().take(TOLD_CHARS_MAX).flat_map(char::escape_debug).collect()
}
