//! Gaps that the feed or this node declares: ends of terms, events that the feed could not bring, and unnumbered events.
//!
//! After an outage a feed that numbers brings or declares each event that it numbered. It can do neither for unnumbered
//! events. So this node declares them, in a channel that carries such events, when the channel is confirmed again. Example:
//! the node stands at 10 and has seen an unnumbered event of `c`. The connection is lost and comes back: `c` gets a gap at
//! (1, 10, 2). Streams that are not open lose none of these events, so the gaps are never replayed.

use std::sync::Arc;

use fantail_wire::{EventId, GapReason, Lane};

use super::appender::Appender;
use crate::channel::Follow;
use crate::{Channel, Position, Watermark};

/// A channel's events up to `at` may be missing. Returns the place if it is above the watermark: streams are told when
/// the watermark is there.
pub(super) fn declare(appender: &mut Appender, channel: &Channel, at: EventId, reason: GapReason) -> Option<Position> {
    let numbering = &appender.hub().lane(channel.lane()).numbering;
    let watermark = numbering.watermark().position;
    let above = numbering.place(&at).filter(|place| *place > watermark);
    let mut state = channel.lock();
    // A top above the watermark is a gap that covers this one, or the place from which the channel is followed.
    match above {
        _ if !state.is_followed() => {}
        Some(position) if position > state.log.top() => {
            appender.append_gap(channel, &mut state, Watermark { position, at_ms: at.ms }, reason);
            appender.logs.report();
            return Some(position);
        }
        None if watermark >= state.log.top() => {
            let place = appender.hub().next_place(channel.lane());
            appender.append_gap(channel, &mut state, place, reason);
            drop(state);
            appender.hub().lane(channel.lane()).numbering.advance_to_gap(place);
            appender.marks.tell(channel);
            appender.logs.keep();
        }
        Some(_) | None => {}
    }
    None
}

/// Puts a gap where a term began into the log of every followed channel of the lane. Returns those channels.
pub(super) fn declare_term_ended(appender: &mut Appender, lane: Lane, began: Watermark) -> Vec<Arc<Channel>> {
    let mut channels = appender.hub().channels.all();
    channels.retain(|channel| {
        let mut state = channel.lock();
        let is_told = channel.lane() == lane && state.is_followed() && state.log.top() < began.position;
        if is_told {
            appender.append_gap(channel, &mut state, began, GapReason::TermEnded);
        }
        is_told
    });
    channels
}

/// An unnumbered event came for a channel and cannot be handed out.
pub(super) fn declare_dropped(appender: &mut Appender, channel: &Channel) {
    let is_numbered_by_feed = appender.hub().settings.is_numbered_by_feed();
    let mut state = channel.lock();
    state.has_unnumbered |= is_numbered_by_feed;
    match state.follow {
        Follow::Confirmed => {}
        // The gap that follows an outage stands behind this.
        Follow::Idle | Follow::Asked | Follow::Ahead | Follow::Lost => return,
    }
    if is_numbered_by_feed {
        appender.append_unnumbered_gap(channel, &mut state, GapReason::Lost);
    } else {
        let place = appender.hub().next_place(channel.lane());
        appender.append_gap(channel, &mut state, place, GapReason::Lost);
        appender.hub().lane(channel.lane()).numbering.advance(place);
    }
    drop(state);
    appender.marks.tell(channel);
    appender.logs.keep();
}
