//! The stream as this node reads it, over one connection after the other: a machine without IO.
//!
//! The node reads every message of the stream, in the order of its numbers, so one number is a true cursor for all
//! channels. A consumer counts its deliveries by one: a hole in that count is a message that was lost on the way, and
//! ends the connection. A hole in the stream's numbers is messages that are gone from the stream, and is declared.
//!
//! Example: the node has come to 44 and the connection breaks. It asks the stream again from 44 on. The first message
//! is 44 once more, with the time that it had: the numbering is still the same. Then come 45 and 47. 46 is gone, so all
//! channels get a gap there.

use fantail_wire::{ChannelName, EventId, GapReason, Term, Terms};

use super::identity::{term_behind, term_of};
use crate::nats::delivery::{NatsOrder, NatsOrders};
use crate::nats::form::NatsEventForm;
use crate::nats::incoming::{ChannelSet, Incoming, Read};
use crate::recall_queue::{RecallQueue, RecallRequest};
use crate::{Placement, Recalled};

/// Messages that are read after an outage. Older ones are declared missing.
const MISSED_MAX: u64 = 1 << 18;
/// Holes in what was missed that are told one by one, each to all followed channels. Behind them the rest is declared missing.
const HOLES_MAX: u32 = 64;
/// Connections that may be cut at one place. The next message may be what ends them, such as one with headers that the library
/// cannot read. So the node goes on at the newest one then, and declares what is between.
const CUTS_MAX: u32 = 5;

/// The state of a stream, as the server tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::nats) struct StreamState {
    pub(in crate::nats) name: String,
    pub(in crate::nats) created: String,
    pub(in crate::nats) messages: u64,
    pub(in crate::nats) first: u64,
    pub(in crate::nats) last: u64,
}

/// The place of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::nats) struct Delivered {
    /// Its number in the stream.
    pub(in crate::nats) number: u64,
    /// Its number among the consumer's deliveries.
    pub(in crate::nats) delivery: u64,
    /// Its time, in nanoseconds since the Unix epoch.
    pub(in crate::nats) at_ns: u64,
}

/// Why nothing more is taken over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::nats) enum BrokenOff {
    #[error("a message was lost on its way from the stream")]
    Lost,
    #[error("the stream was made anew")]
    MadeAnew,
    #[error("the stream gives numbers a second time: it was set back")]
    SetBack,
    #[error("the stream has messages that its consumer does not deliver")]
    Stuck,
}

/// The stream.
#[derive(Debug, Default)]
pub(in crate::nats) struct StreamLog {
    form: NatsEventForm,
    numbering: Option<Numbering>,
    phase: Phase,
    /// They get everything above `seen`.
    followed: ChannelSet,
    /// They wait until it is known from which number on they are complete.
    newcomers: ChannelSet,
    pub(in crate::nats) recalls: RecallQueue,
    /// The newest number that was asked for, if the node is not there yet.
    sync_to: Option<u64>,
    /// Numbers were given twice: the next look at the stream begins a term.
    is_set_back: bool,
    cut: Cut,
}

/// Connections in a row that were cut while missed messages were read, none of which brought one.
#[derive(Debug, Default)]
struct Cut {
    /// How far the node was.
    seen: u64,
    times: u32,
}

/// The numbers so far.
#[derive(Debug, Clone)]
pub(super) struct Numbering {
    /// The term that the stream's name and creation give.
    base: Term,
    /// The term that runs here. Another one than `base` after the stream was set back.
    pub(super) term: Term,
    pub(super) start: u64,
    /// Everything up to here was handed down or passed over.
    seen: u64,
    /// The newest message that was read. The stream is the same as long as it holds this one.
    proof: Option<Proof>,
    ms: u64,
}

/// A message by which a numbering is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Proof {
    number: u64,
    at_ns: u64,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Away,
    /// The consumer is asked for. Its messages may come before it is known to be there.
    Opening,
    /// Missed messages are being read.
    Reading {
        deliveries: u64,
        to: u64,
        is_verified: bool,
        holes: u32,
    },
    Live {
        deliveries: u64,
    },
}

impl StreamLog {
    /// A stream with events of this form.
    pub(in crate::nats) fn new(form: NatsEventForm) -> Self {
        Self { form, ..Self::default() }
    }

    /// Wants a channel.
    pub(in crate::nats) fn follow(&mut self, channel: &ChannelName, orders: &mut NatsOrders) {
        match self.numbering.as_ref().filter(|_| self.is_live()) {
            None if self.followed.contains(channel) => {}
            None => drop(self.newcomers.insert(channel.clone())),
            Some(numbering) => {
                let from = numbering.place();
                orders.push(NatsOrder::Synced(numbering.terms()));
                self.followed.insert(channel.clone());
                orders.push(NatsOrder::Followed { channel: channel.clone(), from: Some(from) });
            }
        }
    }

    /// Wants a channel no longer.
    pub(in crate::nats) fn unfollow(&mut self, channel: &ChannelName) {
        self.followed.remove(channel);
        self.newcomers.remove(channel);
        self.recalls.forget(channel);
    }

    /// A connection begins, and this is the stream. Returns the number from which on it has to be read.
    pub(in crate::nats) fn begin(&mut self, state: &StreamState, now_ms: u64, orders: &mut NatsOrders) -> u64 {
        let base = term_of(&state.name, &state.created);
        let is_first = self.numbering.is_none();
        let numbering = self.numbering.get_or_insert(Numbering {
            base,
            term: base,
            start: 0,
            seen: state.last,
            proof: None,
            ms: now_ms,
        });
        if !is_first {
            orders.push(NatsOrder::Repair);
        }
        if numbering.base != base {
            *numbering = Numbering { base, term: base, start: 0, seen: 0, proof: None, ms: numbering.ms };
            orders.push(NatsOrder::Synced(numbering.terms()));
        } else if self.is_set_back || numbering.seen > state.last {
            numbering.begin_behind(state.last);
            orders.push(NatsOrder::Synced(numbering.terms()));
        }
        self.is_set_back = false;
        self.phase = Phase::Opening;
        if self.cut.times >= CUTS_MAX && self.cut.seen == numbering.seen {
            self.cut = Cut::default();
            // Without a proof the first message, or the first sign of life, declares a gap.
            (numbering.seen, numbering.proof) = (state.last, None);
            return state.last + 1;
        }
        let from = numbering.proof.map_or(numbering.seen, |proof| proof.number);
        from.max(state.last.saturating_sub(MISSED_MAX)).max(1)
    }

    /// The consumer is there, and this is the stream behind that. Everything up to its last number comes, or is gone.
    pub(in crate::nats) fn opened(&mut self, state: &StreamState, orders: &mut NatsOrders) -> Result<(), BrokenOff> {
        let Some(numbering) = &self.numbering else { return Err(BrokenOff::MadeAnew) };
        if !numbering.is_of(state) {
            return Err(BrokenOff::MadeAnew);
        }
        if state.last < numbering.seen {
            return Err(BrokenOff::SetBack);
        }
        // Nothing stands in the stream, so there is nothing to compare.
        let is_verified = numbering.seen == 0;
        self.phase = Phase::Reading { deliveries: 0, to: state.last, is_verified, holes: 0 };
        if state.messages == 0 || state.first > state.last {
            self.gone_up_to(state.last, orders);
            self.go_live(orders);
        }
        Ok(())
    }

    /// Takes a message. Returns whether it was for a followed channel.
    pub(in crate::nats) fn message(
        &mut self,
        at: Delivered,
        message: &Incoming<'_>,
        orders: &mut NatsOrders,
    ) -> Result<bool, BrokenOff> {
        self.count_delivery(at.delivery)?;
        if let Phase::Reading { is_verified: false, .. } = self.phase {
            self.verify(at, orders)?;
        }
        let is_repaired = !self.is_live();
        let Some(numbering) = &self.numbering else { return Err(BrokenOff::MadeAnew) };
        if at.number > numbering.seen + 1 {
            let upper = self.end_of_hole(at.number - 1);
            self.gone_up_to(upper, orders);
        }
        if at.number <= self.seen() {
            self.arrive(orders);
            return Ok(false);
        }
        let is_taken = self.take(at, message, is_repaired, orders);
        self.arrive(orders);
        Ok(is_taken)
    }

    /// The server has nothing to deliver, and this is how far its consumer is.
    pub(in crate::nats) fn heartbeat(
        &mut self,
        deliveries: u64,
        number: u64,
        orders: &mut NatsOrders,
    ) -> Result<(), BrokenOff> {
        match self.phase {
            Phase::Away | Phase::Opening => return Ok(()),
            Phase::Reading { deliveries: so_far, .. } | Phase::Live { deliveries: so_far } => {
                if so_far != deliveries {
                    return Err(BrokenOff::Lost);
                }
            }
        }
        if let Phase::Reading { is_verified: is_verified @ false, .. } = &mut self.phase {
            // Nothing is left from the last message on, so there is nothing to compare.
            *is_verified = true;
            if let Some(numbering) = &self.numbering {
                declare(&self.followed, numbering.place(), GapReason::Trimmed, orders);
            }
        }
        self.gone_up_to(number, orders);
        self.arrive(orders);
        // Messages of others have moved the node on without a word. Streams that begin now begin there.
        if let Some(numbering) = self.numbering.as_ref().filter(|_| self.is_live()) {
            orders.push(NatsOrder::Synced(numbering.terms()));
        }
        Ok(())
    }

    /// The stream was looked at. `asked_at` is how far this node was when it asked.
    pub(in crate::nats) fn looked(
        &mut self,
        state: &StreamState,
        asked_at: u64,
        orders: &mut NatsOrders,
    ) -> Result<(), BrokenOff> {
        let Some(numbering) = &self.numbering else { return Ok(()) };
        if !numbering.is_of(state) {
            return Err(BrokenOff::MadeAnew);
        }
        if state.last < asked_at {
            return Err(BrokenOff::SetBack);
        }
        self.sync_to = Some(state.last);
        self.answer_sync(orders);
        Ok(())
    }

    /// Everything up to `number` was in the stream an interval ago, and has had the time to come.
    pub(in crate::nats) fn expect(&self, number: u64) -> Result<(), BrokenOff> {
        if self.is_live() && self.seen() < number { Err(BrokenOff::Stuck) } else { Ok(()) }
    }

    /// The connection is lost. It `is_cut` if it ended by itself, and was not given up.
    pub(in crate::nats) fn lost(&mut self, is_cut: bool) {
        if let Phase::Opening | Phase::Reading { .. } = self.phase
            && is_cut
        {
            let seen = self.seen();
            self.cut = Cut { seen, times: if self.cut.seen == seen { self.cut.times + 1 } else { 1 } };
        }
        self.phase = Phase::Away;
        self.sync_to = None;
        self.recalls.cut_off();
    }

    /// How far the node has come.
    pub(in crate::nats) fn seen(&self) -> u64 {
        self.numbering.as_ref().map_or(0, |numbering| numbering.seen)
    }

    /// Whether everything that was missed has been handed down.
    pub(in crate::nats) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    /// The next recalls to be read, at most so many together, with the numbering that they are about.
    pub(super) fn next_recalls(&mut self, together_max: usize) -> Option<(Numbering, Vec<RecallRequest>)> {
        let numbering = self.numbering.clone().filter(|_| self.is_live())?;
        let next = self.recalls.next_together(together_max);
        (!next.is_empty()).then_some((numbering, next))
    }

    /// Older events were read.
    pub(in crate::nats) fn recalled(&mut self, asked: &RecallRequest, recalled: Recalled, orders: &mut NatsOrders) {
        if self.recalls.answered(asked) {
            orders.push(NatsOrder::Recalled { channel: asked.channel.clone(), recalled });
        }
    }

    fn count_delivery(&mut self, delivery: u64) -> Result<(), BrokenOff> {
        match &mut self.phase {
            Phase::Reading { deliveries, .. } | Phase::Live { deliveries } if *deliveries + 1 == delivery => {
                *deliveries = delivery;
                Ok(())
            }
            _ => Err(BrokenOff::Lost),
        }
    }

    /// Looks at the first message over a connection. It should be the last one that came over the one before. If that is
    /// gone nothing proves that the numbering is still the same, and a gap tells so.
    fn verify(&mut self, at: Delivered, orders: &mut NatsOrders) -> Result<(), BrokenOff> {
        let Some(numbering) = &mut self.numbering else { return Err(BrokenOff::MadeAnew) };
        let found = Proof { number: at.number, at_ns: at.at_ns };
        match numbering.proof {
            Some(proof) if proof == found => {}
            Some(proof) if proof.number == found.number => {
                self.is_set_back = true;
                return Err(BrokenOff::SetBack);
            }
            _ if at.number == numbering.seen => numbering.saw(found),
            _ => declare(&self.followed, numbering.place(), GapReason::Trimmed, orders),
        }
        if let Phase::Reading { is_verified, .. } = &mut self.phase {
            *is_verified = true;
        }
        Ok(())
    }

    /// The number at which a hole is told that ends at `number`.
    fn end_of_hole(&mut self, number: u64) -> u64 {
        let Phase::Reading { holes, to, .. } = &mut self.phase else { return number };
        *holes += 1;
        if *holes > HOLES_MAX { number.max(*to) } else { number }
    }

    /// Everything up to `number` that was not delivered is gone from the stream, and nobody knows for which channels.
    fn gone_up_to(&mut self, number: u64, orders: &mut NatsOrders) {
        let Some(numbering) = self.numbering.as_mut().filter(|numbering| numbering.seen < number) else { return };
        numbering.seen = number;
        let place = numbering.place();
        declare(&self.followed, place, GapReason::Trimmed, orders);
        orders.push(NatsOrder::Synced(numbering.terms()));
    }

    fn take(&mut self, at: Delivered, message: &Incoming<'_>, is_repaired: bool, orders: &mut NatsOrders) -> bool {
        let Some(numbering) = &mut self.numbering else { return false };
        numbering.seen = at.number;
        numbering.saw(Proof { number: at.number, at_ns: at.at_ns });
        let id = numbering.place();
        match message.read(self.form, &self.followed) {
            Read::Foreign => return false,
            Read::Event(publication) => {
                orders.push(NatsOrder::Event { publication, placement: Placement::Numbered(id), is_repaired });
            }
            // It has a number all the same: it is a gap of its channels.
            Read::Unusable(channels, error) => {
                orders.push(NatsOrder::Refuse { channel: channels.first().cloned(), error });
                let gap = |channel| NatsOrder::Gap { channel, at: id, reason: GapReason::Lost };
                orders.extend(channels.into_iter().map(gap));
            }
        }
        true
    }

    /// Looks whether everything that was missed is here, and whether a number that was asked for is reached.
    fn arrive(&mut self, orders: &mut NatsOrders) {
        if let Phase::Reading { to, is_verified: true, .. } = self.phase
            && self.seen() >= to
        {
            self.go_live(orders);
        }
        self.answer_sync(orders);
    }

    fn go_live(&mut self, orders: &mut NatsOrders) {
        let (Phase::Reading { deliveries, .. }, Some(numbering)) = (&self.phase, &self.numbering) else { return };
        let from = Some(numbering.place());
        self.phase = Phase::Live { deliveries: *deliveries };
        orders.push(NatsOrder::Synced(numbering.terms()));
        self.followed.extend(std::mem::take(&mut self.newcomers));
        orders.extend(self.followed.iter().map(|channel| NatsOrder::Followed { channel: channel.clone(), from }));
    }

    fn answer_sync(&mut self, orders: &mut NatsOrders) {
        if let (Some(to), Some(numbering), true) = (self.sync_to, &self.numbering, self.is_live())
            && numbering.seen >= to
        {
            self.sync_to = None;
            orders.push(NatsOrder::Synced(numbering.terms()));
        }
    }
}

impl Numbering {
    /// Whether this is the stream that was numbered, and not one that was made anew in its place.
    fn is_of(&self, state: &StreamState) -> bool {
        self.base == term_of(&state.name, &state.created)
    }

    /// Whether the stream still gives these numbers, as far as it tells by itself.
    pub(super) fn holds_in(&self, state: &StreamState) -> bool {
        self.is_of(state) && state.last >= self.seen
    }

    fn terms(&self) -> Terms {
        Terms { current: self.term, start: self.start, number: self.seen, ms: self.ms, ended: Vec::new() }
    }

    fn place(&self) -> EventId {
        EventId::new(self.term, self.ms, self.seen)
    }

    /// A message was read. Times of ids never fall while numbers rise.
    fn saw(&mut self, message: Proof) {
        self.proof = Some(message);
        self.ms = self.ms.max(message.at_ns / 1_000_000);
    }

    /// The stream was set back, and is at `last` now: another term begins there. Nodes that saw the same message last give
    /// it the same name.
    fn begin_behind(&mut self, last: u64) {
        let proof = self.proof.unwrap_or(Proof { number: self.seen, at_ns: 0 });
        self.term = term_behind(self.term, proof.number, proof.at_ns);
        (self.start, self.seen, self.proof) = (last, last, None);
    }
}

fn declare(channels: &ChannelSet, at: EventId, reason: GapReason, orders: &mut NatsOrders) {
    orders.extend(channels.iter().map(|channel| NatsOrder::Gap { channel: channel.clone(), at, reason }));
}

#[cfg(test)]
mod tests;
