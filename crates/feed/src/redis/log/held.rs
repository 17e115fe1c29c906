//! Messages that wait while what was missed before them is read: bounded, in the order of the socket.

use fantail_wire::ChannelName;

use crate::redis::names::Kind;

/// What may wait. A repair that takes longer starts over from where it came to, and reads what was dropped here.
const MESSAGES_MAX: usize = 65_536;
const BYTES_MAX: usize = 32 << 20;

/// The messages.
#[derive(Debug, Default)]
pub(crate) struct Held {
    messages: Vec<Message>,
    bytes: usize,
    overflowed: bool,
}

/// One message as it came.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) channel: ChannelName,
    pub(crate) payload: Vec<u8>,
}

impl Held {
    /// Keeps a message, or drops all of them if it is too much.
    pub(crate) fn push(&mut self, message: Message) {
        self.bytes += message.payload.len();
        if self.overflowed || self.messages.len() == MESSAGES_MAX || self.bytes > BYTES_MAX {
            *self = Self { overflowed: true, ..Self::default() };
        } else {
            self.messages.push(message);
        }
    }

    /// Begins anew, if messages were dropped: those that come from now on are kept again.
    pub(crate) fn begin(&mut self) {
        if self.overflowed {
            *self = Self::default();
        }
    }

    /// The messages since [`begin`](Self::begin), if all of them are here.
    pub(crate) fn take(&mut self) -> Option<Vec<Message>> {
        (!self.overflowed).then(|| std::mem::take(self).messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: Vec<u8>) -> Message {
        Message { kind: Kind::Log, channel: ChannelName::parse("a").expect("valid"), payload }
    }

    #[test]
    fn what_is_too_much_is_dropped_whole_until_the_next_beginning() {
        let mut held = Held::default();
        held.push(message(vec![0; BYTES_MAX]));
        held.push(message(vec![0]));
        held.push(message(vec![0]));
        assert!(held.messages.is_empty() && held.take().is_none());
        held.begin();
        held.push(message(vec![1]));
        assert_eq!(held.take().expect("complete").len(), 1);
        for _ in 0..=MESSAGES_MAX {
            held.push(message(Vec::new()));
        }
        assert!(held.take().is_none());
    }
}
