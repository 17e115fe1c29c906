//! How the feed is: for `/readyz`, the metrics and open streams.

use crate::Frame;
use crate::sse::write_field;
use crate::words::words;

words! {
    /// How the feed is.
    pub enum FeedState {
        /// Events come from this process alone, which cannot be disconnected.
        Memory = "memory",
        /// Not connected; trying again for ever.
        Connecting = "connecting",
        /// Events of some lanes arrive; the others are not connected.
        Partly = "partly",
        /// Events arrive: every channel wanted when the connection was made has been confirmed.
        Connected = "connected",
    }
}

impl FeedState {
    /// Whether the events of all lanes arrive.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Memory | Self::Connected)
    }
}

/// A frame with the event `fantail.feed`. It has no id, so the client's own stays.
pub fn feed_frame(connected: bool) -> Frame {
    let state = if connected { FeedState::Connected } else { FeedState::Connecting };
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
