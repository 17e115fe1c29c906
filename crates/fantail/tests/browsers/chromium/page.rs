//! The page: it opens sources, writes down their events, and reports when all of them have come to their end.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

/// Entries of a log, and of what stands in its place in the report.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) enum SourceEntry {
    /// The source was opened.
    Open,
    /// The source told an error; this is its state.
    Error(u64),
    Event(BrowserEvent),
}

/// An event as a page's listener sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct BrowserEvent {
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) id: String,
}

/// The entries of one source, in order.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SourceLog(Vec<SourceEntry>);

impl SourceLog {
    pub(crate) fn events(&self) -> Vec<BrowserEvent> {
        let event = |entry: &SourceEntry| if let SourceEntry::Event(told) = entry { Some(told.clone()) } else { None };
        self.0.iter().filter_map(event).collect()
    }

    pub(crate) fn opened(&self) -> usize {
        self.0.iter().filter(|entry| **entry == SourceEntry::Open).count()
    }

    pub(crate) fn errors(&self) -> Vec<u64> {
        let state = |entry: &SourceEntry| if let SourceEntry::Error(state) = entry { Some(*state) } else { None };
        self.0.iter().filter_map(state).collect()
    }

    pub(crate) fn before_the_first_event(&self) -> Self {
        Self(self.0.iter().take_while(|entry| !matches!(entry, SourceEntry::Event(_))).cloned().collect())
    }
}

/// The sources of a page, by name with their addresses.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Each is watched until it tells an event with the data `end`.
    pub(crate) ending: Vec<(String, String)>,
    /// Until it tells an error.
    pub(crate) failing: Vec<(String, String)>,
    /// Until it has given up for ever.
    pub(crate) giving_up: Vec<(String, String)>,
    /// When a source has told its first event, the page opens this other stream. The node sees by it how far the page
    /// is.
    pub(crate) answering: Vec<(String, String)>,
}

/// The page's text. It reports when each source has come to its end.
pub(crate) fn html(sources: &Sources) -> String {
    let Sources { ending, failing, giving_up, answering } = sources;
    let answers: BTreeMap<_, _> = answering.iter().cloned().collect();
    let sources = json!({ "end": ending, "error": failing, "closed": giving_up });
    SCRIPT.replace("SOURCES", &sources.to_string()).replace("ANSWERS", &json!(answers).to_string())
}

/// The logs by source.
pub(crate) fn logs(report: Value) -> BTreeMap<String, SourceLog> {
    serde_json::from_value(report).unwrap()
}

const SCRIPT: &str = "<!doctype html><meta charset=utf-8><script>
const sources = SOURCES;
const answers = ANSWERS;
const logs = {};
const open = new Set();

function ended(name) {
    open.delete(name);
    if (open.size == 0) fetch('/result', {method: 'POST', body: JSON.stringify(logs)});
}

function watch(name, url, until) {
    const log = logs[name] = [];
    open.add(name);
    const source = new EventSource(url);
    source.onopen = () => log.push('Open');
    source.onerror = () => {
        log.push({Error: source.readyState});
        if (until == 'error' || until == 'closed' && source.readyState == 2) ended(name);
    };
    for (const kind of ['message', 'tick', 'fantail.gap']) {
        source.addEventListener(kind, event => {
            log.push({Event: {kind: event.type, data: event.data, id: event.lastEventId}});
            if (name in answers) new EventSource(answers[name]);
            delete answers[name];
            if (until == 'end' && event.data == 'end') ended(name);
        });
    }
}

for (const until of ['end', 'error', 'closed']) {
    for (const [name, url] of sources[until]) watch(name, url, until);
}
</script>";
