//! The events for several channels that came lately, each with the channels that have it: its copies may still come by
//! others.

use std::collections::VecDeque;

use fantail_wire::ChannelName;
use smallvec::SmallVec;

/// How many are remembered. The copies of one event come side by side if they are published in one transaction; several
/// are kept for publishers that send them one by one.
const EVENTS_MAX: usize = 64;

/// The last few events, by a fingerprint of what names them. Small enough to be searched from end to end.
#[derive(Debug, Default)]
pub(crate) struct RecentEvents(VecDeque<Known>);

/// One event.
#[derive(Debug)]
struct Known {
    event: u64,
    /// The channels that have it, and are followed as they were then.
    channels: SmallVec<[ChannelName; 2]>,
}

impl RecentEvents {
    /// Notes that the event comes to `channels` now. Returns those that did not have it.
    pub(crate) fn insert<'a>(
        &mut self,
        event: u64,
        channels: impl Iterator<Item = &'a ChannelName>,
    ) -> SmallVec<[ChannelName; 1]> {
        let known = match self.find(event) {
            Some(at) => &mut self.0[at],
            None => self.remember(event),
        };
        let mut new = SmallVec::new();
        for channel in channels {
            if !known.channels.contains(channel) {
                known.channels.push(channel.clone());
                new.push(channel.clone());
            }
        }
        new
    }

    /// Whether the channel has the event.
    pub(crate) fn has(&self, event: u64, channel: &ChannelName) -> bool {
        self.find(event).is_some_and(|at| self.0[at].channels.contains(channel))
    }

    /// A channel is let go of. When it is followed anew it has none of them: its streams are others.
    pub(crate) fn let_go(&mut self, channel: &ChannelName) {
        for known in &mut self.0 {
            known.channels.retain(|known| known != channel);
        }
    }

    fn find(&self, event: u64) -> Option<usize> {
        self.0.iter().rposition(|known| known.event == event)
    }

    fn remember(&mut self, event: u64) -> &mut Known {
        if self.0.len() == EVENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Known { event, channels: SmallVec::new() });
        self.0.back_mut().expect("it was added")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(recent: &mut RecentEvents, event: u64, names: &[&str]) -> usize {
        let channels: Vec<_> = names.iter().map(|name| ChannelName::parse(name).expect("valid")).collect();
        recent.insert(event, channels.iter()).len()
    }

    #[test]
    fn an_event_is_new_once_until_enough_others_have_come() {
        let mut recent = RecentEvents::default();
        assert_eq!(insert(&mut recent, 0, &["a"]), 1);
        assert_eq!(insert(&mut recent, 0, &["a"]), 0);
        for other in 1..=EVENTS_MAX as u64 {
            assert_eq!(insert(&mut recent, other, &["a"]), 1);
        }
        assert_eq!(insert(&mut recent, 0, &["a"]), 1);
        assert_eq!(recent.0.len(), EVENTS_MAX);
    }

    #[test]
    fn an_event_is_new_once_to_each_channel_and_again_when_that_was_let_go_of() {
        let mut recent = RecentEvents::default();
        assert_eq!(insert(&mut recent, 0, &["a", "b", "a"]), 2);
        assert_eq!(insert(&mut recent, 0, &["b", "c"]), 1);
        recent.let_go(&ChannelName::parse("b").expect("valid"));
        assert_eq!(insert(&mut recent, 0, &["a", "b", "c"]), 1);
    }
}
