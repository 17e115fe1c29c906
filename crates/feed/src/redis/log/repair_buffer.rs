//! Messages that wait while missed events are read: bounded, in the order of the socket.

use std::collections::HashSet;

use fantail_wire::ChannelName;
use foldhash::fast::RandomState;

use crate::redis::names::ChannelKind;

/// Messages that may wait. A repair that takes longer starts over from where it came to, and reads the dropped ones.
const MESSAGES_MAX: usize = 65_536;
const BYTES_MAX: usize = 32 << 20;

/// The messages.
#[derive(Debug, Default)]
pub(crate) struct RepairBuffer {
    messages: Vec<Message>,
    bytes: usize,
    overflowed: bool,
    /// The channels of dropped messages that stand in no Stream; no more than are followed.
    dropped: HashSet<ChannelName, RandomState>,
}

/// One message as it came.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: ChannelKind,
    pub(crate) channel: ChannelName,
    pub(crate) payload: Vec<u8>,
}

impl RepairBuffer {
    /// Keeps a message, or drops all of them if it is too much.
    pub(crate) fn push(&mut self, message: Message) {
        self.bytes += message.payload.len();
        self.overflowed |= self.messages.len() == MESSAGES_MAX || self.bytes > BYTES_MAX;
        self.messages.push(message);
        if self.overflowed {
            self.drop_all();
        }
    }

    /// Begins anew, if messages were dropped: those that come from now on are kept again.
    pub(crate) fn begin(&mut self) {
        self.overflowed = false;
    }

    /// The connection is lost: the next one begins with nothing.
    pub(crate) fn lose(&mut self) {
        self.drop_all();
        self.overflowed = false;
    }

    /// A channel is wanted no longer.
    pub(crate) fn forget(&mut self, channel: &ChannelName) {
        self.dropped.remove(channel);
    }

    /// The channels of messages that were dropped and cannot be read again, in any order.
    pub(crate) fn take_dropped(&mut self) -> impl Iterator<Item = ChannelName> {
        std::mem::take(&mut self.dropped).into_iter()
    }

    /// The messages since [`begin`](Self::begin), if all of them are here.
    pub(crate) fn take(&mut self) -> Option<Vec<Message>> {
        self.bytes = 0;
        (!self.overflowed).then(|| std::mem::take(&mut self.messages))
    }

    fn drop_all(&mut self) {
        let dropped = std::mem::take(&mut self.messages).into_iter();
        self.dropped.extend(dropped.filter(|message| message.kind != ChannelKind::Log).map(|message| message.channel));
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).expect("valid")
    }

    fn message(payload: Vec<u8>) -> Message {
        Message { kind: ChannelKind::Log, channel: channel("a"), payload }
    }

    #[test]
    fn a_full_repair_buffer_drops_everything_until_the_next_repair() {
        let mut buffer = RepairBuffer::default();
        buffer.push(message(vec![0; BYTES_MAX]));
        buffer.push(message(vec![0]));
        buffer.push(message(vec![0]));
        assert!(buffer.messages.is_empty() && buffer.take().is_none());
        buffer.begin();
        buffer.push(message(vec![1]));
        assert_eq!(buffer.take().expect("complete").len(), 1);
        for _ in 0..=MESSAGES_MAX {
            buffer.push(message(Vec::new()));
        }
        assert!(buffer.take().is_none());
    }
    #[test]
    fn channels_of_dropped_messages_that_cannot_be_read_again_are_remembered() {
        let plain = |name| Message { kind: ChannelKind::Plain, channel: channel(name), payload: Vec::new() };
        let mut buffer = RepairBuffer::default();
        buffer.push(plain("early"));
        buffer.push(message(vec![0; BYTES_MAX + 1]));
        for name in ["late", "late", "gone"] {
            buffer.push(plain(name));
        }
        buffer.forget(&channel("gone"));
        buffer.begin();
        buffer.push(plain("kept"));
        let mut dropped: Vec<_> = buffer.take_dropped().collect();
        dropped.sort_unstable();
        assert_eq!(dropped, ["early", "late"].map(channel));
        buffer.lose();
        assert_eq!(buffer.take_dropped().collect::<Vec<_>>(), [channel("kept")]);
        assert!(buffer.take().expect("nothing is missing").is_empty());
    }
}
