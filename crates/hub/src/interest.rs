//! What the shards want, on its way up: a desired state, not a queue of requests.
//!
//! A shard that joins or leaves a channel changes the channel's set of marks and posts the channel here, once until
//! the control thread looks; the control thread then compares what is wanted with what is followed. A hundred thousand
//! streams leaving at once are as many posts as there are channels.

use std::sync::Arc;

use crossbeam::queue::SegQueue;
use fantail_wire::ChannelName;
use tokio::sync::Notify;

use crate::Channel;
use crate::channel::{ChannelState, Follow};

/// Channels whose set of shards has changed. Bounded by the number of channels: each stands in it at most once.
#[derive(Debug, Default)]
pub struct Interest {
    channels: SegQueue<Arc<Channel>>,
    bell: Notify,
}

/// What the control thread has to do for a channel.
#[derive(Debug)]
pub enum Wish {
    /// Ask the feed for it.
    Follow(ChannelName),
    /// Nobody wants it any more: look again after the linger time.
    Linger(Arc<Channel>),
}

/// What has become of a channel at the end of its linger time.
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

    /// The next thing to do, which is then taken as done.
    pub(crate) fn next(&self) -> Option<Wish> {
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
                _ => {}
            }
        }
        None
    }
}
