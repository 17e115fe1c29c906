//! The gap event: how a stream says that something it should have had is missing.

use crate::sse::write_field;
use crate::words::words;
use crate::{BareBlocks, ChannelName, EventId, Frame, Framing};

const EMPTY_COMMENT: &[u8] = b":\n";

words! {
    /// Why events may be missing.
    pub enum GapReason {
        /// The client's last id is of a numbering that this node does not know, or is no id that anyone gave.
        UnknownId = "unknown-id",
        /// The id is of a known numbering but beyond its end.
        BeyondEnd = "beyond-end",
        /// The channel's log no longer reaches back to the client's last id.
        Trimmed = "trimmed",
        /// The feed was away for a while; what was published meanwhile is not known.
        Outage = "outage",
        /// The channel was deleted, its log with it.
        Deleted = "deleted",
        /// Nobody here followed the channel for a while.
        NotFollowed = "not-followed",
        /// A line of the feed's numbering ended; the last events of it may be lost.
        TermEnded = "term-ended",
        /// The feed found that something is missing which it cannot bring any more.
        Lost = "lost",
        /// The client was slower than what is kept, and the channel's policy is to go on without what it missed.
        Skipped = "skipped",
    }
}

/// A frame with the event `fantail.gap`: something of `channel` is missing before `id`, where delivery goes on. The id has the
/// place that it has in an event.
pub fn gap_frame(channel: &ChannelName, reason: GapReason, id: Option<EventId>, bare: BareBlocks) -> Frame {
    let mut text = Vec::new();
    let write_id = |text: &mut Vec<u8>, at: BareBlocks| {
        if let (Some(id), true) = (id, at == bare) {
            write_field(text, "id", &id.to_string());
        }
    };
    write_id(&mut text, BareBlocks::Closed);
    write_field(&mut text, "event", "fantail.gap");
    // Neither a channel name nor a reason holds a character that JSON escapes.
    write_field(&mut text, "data", &format!(r#"{{"channel":"{channel}","reason":"{reason}"}}"#));
    text.push(b'\n');
    write_id(&mut text, BareBlocks::Joined);
    Frame::build(text.len(), |out| out.extend_from_slice(&text))
}

/// The same gap without its id, for one that is told together with what follows at the same place.
#[must_use]
pub fn gap_frame_without_id(frame: &Frame) -> Frame {
    let lines = frame.bytes(Framing::CloseDelimited).split_inclusive(|&byte| byte == b'\n');
    let mut text = lines.filter(|line| !line.starts_with(b"id: ")).collect::<Vec<_>>().concat();
    if text.is_empty() {
        // The id was all there was.
        text.extend_from_slice(EMPTY_COMMENT);
    }
    Frame::build(text.len(), |out| out.extend_from_slice(&text))
}

/// A gap for clients that cannot stand events of ours: their id moves all the same, and no event tells of it. Without an
/// id it is a comment, so that it takes a gap's place among what is written.
pub fn silent_gap_frame(id: Option<EventId>, bare: BareBlocks) -> Frame {
    let mut text = Vec::new();
    match id {
        Some(id) => write_field(&mut text, "id", &id.to_string()),
        None => text.extend_from_slice(EMPTY_COMMENT),
    }
    text.extend_from_slice(bare.end().as_bytes());
    Frame::build(text.len(), |out| out.extend_from_slice(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Term;

    #[test]
    fn a_gap_names_channel_and_reason_and_where_delivery_goes_on() {
        let channel = ChannelName::parse("a/b").expect("valid");
        let id = EventId::new(Term::from_random(0), 5, 7);
        let gap = |id, bare| gap_frame(&channel, GapReason::Outage, id, bare);
        let (frame, joined) = (gap(Some(id), BareBlocks::Closed), gap(Some(id), BareBlocks::Joined));
        for with_id in [&frame, &joined] {
            assert_eq!(gap_frame_without_id(with_id), gap(None, BareBlocks::Closed));
        }
        assert!(joined.bytes(Framing::CloseDelimited).ends_with(b"}\n\nid: aaaaaaaaaaaa.5.7\n"));
        assert_eq!(
            frame.bytes(Framing::CloseDelimited),
            b"id: aaaaaaaaaaaa.5.7\nevent: fantail.gap\ndata: {\"channel\":\"a/b\",\"reason\":\"outage\"}\n\n"
        );
    }
    #[test]
    fn a_silent_gap_moves_the_id_and_is_no_event() {
        let id = EventId::new(Term::from_random(0), 5, 7);
        for (bare, end) in [(BareBlocks::Closed, "\n\n"), (BareBlocks::Joined, "\n")] {
            let text = |frame: Frame| String::from_utf8(frame.bytes(Framing::CloseDelimited).to_vec()).expect("text");
            let frame = silent_gap_frame(Some(id), bare);
            assert!(!text(gap_frame_without_id(&frame)).is_empty());
            assert_eq!(text(frame), format!("id: aaaaaaaaaaaa.5.7{end}"));
            assert_eq!(text(silent_gap_frame(None, bare)), format!(":{end}"));
        }
    }
}
