//! The shards' wishes on their way up: a desired state, not a queue of requests.
//!
//! A shard that joins or leaves a channel changes the channel's set of marks and posts the channel here, once until
//! the control loop looks; the control loop then compares what is wanted with what is followed. A hundred thousand
//! streams leaving at once are as many posts as there are channels.

use std::sync::Arc;

use crossbeam::queue::SegQueue;
use fantail_wire::{ChannelName, EventId, Lane};
use tokio::sync::Notify;

use crate::channel::{ChannelState, Follow};
use crate::{Channel, Hub, Position};

/// Channels whose set of shards has changed. Bounded by the number of channels: each stands in it at most once.
#[derive(Debug, Default)]
pub struct Interest {
    channels: SegQueue<Arc<Channel>>,
    bell: Notify,
}

/// A task of the control loop for a channel.
#[derive(Debug)]
pub enum Wish {
    /// Ask the feed for it.
    Follow(ChannelName),
    /// Nobody wants it any more: look again after the linger time.
    Linger(Arc<Channel>),
    /// Ask the feed for what a channel got before: [`Publisher::recalled`](crate::Publisher::recalled) takes the one
    /// answer.
    Recall {
        /// The channel.
        channel: ChannelName,
        /// Events above this place, or all there are. Only the number is known, so its time is 0.
        above: Option<EventId>,
        /// Events up to this place; its time is its own or a later one.
        up_to: EventId,
        /// No more than these, the newest.
        events_max: usize,
    },
    /// Ask the feed how far a lane's numbering is: the next [`Publisher::synced`](crate::Publisher::synced) of it is the
    /// answer.
    Sync(Lane),
}

/// The fate of a channel at the end of its linger time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Nobody came back: tell the feed to unfollow it.
    Unfollow,
    /// It is wanted again.
    Wanted,
    /// Somebody came and left meanwhile: look again after so many milliseconds.
    Later(u64),
}

impl Interest {
    /// Waits until there may be wishes. Cancel safe.
    pub async fn changed(&self) {
        self.bell.notified().await;
    }

    /// Posts a channel, of which `state` is the locked state.
    pub(crate) fn post(&self, channel: &Arc<Channel>, state: &mut ChannelState) {
        if !state.wish_posted {
            state.wish_posted = true;
            self.channels.push(Arc::clone(channel));
            self.bell.notify_one();
        }
    }

    /// Wakes the control loop.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// The next thing to do for a channel, which is then taken as done.
    pub(crate) fn next(&self, hub: &Hub) -> Option<Wish> {
        while let Some(channel) = self.channels.pop() {
            let mut state = channel.lock();
            state.wish_posted = false;
            if state.forgotten {
                continue;
            }
            match (state.marks.is_empty(), state.follow) {
                // Asked again if it was asked before: a feed that refused it may not refuse it now.
                (false, Follow::Idle | Follow::Asked) => {
                    state.follow = Follow::Asked;
                    return Some(Wish::Follow(channel.name().clone()));
                }
                // One that was never asked for lingers too, and is forgotten at the end of it.
                (true, _) if !state.lingering => {
                    state.lingering = true;
                    drop(state);
                    return Some(Wish::Linger(channel));
                }
                (false, _) => {
                    if let Some(wish) = recall(&channel, &mut state, hub) {
                        return Some(wish);
                    }
                }
                (true, _) => {}
            }
        }
        None
    }
}

/// The question for a channel's past. A question whose floor has no id would stay unanswered; nobody asks it, since
/// a floor's term is forgotten only long after.
fn recall(channel: &Channel, state: &mut ChannelState, hub: &Hub) -> Option<Wish> {
    let floor = state.log.floor();
    let room = state.log.room(&hub.settings.log_limits(state.class));
    let up_to = hub.id(channel.lane(), floor.position, floor.at_ms)?;
    let question = state.recall.as_mut()?.ask(floor.position)?;
    let above = question.wanted.above;
    let above = (above > Position::ORIGIN).then(|| hub.id(channel.lane(), above, 0)).flatten();
    let events_max = room.entries.clamp(1, question.wanted.events.max(1));
    let [above, up_to] = [above, Some(up_to)].map(|id| id.map(|id| EventId { unnumbered: 0, ..id }));
    Some(Wish::Recall { channel: channel.name().clone(), above, up_to: up_to?, events_max })
}
