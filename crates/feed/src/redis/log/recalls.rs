//! Recalls that are asked for and not answered: one for each channel, over however many connections it takes.

use std::collections::{HashMap, VecDeque};

use fantail_wire::ChannelName;
use foldhash::fast::RandomState;

use super::recall::Recall;

/// What is asked for. Bounded by the channels that are followed.
#[derive(Debug, Default)]
pub(crate) struct Recalls {
    unanswered: HashMap<ChannelName, Recall, RandomState>,
    waiting: VecDeque<ChannelName>,
}

impl Recalls {
    /// Asks. A later question about a channel replaces the earlier one, whose answer is then none.
    pub(crate) fn ask(&mut self, recall: Recall) {
        let channel = recall.channel.clone();
        self.unanswered.insert(channel.clone(), recall);
        self.waiting.push_back(channel);
    }

    /// The next one to be read.
    pub(crate) fn next(&mut self) -> Option<Recall> {
        while let Some(channel) = self.waiting.pop_front() {
            if let Some(recall) = self.unanswered.get(channel.as_str()) {
                return Some(recall.clone());
            }
        }
        None
    }

    /// Whether this is the answer to what is asked now; then it is asked no longer.
    pub(crate) fn answered(&mut self, recall: &Recall) -> bool {
        let is_asked = self.unanswered.get(recall.channel.as_str()) == Some(recall);
        if is_asked {
            self.unanswered.remove(recall.channel.as_str());
        }
        is_asked
    }

    /// Nobody asks for the channel any more.
    pub(crate) fn forget(&mut self, channel: &ChannelName) {
        self.unanswered.remove(channel.as_str());
    }

    /// A connection was lost with whatever it was reading: everything is asked again.
    pub(crate) fn again(&mut self) {
        self.waiting = self.unanswered.keys().cloned().collect();
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::{EventId, Term};

    use super::*;

    fn recall(channel: &str, up_to: u64) -> Recall {
        let up_to = EventId::new(Term::from_random(1), 1, up_to);
        Recall { channel: ChannelName::parse(channel).expect("valid"), above: None, up_to, events_max: 9 }
    }

    #[test]
    fn a_recall_is_asked_until_it_is_answered_and_only_its_own_answer_counts() {
        let mut recalls = Recalls::default();
        recalls.ask(recall("a", 5));
        assert_eq!(recalls.next(), Some(recall("a", 5)));
        assert_eq!(recalls.next(), None);
        recalls.again();
        assert_eq!(recalls.next(), Some(recall("a", 5)));
        recalls.ask(recall("a", 7));
        assert!(!recalls.answered(&recall("a", 5)), "an answer to an older question");
        assert!(recalls.answered(&recall("a", 7)));
        recalls.again();
        assert_eq!(recalls.next(), None);
    }

    #[test]
    fn nothing_is_read_for_a_channel_that_is_followed_no_longer() {
        let mut recalls = Recalls::default();
        recalls.ask(recall("a", 5));
        recalls.forget(&recall("a", 5).channel);
        assert_eq!(recalls.next(), None);
    }
}
