//! Channels that nobody wants: when they are forgotten, and what is remembered of them.

use std::sync::Arc;

use fantail_wire::GapReason;

use super::appender::Appender;
use super::followed_channels::FollowedChannels;
use crate::channel::Follow;
use crate::{Channel, Following, Hub, Release, Watermark};

/// When to look again at a channel that nobody wants but the feed is asked about, in milliseconds.
const RECALL_WAIT_MS: u64 = 1000;

/// The linger time of a channel should be over.
pub(super) fn release(
    hub: &Hub,
    appender: &mut Appender,
    followed: &mut FollowedChannels,
    channel: &Channel,
    linger_ms: u64,
) -> Release {
    let mut state = channel.lock();
    if !state.marks.is_empty() {
        state.lingering = false;
        return Release::Wanted;
    }
    let idle_ms = (hub.settings.clock)().saturating_sub(state.idle_since_ms);
    if idle_ms < linger_ms {
        return Release::Later(linger_ms - idle_ms);
    }
    if state.recall.as_ref().is_some_and(|recall| recall.is_under_way()) {
        // A channel of the same name would take the answer for its own.
        return Release::Later(linger_ms.max(RECALL_WAIT_MS));
    }
    state.lingering = false;
    drop(state);
    if forget(hub, appender, followed, channel) { Release::Unfollow } else { Release::Wanted }
}

/// Evicts what is too old in the logs of these channels, and forgets those that are idle if the feed brings every channel.
pub(super) fn sweep(hub: &Hub, appender: &mut Appender, followed: &mut FollowedChannels, channels: &[Arc<Channel>]) {
    let now_ms = (hub.settings.clock)();
    let age_ms_max = hub.settings.age_ms_max();
    let is_idle = |channel: &&Arc<Channel>| {
        let mut state = channel.lock();
        appender.logs.evict_older(&mut state, now_ms);
        // Only after so long that a client that was here last would be behind what is kept anyway, in any channel:
        // forgetting raises the floor of channels to come, and would tell it of a gap that is none.
        let long_idle = now_ms.saturating_sub(state.idle_since_ms) > age_ms_max;
        state.marks.is_empty() && state.log.len() == 0 && long_idle
    };
    let idle: Vec<_> = channels.iter().filter(is_idle).collect();
    if hub.settings.following == Following::Always {
        for channel in idle {
            forget(hub, appender, followed, channel);
        }
    }
    appender.logs.report();
}

/// Takes a channel that nobody wants out of the map. The one floor for all forgotten channels stands for its log.
fn forget(hub: &Hub, appender: &mut Appender, followed: &mut FollowedChannels, channel: &Channel) -> bool {
    let is_removed = hub.channels.remove_if(channel, |state| {
        if !state.marks.is_empty() || state.forgotten {
            return false;
        }
        state.forgotten = true;
        followed.forget(channel.name(), std::mem::replace(&mut state.follow, Follow::Idle));
        let top = Watermark { position: state.log.top(), at_ms: (hub.settings.clock)() };
        // If the feed numbers it says anew from where a channel is followed.
        if !hub.settings.is_numbered_by_feed() {
            hub.lane(channel.lane()).raise_forgotten_floor(top);
        }
        appender.clear(state, top, GapReason::Trimmed);
        true
    });
    hub.counters.channels_forgotten.add(u64::from(is_removed));
    appender.logs.report();
    is_removed
}
