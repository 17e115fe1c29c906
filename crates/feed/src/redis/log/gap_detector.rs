//! Notices missing events by the numbers of each channel: a machine without IO.
//!
//! Redis carries out one publish after the other and sends what a connection subscribes to in that order, so on one
//! connection numbers only rise. Each message tells the number of the event before it in its channel: a hole shows at
//! the next message. Example: 11 of `a` was taken, and 15 says that 13 came before it; 13 is missing. Everything up to
//! [`GapDetector::seen`] either reached the node or belongs to a channel that is not followed yet.

use std::collections::HashMap;

use fantail_wire::{ChannelName, EventId, Term, Terms};
use foldhash::fast::RandomState;
use smallvec::{SmallVec, smallvec};

use super::message::LogMessage;

/// The text in Redis gives no larger number.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// The numbers that have been handed down, by channel.
#[derive(Debug, Default)]
pub(crate) struct GapDetector {
    terms: Option<Terms>,
    /// The newest place that was handed down or passed over. It stays over a lost connection: missed events lie above
    /// it.
    seen: Option<EventId>,
    /// The channels that are followed, each with the number up to which it is complete.
    complete_to: HashMap<ChannelName, u64, RandomState>,
    /// All of them are complete up to here, as Redis itself was asked. Where Redis no longer knows the last event of a
    /// quiet channel, a message tells instead how far back that is.
    verified: u64,
    pending: Option<PendingEvent>,
    /// Messages come as Redis sends them, so that numbers only rise: none waits from before the number that was read.
    is_live: bool,
    /// The term gives numbers a second time. Nothing more is taken of it.
    is_set_back: bool,
}

/// An event that may go down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadyEvent {
    pub(crate) id: EventId,
    /// The followed channels whose own copy has arrived; at least one.
    pub(crate) channels: SmallVec<[ChannelName; 1]>,
    /// The envelope, as it was published.
    pub(crate) envelope: Vec<u8>,
}

/// Why the log cannot be followed over this connection any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContinuityError {
    #[error("redis numbers events in another term than it said")]
    Term,
    #[error("redis gives numbers a second time: its keys were set back")]
    SetBack,
    #[error("an event of {channel} is missing before number {number}")]
    Hole { channel: ChannelName, number: u64 },
    #[error("the slot of the log has moved to another node of the cluster")]
    Moved,
}

/// An event for several channels, of which not all copies have come.
#[derive(Debug)]
struct PendingEvent {
    arrived: ReadyEvent,
    /// The channels that were followed when the first copy came, and whose copies have not come.
    awaited: SmallVec<[ChannelName; 2]>,
}

impl GapDetector {
    /// The newest place that was shown, in any channel.
    pub(crate) fn seen(&self) -> Option<EventId> {
        self.seen
    }

    /// The number that a term has reached for certain. Example: this is 60, and Redis says 51: its keys were set back.
    pub(crate) fn witnessed(&self) -> Option<(Term, u64)> {
        self.seen.map(|seen| (seen.term, if self.is_set_back { NUMBER_MAX } else { seen.number.min(NUMBER_MAX) }))
    }

    /// The messages that waited have gone down: from here on numbers only rise.
    pub(crate) fn go_live(&mut self) {
        self.is_live = true;
    }

    /// The numbering as it was last told.
    pub(crate) fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Whether the channel's events are handed down.
    pub(crate) fn is_followed(&self, channel: &str) -> bool {
        self.complete_to.contains_key(channel)
    }

    /// All channels that are followed.
    pub(crate) fn followed(&self) -> impl Iterator<Item = &ChannelName> {
        self.complete_to.keys()
    }

    /// The channel is complete above `from`, and from now on by its messages.
    pub(crate) fn follow(&mut self, channel: &ChannelName, from: EventId) {
        self.complete_to.insert(channel.clone(), from.number);
    }

    /// Nothing of the channel is handed down from now on. An event that waited for its copy alone goes down.
    pub(crate) fn unfollow(&mut self, channel: &ChannelName) -> Option<ReadyEvent> {
        self.complete_to.remove(channel.as_str());
        if let Some(pending) = &mut self.pending {
            pending.arrived.channels.retain(|arrived| arrived != channel);
            pending.awaited.retain(|awaited| awaited != channel);
        }
        self.complete()
    }

    /// A channel that is subscribed to and not followed yet is complete from here on.
    pub(crate) fn newest(&self) -> Option<EventId> {
        self.pending.as_ref().map(|pending| pending.arrived.id).or(self.seen)
    }

    /// Everything of the followed channels up to `terms.number` has been handed down. Returns how far that is: messages
    /// may have come since that number was read.
    ///
    /// A pending event stays above that number. Example: 11 waits for its copy by `b`, and the answer 10 is looked at
    /// before that copy: 11 is still to go down.
    pub(crate) fn synced(&mut self, terms: &Terms) -> EventId {
        let told = EventId::new(terms.current, terms.ms, terms.number);
        let seen = self.seen.filter(|seen| seen.term == told.term && seen.number > told.number).unwrap_or(told);
        if self.terms.as_ref().is_none_or(|before| before.current != terms.current) {
            // Numbers of another term say nothing here; the repair has brought all channels to the same place.
            self.verified = terms.start;
            self.complete_to.values_mut().for_each(|number| *number = terms.start);
            self.is_set_back = false;
        }
        self.terms = Some(terms.clone());
        self.seen = Some(seen);
        seen
    }

    /// Every followed channel is complete up to `number`.
    pub(crate) fn verify(&mut self, number: u64) {
        self.verified = number;
    }

    /// Up to where that was proved last.
    pub(crate) fn verified_up_to(&self) -> u64 {
        self.verified
    }

    /// The followed channels that lack what Redis says is their newest event.
    pub(crate) fn lacking<'a>(&'a self, tops: &'a [(String, u64)]) -> impl Iterator<Item = &'a ChannelName> {
        tops.iter().filter_map(|(name, top)| {
            let (channel, complete_to) = self.complete_to.get_key_value(name.as_str())?;
            (*top > self.verified.max(*complete_to)).then_some(channel)
        })
    }

    /// Takes a message that came by `channel`. The events that it returns go down, in this order.
    pub(crate) fn take(
        &mut self,
        channel: &ChannelName,
        message: &LogMessage<'_>,
    ) -> Result<SmallVec<[ReadyEvent; 2]>, ContinuityError> {
        let id = message.id;
        if self.terms.as_ref().is_none_or(|terms| terms.current != id.term) {
            return Err(ContinuityError::Term);
        }
        if self.is_behind(id) {
            self.is_set_back = true;
            return Err(ContinuityError::SetBack);
        }
        let verified = self.verified;
        let known = self.complete_to.get(channel.as_str()).map(|complete_to| verified.max(*complete_to));
        // Before anything is handed down: a pending event is read again by the repair.
        if known.is_some_and(|known| id.number > known && message.previous > known) {
            return Err(ContinuityError::Hole { channel: channel.clone(), number: id.number });
        }
        let mut ready: SmallVec<[ReadyEvent; 2]> = self.flush_before(id).into_iter().collect();
        let Some(complete_to) = self.complete_to.get_mut(channel.as_str()) else {
            self.pass(id);
            return Ok(ready);
        };
        if known.is_some_and(|known| id.number <= known) {
            return Ok(ready);
        }
        *complete_to = id.number;
        ready.extend(self.assemble(channel, message));
        Ok(ready)
    }

    /// Whether an id was given after a later one. Copies of one event have the same.
    fn is_behind(&self, id: EventId) -> bool {
        let newest = self.newest().filter(|newest| self.is_live && newest.term == id.term);
        newest.is_some_and(|newest| id.number < newest.number || (id.number == newest.number && id.ms != newest.ms))
    }

    /// Passes over a message of a channel that is not followed yet. The channel will be complete from here on or later.
    pub(crate) fn pass(&mut self, id: EventId) {
        if self.pending.as_ref().is_some_and(|pending| pending.arrived.id == id) {
            return; // it is handed down first
        }
        let is_older = |seen: EventId| seen.term == id.term && seen.number >= id.number;
        if self.terms.as_ref().is_some_and(|terms| terms.current == id.term) && !self.seen.is_some_and(is_older) {
            self.seen = Some(id);
        }
    }

    /// Gives up waiting for copies that did not come with the others: the publisher's ACL may deny some of the channels
    /// that the event names.
    pub(crate) fn flush(&mut self) -> Option<ReadyEvent> {
        let arrived = self.pending.take()?.arrived;
        self.pass(arrived.id);
        Some(arrived)
    }

    /// Gives that up before a message with another id: all copies that come stand before it.
    pub(crate) fn flush_before(&mut self, id: EventId) -> Option<ReadyEvent> {
        self.pending.as_ref().is_some_and(|pending| pending.arrived.id != id).then(|| self.flush()).flatten()
    }

    /// Gives that up at a number that was read: all copies of events up to it stand before the answer.
    pub(crate) fn flush_up_to(&mut self, number: u64) -> Option<ReadyEvent> {
        self.pending.as_ref().is_some_and(|pending| pending.arrived.id.number <= number).then(|| self.flush()).flatten()
    }

    /// The connection is lost. An event of which copies were still to come was not handed down; it is read again.
    pub(crate) fn lost(&mut self) {
        self.pending = None;
        self.is_live = false;
    }

    /// An event goes down when the copies of all its followed channels are there: they were sent side by side. A
    /// channel that is followed meanwhile is so from behind this event.
    fn assemble(&mut self, channel: &ChannelName, message: &LogMessage<'_>) -> Option<ReadyEvent> {
        if let Some(pending) = &mut self.pending {
            pending.arrived.channels.push(channel.clone());
            pending.awaited.retain(|awaited| awaited != channel);
        } else {
            let envelope = message.envelope.to_vec();
            let arrived = ReadyEvent { id: message.id, channels: smallvec![channel.clone()], envelope };
            let followed = message.channels.iter().filter_map(|name| self.complete_to.get_key_value(*name));
            let awaited = followed.map(|(followed, _)| followed).filter(|followed| *followed != channel).cloned();
            self.pending = Some(PendingEvent { arrived, awaited: awaited.collect() });
        }
        self.complete()
    }

    fn complete(&mut self) -> Option<ReadyEvent> {
        let is_complete = self.pending.as_ref().is_some_and(|pending| pending.awaited.is_empty());
        let arrived = is_complete.then(|| self.flush()).flatten();
        arrived.filter(|arrived| !arrived.channels.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::Term;

    use super::*;

    fn term() -> Term {
        Term::from_random(1)
    }

    fn id(number: u64) -> EventId {
        EventId::new(term(), 1000 + number, number)
    }

    fn terms(number: u64) -> Terms {
        Terms { current: term(), start: 0, number, ms: 1000 + number, ended: Vec::new() }
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).expect("valid")
    }

    /// A detector that follows `names` from number 10 on.
    fn following(names: &[&str]) -> GapDetector {
        let mut detector = GapDetector::default();
        let from = detector.synced(&terms(10));
        for name in names {
            detector.follow(&channel(name), from);
        }
        detector.go_live();
        detector
    }

    /// Takes the message `number previous channels` by `by`. Returns the numbers and channels that go down.
    fn take(
        detector: &mut GapDetector,
        by: &str,
        number: u64,
        previous: u64,
        names: &[&str],
    ) -> Result<String, ContinuityError> {
        let message = LogMessage { id: id(number), previous, channels: names.iter().copied().collect(), envelope: b"" };
        let ready = detector.take(&channel(by), &message)?;
        let told = ready.iter().map(|arrived| {
            let channels: Vec<_> = arrived.channels.iter().map(ChannelName::as_str).collect();
            format!("{}:{}", arrived.id.number, channels.join("+"))
        });
        Ok(told.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn events_go_down_as_they_come_and_each_once() {
        let mut detector = following(&["a", "b"]);
        assert_eq!(take(&mut detector, "a", 11, 7, &["a"]), Ok("11:a".into()));
        assert_eq!(take(&mut detector, "a", 11, 7, &["a"]), Ok(String::new()));
        assert_eq!(take(&mut detector, "b", 15, 3, &["b"]), Ok("15:b".into()));
        assert_eq!(detector.seen(), Some(id(15)));
    }

    #[test]
    fn a_waiting_message_at_or_below_the_number_that_was_read_is_not_handed_down_again() {
        let mut detector = following(&["a"]);
        detector.lost();
        detector.synced(&terms(12));
        detector.verify(12);
        assert_eq!(take(&mut detector, "a", 11, 7, &["a"]), Ok(String::new()));
        assert_eq!(take(&mut detector, "a", 13, 12, &["a"]), Ok("13:a".into()));
    }

    /// 1. The node has seen number 20, which was read or came in another channel.
    /// 2. Redis is set back, and gives 15, or 20 once more.
    #[test]
    fn a_number_that_is_given_a_second_time_ends_the_trust_in_its_term() {
        for (number, ms) in [(15, 5_000), (20, 5_000), (20, 1)] {
            for by in ["a", "quiet"] {
                let mut detector = following(&["a", "quiet"]);
                assert_eq!(take(&mut detector, "a", 18, 7, &["a"]), Ok("18:a".into()));
                detector.synced(&terms(20));
                detector.verify(20);
                assert_eq!(detector.witnessed(), Some((term(), 20)));
                let message = LogMessage {
                    id: EventId::new(term(), ms, number),
                    previous: 7,
                    channels: smallvec![by],
                    envelope: b"",
                };
                assert_eq!(detector.take(&channel(by), &message), Err(ContinuityError::SetBack), "{number} {by}");
                detector.lost();
                assert_eq!(detector.witnessed(), Some((term(), NUMBER_MAX)), "however far it comes again");
                detector.synced(&Terms { current: Term::from_random(2), ..terms(20) });
                assert_eq!(detector.witnessed(), Some((Term::from_random(2), 20)));
            }
        }
    }

    #[test]
    fn a_number_that_is_given_again_while_its_event_waits_for_a_copy_is_not_taken_for_that_copy() {
        let mut detector = following(&["a", "b"]);
        assert_eq!(take(&mut detector, "a", 11, 0, &["a", "b"]), Ok(String::new()));
        let message =
            LogMessage { id: EventId { ms: 9, ..id(11) }, previous: 0, channels: smallvec!["b"], envelope: b"" };
        assert_eq!(detector.take(&channel("b"), &message), Err(ContinuityError::SetBack));
    }

    #[test]
    fn a_hole_shows_at_the_next_message_of_its_channel() {
        let mut detector = following(&["a", "b"]);
        assert_eq!(take(&mut detector, "b", 13, 10, &["b"]), Ok("13:b".into()));
        let hole = ContinuityError::Hole { channel: channel("a"), number: 14 };
        assert_eq!(take(&mut detector, "a", 14, 12, &["a"]), Err(hole));
    }

    #[test]
    fn a_number_that_redis_forgot_is_no_hole_once_redis_was_asked() {
        let mut detector = following(&["a"]);
        detector.verify(50);
        assert_eq!(take(&mut detector, "a", 50, 49, &["a"]), Ok(String::new()), "a repair has brought it");
        assert_eq!(take(&mut detector, "a", 60, 50, &["a"]), Ok("60:a".into()));
        assert_eq!(detector.lacking(&[("a".into(), 61), ("x".into(), 99)]).next(), Some(&channel("a")));
        assert_eq!(detector.lacking(&[("a".into(), 60)]).next(), None);
    }

    #[test]
    fn an_event_for_several_channels_waits_for_the_copies_of_those_that_are_followed() {
        let mut detector = following(&["a", "b"]);
        assert_eq!(take(&mut detector, "a", 11, 0, &["a", "x", "b"]), Ok(String::new()));
        assert_eq!(take(&mut detector, "b", 11, 0, &["a", "x", "b"]), Ok("11:a+b".into()));
    }

    #[test]
    fn a_copy_that_does_not_come_is_waited_for_until_the_next_message() {
        let mut detector = following(&["a", "b"]);
        assert_eq!(take(&mut detector, "a", 11, 0, &["a", "b"]), Ok(String::new()));
        assert_eq!(detector.seen(), Some(id(10)), "not handed down, so after a loss it is read again");
        assert_eq!(take(&mut detector, "b", 12, 0, &["b"]), Ok("11:a 12:b".into()));
    }

    /// 1. The first copy of 11 comes by a; those by b and c are to come.
    /// 2. The answer to an earlier question makes b followed.
    /// 3. The other copies come.
    #[test]
    fn a_channel_that_is_followed_between_two_copies_of_an_event_is_so_from_behind_it() {
        for others in [["b", "c"], ["c", "b"]] {
            let mut detector = following(&["a", "c"]);
            assert_eq!(take(&mut detector, "a", 11, 0, &["a", "b", "c"]), Ok(String::new()));
            detector.synced(&terms(10));
            let from = detector.newest().expect("something was seen");
            detector.follow(&channel("b"), from);
            let told = others.map(|by| take(&mut detector, by, 11, 0, &["a", "b", "c"]).expect("in order"));
            assert_eq!(told.concat(), "11:a+c");
            assert_eq!(take(&mut detector, "b", 12, 11, &["b"]), Ok("12:b".into()));
        }
    }

    #[test]
    fn an_event_does_not_wait_for_a_channel_that_is_let_go() {
        let mut detector = following(&["a", "b"]);
        assert_eq!(take(&mut detector, "a", 11, 0, &["a", "b"]), Ok(String::new()));
        let arrived = detector.unfollow(&channel("b")).expect("complete without b");
        assert_eq!((arrived.id.number, arrived.channels.len()), (11, 1));
        assert_eq!(take(&mut detector, "a", 12, 11, &["a", "c"]), Ok("12:a".into()));
        assert_eq!(take(&mut detector, "a", 13, 12, &["a"]), Ok("13:a".into()));
    }

    #[test]
    fn a_message_that_is_passed_over_moves_the_place_from_which_its_channel_is_complete() {
        let mut detector = following(&["a"]);
        assert_eq!(take(&mut detector, "b", 20, 19, &["b"]), Ok(String::new()));
        assert_eq!(detector.synced(&terms(15)), id(20), "the number was read before the message came");
    }

    #[test]
    fn numbers_of_another_term_are_not_taken() {
        let mut detector = following(&["a"]);
        let other = EventId { term: Term::from_random(2), ..id(11) };
        let message = LogMessage { id: other, previous: 10, channels: smallvec!["a"], envelope: b"" };
        assert_eq!(detector.take(&channel("a"), &message), Err(ContinuityError::Term));
        assert_eq!(
            GapDetector::default().take(&channel("a"), &message),
            Err(ContinuityError::Term),
            "nothing is known yet"
        );
    }
    #[test]
    fn an_event_that_waits_for_a_copy_is_not_lost_with_the_hole_behind_it() {
        let mut detector = following(&["a", "b"]);
        assert_eq!(
            take(&mut detector, "a", 11, 0, &["a", "b"]),
            Ok(String::new()),
            "b's copy was refused to its publisher"
        );
        let hole = ContinuityError::Hole { channel: channel("b"), number: 14 };
        assert_eq!(take(&mut detector, "b", 14, 12, &["b"]), Err(hole));
        detector.lost();
        assert_eq!(detector.seen(), Some(id(10)), "11 was not handed down, so it has to be read again");
    }
    #[test]
    fn a_copy_for_a_channel_that_is_not_followed_yet_does_not_count_the_event_as_shown() {
        let mut detector = following(&["a", "b"]);
        assert_eq!(take(&mut detector, "a", 11, 0, &["a", "f", "b"]), Ok(String::new()));
        assert_eq!(take(&mut detector, "f", 11, 0, &["a", "f", "b"]), Ok(String::new()));
        detector.lost(); // before b's copy
        assert_eq!(detector.seen(), Some(id(10)), "11 was not handed down, so it has to be read again");
    }
}
