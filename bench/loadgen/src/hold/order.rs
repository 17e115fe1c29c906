//! The check: did each stream get every event of its channel once, in order and whole? Memory per stream is one
//! number; only streams that miss something cost more.

use std::collections::HashMap;
use std::ops::Range;

use fantail_testkit::sse::SseBlock;

use crate::hold::event_template::EventTemplate;
use crate::latency::Latency;
use crate::message::WorkerTally;
use crate::payload;

/// The event by which a server declares a gap.
const GAP: &[u8] = b"fantail.gap";

/// The prefix of the server's own event types.
const OWN: &[u8] = b"fantail.";

/// The channel of one stream, and the event that it waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expectation {
    pub(crate) stream: u32,
    pub(crate) channel: u32,
    /// The number of the next event; every lower one was seen or is among the missing.
    pub(crate) next: u64,
}

/// Counts the observations of one worker's streams in one round.
#[derive(Debug)]
pub(crate) struct Checker {
    tally: WorkerTally,
    latency: Latency,
    /// Skipped numbers by stream. Kept over rounds, so that a late event is told from a second one.
    missing: HashMap<u32, Vec<Range<u64>>>,
    /// None if an event is the publisher's data and nothing else.
    form: Option<Box<EventTemplate>>,
}

impl Checker {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { tally: WorkerTally::default(), latency: Latency::new()?, missing: HashMap::new(), form: None })
    }

    /// From now on events have this form, and others are the server's own.
    pub(crate) fn expect_form(&mut self, form: Option<Box<EventTemplate>>) {
        self.form = form;
    }

    pub(crate) fn deliveries(&self) -> u64 {
        self.tally.deliveries
    }

    /// Checks one event that came at `now_nanos`.
    pub(crate) fn check(&mut self, expectation: &mut Expectation, event: SseBlock<'_>, now_nanos: u64) {
        if event.data_lines == 0 {
            return;
        }
        if event.event == GAP {
            self.tally.gaps += 1;
        }
        if event.event.starts_with(OWN) {
            return;
        }
        let data = match &self.form {
            None => event.data,
            Some(form) => match form.data(event.data) {
                Some(data) => data,
                None => return,
            },
        };
        let Some(payload) = payload::read(data).filter(|_| event.data_lines == 1) else {
            self.tally.corrupt += 1;
            return;
        };
        if payload.channel != expectation.channel {
            self.tally.foreign += 1;
            return;
        }
        if payload.number >= expectation.next {
            self.skip(expectation, payload.number);
            expectation.next = payload.number + 1;
        } else if self.take_missing(expectation.stream, payload.number) {
            self.tally.reordered += 1;
            self.tally.lost = self.tally.lost.saturating_sub(1);
        } else {
            self.tally.duplicated += 1;
            return;
        }
        self.tally.deliveries += 1;
        self.tally.last_delivery_nanos = now_nanos;
        self.latency.record(now_nanos.saturating_sub(payload.sent_nanos));
    }

    /// Counts everything below `next` that the stream has not seen as lost.
    pub(crate) fn skip(&mut self, expectation: &mut Expectation, next: u64) {
        if next > expectation.next {
            self.tally.lost += next - expectation.next;
            self.missing.entry(expectation.stream).or_default().push(expectation.next..next);
            expectation.next = next;
        }
    }

    /// Ends the round: returns the tally and starts counting anew.
    pub(crate) fn take_tally(&mut self) -> WorkerTally {
        let tally = WorkerTally { latency: self.latency.samples(), ..std::mem::take(&mut self.tally) };
        self.latency.clear();
        tally
    }

    /// Whether this number was missing on this stream; it no longer is.
    fn take_missing(&mut self, stream: u32, number: u64) -> bool {
        let Some(ranges) = self.missing.get_mut(&stream) else { return false };
        let Some(at) = ranges.iter().position(|range| range.contains(&number)) else { return false };
        let range = ranges.swap_remove(at);
        for rest in [range.start..number, number + 1..range.end] {
            if !rest.is_empty() {
                ranges.push(rest);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "the histogram's bounds are constants")]
    use super::*;
    use crate::hold::decoder::Decoder;
    use crate::payload::{Payload, PayloadWriter};

    const HEAD: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n:\n\r\n1\r\n\n\r\n";
    const CHANNEL: u32 = 5;

    /// One event of `channel` as it stands on the wire.
    fn frame(channel: u32, number: u64) -> Vec<u8> {
        let mut text = format!("id: a.1.{number}\ndata: ").into_bytes();
        PayloadWriter::new(128).write(Payload { number, sent_nanos: 1_000, channel }, &mut text);
        text.extend_from_slice(b"\n\n");
        [format!("{:x}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat()
    }

    /// The tally of a stream that carries these frames and should carry `published` events.
    fn checked(frames: &[Vec<u8>], published: u64) -> WorkerTally {
        let mut checker = Checker::new().unwrap();
        let mut expectation = Expectation { stream: 0, channel: CHANNEL, next: 1 };
        let mut decoder = Decoder::default();
        let wire = [HEAD, &frames.concat()].concat();
        // Cut into pieces that match no border, as a socket would.
        for piece in wire.chunks(37) {
            decoder.feed(piece, &mut |event| checker.check(&mut expectation, event, 5_000)).unwrap();
        }
        checker.skip(&mut expectation, published + 1);
        checker.take_tally()
    }

    fn frames(numbers: &[u64]) -> Vec<Vec<u8>> {
        numbers.iter().map(|number| frame(CHANNEL, *number)).collect()
    }

    fn is_clean(tally: &WorkerTally) -> bool {
        tally.lost + tally.duplicated + tally.reordered + tally.corrupt + tally.foreign == 0
    }

    /// Deliveries, lost, duplicated, reordered, corrupt.
    fn counts(tally: &WorkerTally) -> [u64; 5] {
        [tally.deliveries, tally.lost, tally.duplicated, tally.reordered, tally.corrupt]
    }

    #[test]
    fn sound_stream_is_clean() {
        let tally = checked(&frames(&[1, 2, 3, 4]), 4);
        assert_eq!(counts(&tally), [4, 0, 0, 0, 0]);
        assert!(is_clean(&tally));
        assert_eq!(tally.last_delivery_nanos, 5_000);
    }

    #[test]
    fn lost_event_is_caught_in_the_middle_and_at_the_end() {
        assert_eq!(counts(&checked(&frames(&[1, 3, 4]), 4)), [3, 1, 0, 0, 0]);
        assert_eq!(counts(&checked(&frames(&[1, 2]), 4)), [2, 2, 0, 0, 0]);
        assert_eq!(counts(&checked(&[], 4)), [0, 4, 0, 0, 0]);
        assert!(!is_clean(&checked(&frames(&[2]), 2)));
    }

    #[test]
    fn doubled_event_is_caught() {
        let tally = checked(&frames(&[1, 2, 2, 3, 1]), 3);
        assert_eq!(counts(&tally), [3, 0, 2, 0, 0]);
        assert!(!is_clean(&tally));
    }

    #[test]
    fn swapped_events_are_caught_and_not_called_lost() {
        let tally = checked(&frames(&[1, 3, 2, 4]), 4);
        assert_eq!(counts(&tally), [4, 0, 0, 1, 0]);
        assert!(!is_clean(&tally));
    }

    #[test]
    fn late_event_that_comes_twice_is_doubled_too() {
        assert_eq!(counts(&checked(&frames(&[1, 5, 3, 3]), 5)), [3, 2, 1, 1, 0]);
    }

    #[test]
    fn cut_event_is_caught() {
        let mut wire = frames(&[1, 2, 3]);
        // The second event loses its last ten bytes of data but keeps its framing.
        let text = format!("id: a.1.2\ndata: {}\n\n", &String::from_utf8_lossy(&wire[1])[20..138]);
        wire[1] = format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
        let tally = checked(&wire, 3);
        assert_eq!(counts(&tally), [2, 1, 0, 0, 1]);
    }

    #[test]
    fn event_split_over_data_lines_is_corrupt() {
        let mut text = b"data: first\ndata: ".to_vec();
        PayloadWriter::new(128).write(Payload { number: 1, sent_nanos: 0, channel: CHANNEL }, &mut text);
        text.extend_from_slice(b"\n\n");
        let wire = [format!("{:x}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat();
        assert_eq!(counts(&checked(&[wire], 1)), [0, 1, 0, 0, 1]);
    }

    #[test]
    fn event_of_another_channel_is_caught() {
        let tally = checked(&[frame(CHANNEL, 1), frame(CHANNEL + 1, 2), frame(CHANNEL, 2)], 2);
        assert_eq!(tally.foreign, 1);
        assert!(!is_clean(&tally));
    }

    #[test]
    fn the_servers_own_events_are_no_event_of_a_publisher() {
        let text = "event: fantail.close\ndata: {}\nretry: 1234567\n\n";
        let close = format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
        assert!(is_clean(&checked(&[frame(CHANNEL, 1), close], 1)));
    }

    #[test]
    fn declared_gap_is_counted_but_does_not_excuse_the_loss() {
        let gap = b"1e\r\nevent: fantail.gap\ndata: {}\n\n\n\r\n".to_vec();
        let tally = checked(&[frame(CHANNEL, 1), gap, frame(CHANNEL, 3)], 3);
        assert_eq!((tally.gaps, tally.lost, tally.corrupt), (1, 1, 0));
    }

    #[test]
    fn event_that_comes_after_its_round_is_late_not_doubled() {
        let mut checker = Checker::new().unwrap();
        let mut expectation = Expectation { stream: 0, channel: CHANNEL, next: 1 };
        checker.skip(&mut expectation, 3);
        assert_eq!(checker.take_tally().lost, 2);
        let mut data = Vec::new();
        PayloadWriter::new(128).write(Payload { number: 2, sent_nanos: 0, channel: CHANNEL }, &mut data);
        checker.check(&mut expectation, SseBlock { data: &data, data_lines: 1, ..SseBlock::default() }, 1);
        let tally = checker.take_tally();
        assert_eq!((tally.reordered, tally.duplicated, tally.lost), (1, 0, 0));
    }
}
