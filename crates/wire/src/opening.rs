//! The first bytes of every stream, sent with its head.

use crate::sse::write_field;
use crate::{BareBlocks, EventId, Frame};

/// A comment, so that no payload byte is ever first (a BOM there would be eaten) and proxies pass something on at once;
/// the reconnection time; and the id of where the stream starts, which browsers keep though no event goes with it: a
/// client that saw no event yet still comes back to the right place.
pub fn opening_frame(retry_ms: u32, id: Option<EventId>, bare: BareBlocks) -> Frame {
    let mut text = b":\n".to_vec();
    write_field(&mut text, "retry", &retry_ms.to_string());
    if let Some(id) = id {
        write_field(&mut text, "id", &id.to_string());
    }
    text.extend_from_slice(bare.end().as_bytes());
    Frame::build(text.len(), |out| out.extend_from_slice(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Framing, Term};

    #[test]
    fn the_opening_starts_with_a_comment_and_carries_retry_and_id() {
        let frame = |bare| opening_frame(2500, Some(EventId::new(Term::from_random(0), 1, 0)), bare);
        let text = b":\nretry: 2500\nid: aaaaaaaaaaaa.1.0\n\n";
        assert_eq!(frame(BareBlocks::Closed).bytes(Framing::CloseDelimited), text);
        assert_eq!(frame(BareBlocks::Joined).bytes(Framing::CloseDelimited), &text[..text.len() - 1]);
    }
}
