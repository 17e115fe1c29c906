//! The last words to a stream that is ended on purpose: why, and when to come back.

use crate::sse::write_field;
use crate::words::words;
use crate::{BareBlocks, Frame};

words! {
    /// Why a stream is ended on purpose.
    pub enum Closing {
        /// The node is going away.
        Drained = "drained",
        /// The client was slower than what is kept for it.
        Overrun = "overrun",
        /// One of its channels was deleted.
        ChannelDeleted = "channel-deleted",
        /// An operator ended it.
        Kicked = "kicked",
        /// The node holds as many channels as it may.
        Refused = "refused",
        /// Its address has made as many channels as one may.
        TooManyChannels = "too-many-channels",
        /// Its subject, its token or its address has as many streams open as one may.
        TooManyStreams = "too-many-streams",
        /// The feed did not confirm its channels in time.
        FollowTimeout = "follow-timeout",
        /// As many connections are open as may be.
        Overloaded = "overloaded",
        /// The token that opened it has come to its end.
        TokenExpired = "token-expired",
        /// It was open for as long as one stream may be.
        Lifetime = "lifetime",
        /// An operator took back the right to read it.
        Revoked = "revoked",
        /// The client sent something into an encrypted stream, such as a new key.
        TlsInput = "tls-input",
        /// The service that decides who may read cannot be asked now.
        AccessUnavailable = "access-unavailable",
    }
}

/// A frame with the event `fantail.close` and the time after which to come back. It has no id: the client keeps the one
/// it has, and goes on from there. Without a reason it is the time alone, which no client hands to its program.
pub fn closing_frame(reason: Option<Closing>, retry_ms: u32, bare: BareBlocks) -> Frame {
    let mut text = Vec::new();
    if let Some(reason) = reason {
        write_field(&mut text, "event", "fantail.close");
        write_field(&mut text, "data", &format!(r#"{{"reason":"{reason}"}}"#));
    }
    write_field(&mut text, "retry", &retry_ms.to_string());
    text.extend_from_slice(if reason.is_some() { "\n" } else { bare.end() }.as_bytes());
    Frame::build(text.len(), |out| out.extend_from_slice(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Framing;

    #[test]
    fn the_last_words_tell_why_and_when_and_leave_the_id_alone() {
        let told = closing_frame(Some(Closing::ChannelDeleted), 2500, BareBlocks::Joined);
        let expected = b"event: fantail.close\ndata: {\"reason\":\"channel-deleted\"}\nretry: 2500\n\n";
        assert_eq!(told.bytes(Framing::CloseDelimited), expected);
        let hint = |bare| closing_frame(None, 7, bare);
        assert_eq!(hint(BareBlocks::Closed).bytes(Framing::CloseDelimited), b"retry: 7\n\n");
        assert_eq!(hint(BareBlocks::Joined).bytes(Framing::CloseDelimited), b"retry: 7\n");
    }
}
