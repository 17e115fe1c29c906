//! Recalls that are asked for and not answered: one for each channel, over however many connections it takes.

use std::collections::{BTreeMap, HashMap};

use fantail_wire::{ChannelName, EventId};
use foldhash::fast::RandomState;

/// A question for older events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecallRequest {
    pub(crate) channel: ChannelName,
    /// Everything above this place; none for as much as there is.
    pub(crate) above: Option<EventId>,
    /// Up to here.
    pub(crate) up_to: EventId,
    /// The newest so many events.
    pub(crate) events_max: usize,
}

/// Connections that may end while a recall is read together with others. One that ends now and then says nothing about what was read, and a
/// thousand readings one by one would take minutes.
const CUTS_TOGETHER_MAX: u32 = 1;

/// The open questions. Bounded by the channels that are followed.
#[derive(Debug, Default)]
pub(crate) struct RecallQueue {
    unanswered: HashMap<ChannelName, Asked, RandomState>,
    /// The channels that are not being read yet, each once, in their order.
    waiting: BTreeMap<u64, ChannelName>,
    tickets: u64,
}

#[derive(Debug)]
struct Asked {
    recall: RecallRequest,
    /// Its place among those that wait.
    ticket: Option<u64>,
    /// Connections that ended while it was read.
    cuts: u32,
    /// It is not read together with others.
    is_alone: bool,
}

impl Asked {
    fn is_read_alone(&self) -> bool {
        self.is_alone || self.cuts > CUTS_TOGETHER_MAX
    }
}

impl RecallQueue {
    /// Asks. A later question about a channel replaces the earlier one, whose answer is then none.
    pub(crate) fn ask(&mut self, recall: RecallRequest) {
        let before = self.unanswered.get(recall.channel.as_str());
        let (ticket, cuts) = before.map_or((None, 0), |asked| (asked.ticket, asked.cuts));
        let ticket = ticket.unwrap_or_else(|| self.queue(recall.channel.clone()));
        self.unanswered.insert(recall.channel.clone(), Asked { recall, ticket: Some(ticket), cuts, is_alone: false });
    }

    /// The next ones to be read, at most so many together. One that is to be read alone is, and so is one that several connections ended with.
    pub(crate) fn next_together(&mut self, max: usize) -> Vec<RecallRequest> {
        let mut together = Vec::new();
        while together.len() < max {
            let Some(entry) = self.waiting.first_entry() else { break };
            let is_alone = self.unanswered.get(entry.get().as_str()).is_some_and(Asked::is_read_alone);
            if is_alone && !together.is_empty() {
                break;
            }
            together.extend(self.next());
            if is_alone {
                break;
            }
        }
        together
    }

    /// Was read together with others, and has to be read alone.
    pub(crate) fn ask_alone(&mut self, recall: &RecallRequest) {
        if self.unanswered.get(recall.channel.as_str()).is_none_or(|asked| asked.recall != *recall) {
            return;
        }
        let ticket = self.queue(recall.channel.clone());
        if let Some(asked) = self.unanswered.get_mut(recall.channel.as_str()) {
            (asked.ticket, asked.is_alone) = (Some(ticket), true);
        }
    }

    /// The next one to be read.
    pub(crate) fn next(&mut self) -> Option<RecallRequest> {
        let (_, channel) = self.waiting.pop_first()?;
        let asked = self.unanswered.get_mut(channel.as_str())?;
        asked.ticket = None;
        Some(asked.recall.clone())
    }

    /// Whether this is the answer to what is asked now; then it is asked no longer.
    pub(crate) fn answered(&mut self, recall: &RecallRequest) -> bool {
        let is_asked = self.unanswered.get(recall.channel.as_str()).is_some_and(|asked| asked.recall == *recall);
        if is_asked {
            self.forget(&recall.channel);
        }
        is_asked
    }

    /// Nobody asks for the channel any more.
    pub(crate) fn forget(&mut self, channel: &ChannelName) {
        if let Some(ticket) = self.unanswered.remove(channel.as_str()).and_then(|asked| asked.ticket) {
            self.waiting.remove(&ticket);
        }
    }

    /// A connection was lost with whatever it was reading: everything is asked again, and the cut is counted.
    pub(crate) fn cut_off(&mut self) {
        for asked in self.unanswered.values_mut().filter(|asked| asked.ticket.is_none()) {
            asked.cuts += 1;
        }
        self.again();
    }

    /// How many connections were lost while a channel's recall was read.
    pub(crate) fn cuts(&self, channel: &ChannelName) -> u32 {
        self.unanswered.get(channel.as_str()).map_or(0, |asked| asked.cuts)
    }

    /// Whatever was being read has come to nothing: everything is asked again.
    pub(crate) fn again(&mut self) {
        let being_read = self.unanswered.iter().filter(|(_, asked)| asked.ticket.is_none());
        let channels: Vec<_> = being_read.map(|(channel, _)| channel.clone()).collect();
        for channel in channels {
            let ticket = self.queue(channel.clone());
            if let Some(asked) = self.unanswered.get_mut(channel.as_str()) {
                asked.ticket = Some(ticket);
            }
        }
    }

    fn queue(&mut self, channel: ChannelName) -> u64 {
        self.tickets += 1;
        self.waiting.insert(self.tickets, channel);
        self.tickets
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::Term;

    use super::*;

    fn recall(channel: &str, up_to: u64) -> RecallRequest {
        let up_to = EventId::new(Term::from_random(1), 1, up_to);
        RecallRequest { channel: ChannelName::parse(channel).expect("valid"), above: None, up_to, events_max: 9 }
    }

    #[test]
    fn a_recall_is_asked_until_it_is_answered_and_only_its_own_answer_counts() {
        let mut queue = RecallQueue::default();
        queue.ask(recall("a", 5));
        assert_eq!(queue.next(), Some(recall("a", 5)));
        assert_eq!(queue.next(), None);
        queue.again();
        assert_eq!(queue.next(), Some(recall("a", 5)));
        queue.ask(recall("a", 7));
        assert!(!queue.answered(&recall("a", 5)), "an answer to an older question");
        assert!(queue.answered(&recall("a", 7)));
        queue.again();
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn those_that_wait_are_read_together_and_one_that_failed_so_is_read_alone() {
        let names =
            |recalls: Vec<RecallRequest>| recalls.iter().map(|recall| recall.channel.to_string()).collect::<String>();
        let mut queue = RecallQueue::default();
        for channel in ["a", "b", "c", "d"] {
            queue.ask(recall(channel, 5));
        }
        assert_eq!(names(queue.next_together(3)), "abc");
        queue.ask_alone(&recall("b", 5));
        queue.ask_alone(&recall("c", 4));
        assert_eq!(names(queue.next_together(3)), "d", "b waits for a reading of its own");
        assert_eq!(names(queue.next_together(3)), "b");
        assert_eq!(names(queue.next_together(3)), "", "c is asked another question by now, and is read");
    }

    #[test]
    fn a_lost_connection_says_nothing_about_what_was_read_and_a_second_one_does() {
        let mut queue = RecallQueue::default();
        for channel in ["a", "b", "c", "d"] {
            queue.ask(recall(channel, 5));
        }
        for _ in 0..2 {
            assert_eq!(queue.next_together(9).len(), 4);
            queue.cut_off();
        }
        let alone: Vec<_> = (0..5).map(|_| queue.next_together(9).len()).collect();
        assert_eq!(alone, [1, 1, 1, 1, 0], "each may be what ended both");
    }

    #[test]
    fn nothing_is_read_for_a_channel_that_is_followed_no_longer() {
        let mut queue = RecallQueue::default();
        queue.ask(recall("a", 5));
        queue.forget(&recall("a", 5).channel);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn a_channel_waits_once_however_often_it_is_asked_for_and_let_go() {
        let mut queue = RecallQueue::default();
        queue.ask(recall("a", 5));
        for up_to in 6..100 {
            queue.ask(recall("a", up_to));
            queue.ask(recall("b", up_to));
            queue.forget(&recall("b", up_to).channel);
        }
        assert_eq!(queue.waiting.len(), 1);
        queue.again();
        assert_eq!(queue.next(), Some(recall("a", 99)));
        assert_eq!(queue.next(), None);
        queue.ask(recall("a", 100));
        assert!(queue.answered(&recall("a", 100)), "it may be answered while it waits");
        assert!(queue.waiting.is_empty());
    }
}
