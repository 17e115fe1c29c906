//! The event that tells open streams how the feed is.

use crate::Frame;
use crate::sse::write_field;

/// A frame with the event `fantail.feed`. It has no id, so the client's own stays.
pub fn feed_frame(connected: bool) -> Frame {
    let state = if connected { "connected" } else { "connecting" };
    let mut text = Vec::new();
    write_field(&mut text, "event", "fantail.feed");
    write_field(&mut text, "data", &format!(r#"{{"state":"{state}"}}"#));
    text.push(b'\n');
    Frame::build(text.len(), |out| out.extend_from_slice(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Framing;

    #[test]
    fn the_state_of_the_feed_is_an_event_without_an_id() {
        let text = |connected| feed_frame(connected).bytes(Framing::CloseDelimited).to_vec();
        assert_eq!(text(false), b"event: fantail.feed\ndata: {\"state\":\"connecting\"}\n\n");
        assert_eq!(text(true), b"event: fantail.feed\ndata: {\"state\":\"connected\"}\n\n");
    }
}
