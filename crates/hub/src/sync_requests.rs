//! Streams whose id is ahead of this node, and the questions to the feed how far it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use fantail_wire::ChannelName;
use parking_lot::Mutex;

use crate::Channel;

/// Channels whose streams wait for the feed's numbering. At most one question is under way. A stream that comes meanwhile
/// waits for the next.
#[derive(Debug, Default)]
pub(crate) struct SyncRequests(Mutex<Questions>);

#[derive(Debug, Default)]
struct Questions {
    /// The newest question that somebody waits for, the newest asked, and the newest answered.
    wanted: u64,
    asked: u64,
    answered: u64,
    /// Channels by whose marks the waiting streams are woken, however many there are of them.
    waiting: BTreeMap<ChannelName, Arc<Channel>>,
}

impl SyncRequests {
    /// A question that is asked from now on.
    pub(crate) fn want(&self) -> u64 {
        let mut state = self.0.lock();
        state.wanted = state.asked + 1;
        state.wanted
    }

    /// Whether the question was answered. If not, the channel's shards are told when one is.
    pub(crate) fn is_answered(&self, question: u64, channel: &Arc<Channel>) -> bool {
        let mut state = self.0.lock();
        if state.answered >= question {
            return true;
        }
        state.waiting.insert(channel.name().clone(), Arc::clone(channel));
        false
    }

    /// Takes the next question as asked. True if there is one.
    pub(crate) fn ask(&self) -> bool {
        let mut state = self.0.lock();
        let is_due = state.wanted > state.asked && state.asked == state.answered;
        state.asked += u64::from(is_due);
        is_due
    }

    /// The feed has told how far it is. Returns whom to wake, and whether there is another question.
    pub(crate) fn answered(&self) -> (BTreeMap<ChannelName, Arc<Channel>>, bool) {
        let mut state = self.0.lock();
        state.answered = state.asked;
        (std::mem::take(&mut state.waiting), state.wanted > state.asked)
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::{GapReason, Lane};

    use super::*;
    use crate::channel::Follow;
    use crate::{Floor, Position};

    #[test]
    fn a_stream_that_comes_while_a_question_is_under_way_waits_for_the_next() {
        let name = ChannelName::parse("a").expect("valid");
        let floor = Floor { position: Position::ORIGIN, at_ms: 0, reason: GapReason::Trimmed };
        let channel = Arc::new(Channel::new(name, None, Lane::default(), 0, floor, Follow::Confirmed, 0));
        let requests = SyncRequests::default();
        assert!(!requests.ask(), "nobody wants to know");
        let first = requests.want();
        assert!(requests.ask());
        let second = requests.want();
        assert!(first != second && !requests.ask(), "one at a time");
        assert!(!requests.is_answered(first, &channel) && !requests.is_answered(second, &channel));
        let (woken, more) = requests.answered();
        assert_eq!((woken.len(), more), (1, true));
        assert!(requests.is_answered(first, &channel) && !requests.is_answered(second, &channel));
        assert!(requests.ask());
        assert_eq!(requests.answered().0.len(), 1);
        assert!(requests.is_answered(second, &channel));
    }
}
