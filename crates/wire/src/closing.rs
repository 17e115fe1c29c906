//! The last words to a stream that is ended on purpose: why, and when to come back.

use std::fmt;

use crate::Frame;
use crate::sse::write_field;

/// Why a stream is ended on purpose. The text forms are part of the wire contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closing {
    /// The node is going away.
    Drained,
    /// The client was slower than what is kept for it.
    Overrun,
    /// One of its channels was deleted.
    ChannelDeleted,
    /// An operator ended it.
    Kicked,
    /// The node holds as many channels as it may.
    Refused,
    /// The feed did not confirm its channels in time.
    FollowTimeout,
}

impl Closing {
    /// The reason as it stands in the event's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Overrun => "overrun",
            Self::ChannelDeleted => "channel-deleted",
            Self::Kicked => "kicked",
            Self::Refused => "refused",
            Self::FollowTimeout => "follow-timeout",
        }
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A frame with the event `fantail.close` and the time after which to come back. It has no id: the client keeps the one
/// it has, and goes on from there. Without a reason it is the time alone, which no client hands to its program.
pub fn closing_frame(reason: Option<Closing>, retry_ms: u32) -> Frame {
    let mut text = Vec::new();
    if let Some(reason) = reason {
        write_field(&mut text, "event", "fantail.close");
        write_field(&mut text, "data", &format!(r#"{{"reason":"{reason}"}}"#));
    }
    write_field(&mut text, "retry", &retry_ms.to_string());
    text.push(b'\n');
    Frame::build(text.len(), |out| out.extend_from_slice(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Framing;

    #[test]
    fn the_last_words_tell_why_and_when_and_leave_the_id_alone() {
        let told = closing_frame(Some(Closing::ChannelDeleted), 2500);
        let expected = b"event: fantail.close\ndata: {\"reason\":\"channel-deleted\"}\nretry: 2500\n\n";
        assert_eq!(told.bytes(Framing::CloseDelimited), expected);
        assert_eq!(closing_frame(None, 7).bytes(Framing::CloseDelimited), b"retry: 7\n\n");
    }
}
