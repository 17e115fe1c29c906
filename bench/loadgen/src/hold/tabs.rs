//! The streams of one connection of HTTP/2. Each has a window of its own, which is opened again as it is read. A stream that
//! stops reading leaves its window as it is, and the others go on.

use crate::hold::connection::Over;
use crate::hold::http2::{Http2Client, News, open_window};
use crate::hold::order::Checker;
use crate::hold::stream::{Identity, Ids, Stream, StreamChange};

/// The client of a connection, with its streams in the order of their requests.
#[derive(Debug)]
pub(crate) struct Tabs {
    client: Http2Client,
    tabs: Vec<Tab>,
}

#[derive(Debug)]
struct Tab {
    stream: Stream,
    /// The window that it began with.
    window: u32,
    /// Bytes that have come since its window was last opened.
    unacknowledged: u32,
}

/// The parts that text goes to.
pub(crate) struct Sink<'a> {
    pub(crate) checker: &'a mut Checker,
    pub(crate) ids: &'a mut Ids,
    pub(crate) now_nanos: u64,
    /// When the connection was begun.
    pub(crate) begun_nanos: u64,
    /// Frames that must go back to the server.
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) changes: &'a mut Vec<StreamChange>,
}

impl Tabs {
    pub(crate) fn new(window: u32, identities: Vec<Identity>) -> Self {
        let tab = |identity| Tab { stream: Stream::new(identity), window, unacknowledged: 0 };
        Self { client: Http2Client::new(), tabs: identities.into_iter().map(tab).collect() }
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.tabs.iter().map(|tab| &tab.stream)
    }

    pub(crate) fn streams_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.tabs.iter_mut().map(|tab| &mut tab.stream)
    }

    /// Whether no stream is left.
    pub(crate) fn are_over(&self) -> bool {
        self.streams().all(Stream::is_ended)
    }

    /// Reads frames in pieces of any size.
    pub(crate) fn receive(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Over> {
        let Self { client, tabs, .. } = self;
        let Sink { checker, ids, now_nanos, begun_nanos, out, changes } = sink;
        client.receive(bytes, out, &mut |news, out| {
            let (tab, outcome) = match news {
                News::Refused { first } => {
                    let refused = tabs.iter_mut().skip(first);
                    let reason = "the server leaves, and did not look at it";
                    changes.extend(refused.filter_map(|tab| tab.stream.end(reason.to_owned())));
                    return Ok(());
                }
                News::Head { stream, status } => {
                    let tab = tab_at(tabs, stream)?;
                    // Fields behind the text say nothing here; the end comes with them.
                    let outcome = if tab.stream.was_opened() { Ok(()) } else { tab.stream.open(status) };
                    changes.extend(tab.stream.announce(*begun_nanos, None));
                    (tab, outcome)
                }
                News::Used { stream, bytes } => {
                    let tab = tab_at(tabs, stream)?;
                    tab.unacknowledged += bytes;
                    if tab.unacknowledged >= tab.window.div_ceil(2) && tab.stream.reads() {
                        open_window(stream, std::mem::take(&mut tab.unacknowledged), out);
                    }
                    return Ok(());
                }
                News::Text { stream, text } => {
                    let tab = tab_at(tabs, stream)?;
                    let outcome =
                        if tab.stream.reads() { tab.stream.read(text, *now_nanos, checker, ids) } else { Ok(()) };
                    (tab, outcome)
                }
                News::Ended { stream, reason } => (tab_at(tabs, stream)?, Err(reason)),
            };
            changes.extend(outcome.err().and_then(|reason| tab.stream.end(reason)));
            Ok(())
        })
    }
}

fn tab_at(tabs: &mut [Tab], stream: usize) -> Result<&mut Tab, Over> {
    tabs.get_mut(stream).ok_or_else(|| "the server sent a frame for a stream that nobody asked for".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "the frames are constants")]
    use super::*;
    use crate::hold::http2::frame::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, WINDOW_UPDATE, write};
    use crate::hold::order::Expectation;
    use crate::payload::{Payload, PayloadWriter};

    const WINDOW: u32 = 400;
    const CHANNEL: u32 = 0;

    struct Trial {
        tabs: Tabs,
        checker: Checker,
        ids: Ids,
        out: Vec<u8>,
        changes: Vec<StreamChange>,
    }

    impl Trial {
        /// Three streams of one channel, with their heads.
        fn open() -> Self {
            let identity =
                |stream| Identity { expectation: Expectation { stream, channel: CHANNEL, next: 1 }, last_id: None };
            let tabs = Tabs::new(WINDOW, (0..3).map(identity).collect());
            let checker = Checker::new().unwrap();
            let mut trial = Self { tabs, checker, ids: Ids::default(), out: Vec::new(), changes: Vec::new() };
            for stream in [1, 3, 5] {
                trial.take(HEADERS, END_HEADERS, stream, b"\x88").unwrap();
            }
            assert!(trial.changes.iter().all(|change| matches!(change, StreamChange::Opened { .. })));
            assert_eq!(std::mem::take(&mut trial.changes).len(), 3);
            trial
        }

        fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Over> {
            let mut frame = Vec::new();
            write(kind, flags, stream, payload, &mut frame);
            let Self { tabs, checker, ids, out, changes } = self;
            tabs.receive(&frame, &mut Sink { checker, ids, now_nanos: 5_000, begun_nanos: 0, out, changes })
        }

        /// The event of this number, in a frame of `WINDOW / 2` bytes.
        fn event(&mut self, stream: u32, number: u64) {
            let mut text = b"data: ".to_vec();
            let payload = Payload { number, sent_nanos: 1_000, channel: CHANNEL };
            PayloadWriter::new(WINDOW / 2 - 8).write(payload, &mut text);
            text.extend_from_slice(b"\n\n");
            self.take(DATA, 0, stream, &text).unwrap();
        }

        /// The streams whose window was opened since the last look.
        fn opened_windows(&mut self) -> Vec<u32> {
            let out = std::mem::take(&mut self.out);
            let mut expected = Vec::new();
            let opened: Vec<_> = out.chunks(13).map(|frame| u32::from(frame[8])).collect();
            for stream in &opened {
                write(WINDOW_UPDATE, 0, *stream, &(WINDOW / 2).to_be_bytes(), &mut expected);
            }
            assert_eq!(out, expected);
            opened
        }
    }

    #[test]
    fn each_stream_is_checked_and_its_window_opened_as_it_is_read() {
        let mut trial = Trial::open();
        for stream in [1, 3, 5, 3] {
            let number = if stream == 3 && trial.checker.deliveries() == 3 { 2 } else { 1 };
            trial.event(stream, number);
        }
        assert_eq!(trial.opened_windows(), [1, 3, 5, 3]);
        let tally = trial.checker.take_tally();
        assert_eq!((tally.deliveries, tally.lost + tally.duplicated + tally.corrupt + tally.foreign), (4, 0));
    }

    #[test]
    fn a_stopped_stream_leaves_its_window_shut_and_is_owed_nothing() {
        let mut trial = Trial::open();
        assert!(trial.tabs.streams_mut().next().unwrap().stop());
        for stream in [1, 3] {
            trial.event(stream, 1);
            trial.event(stream, 2);
        }
        assert_eq!(trial.opened_windows(), [3, 3]);
        assert_eq!(trial.checker.take_tally().deliveries, 2);
        assert_eq!(trial.tabs.streams().filter(|stream| stream.is_due()).count(), 2);
    }

    #[test]
    fn streams_end_one_by_one_and_once() {
        let mut trial = Trial::open();
        trial.take(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).unwrap();
        trial.take(DATA, 0, 1, b"late").unwrap();
        trial.take(DATA, END_STREAM, 3, b"").unwrap();
        trial.take(RST_STREAM, 0, 3, &0_u32.to_be_bytes()).unwrap();
        assert!(trial.changes.iter().all(|change| matches!(change, StreamChange::Ended)));
        assert_eq!((trial.changes.len(), trial.tabs.are_over()), (2, false));
        // The last number that the server looked at is 3.
        trial.take(GOAWAY, 0, 0, b"\0\0\0\x03\0\0\0\0").unwrap();
        assert_eq!((trial.changes.len(), trial.tabs.are_over()), (3, true));
        assert_eq!(trial.opened_windows(), [0_u32; 0]);
    }

    #[test]
    fn a_refused_stream_tells_its_status() {
        let identity = Identity { expectation: Expectation { stream: 0, channel: CHANNEL, next: 1 }, last_id: None };
        let mut trial = Trial { tabs: Tabs::new(WINDOW, vec![identity]), ..Trial::open() };
        trial.take(HEADERS, END_HEADERS | END_STREAM, 1, b"\x08\x03429").unwrap();
        let told: Vec<_> = trial.changes.iter().map(|change| format!("{change:?}")).collect();
        assert_eq!(told, ["Failed { reason: \"answered with status 429\" }"]);
    }

    #[test]
    fn a_frame_for_a_stream_that_nobody_asked_for_ends_the_connection() {
        assert!(Trial::open().take(DATA, 0, 7, b"x").is_err());
    }
}
