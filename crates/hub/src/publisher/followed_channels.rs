//! Which channels the feed brings, and from which place on.
//!
//! If the feed numbers, two things may be above a lane's watermark for a while: the place from which a channel is
//! followed, and a gap of which the feed tells before it hands down what comes before that place in other channels. Their
//! marks wait in `ahead` until the watermark is there. Example: the watermark is 10 and `a` is followed from 20 on.
//! Streams of `a` wait until the feed has handed down 11 to 20 of the other channels.

use std::collections::BTreeMap;
use std::sync::Arc;

use fantail_wire::{ChannelName, EventId, GapReason, Lane};
use parking_lot::MutexGuard;

use super::appender::Appender;
use crate::channel::{ChannelState, Follow};
use crate::{Channel, Hub, Position, Watermark};

/// The channels that the feed has confirmed, and those that wait for a place.
#[derive(Debug)]
pub(super) struct FollowedChannels {
    hub: Arc<Hub>,
    /// Confirmed channels, if the feed brings them on demand.
    count: usize,
    /// Channels with something above their lane's watermark, and where: they get their marks when it has come there.
    ahead: Vec<(Position, Arc<Channel>)>,
    /// Channels that are followed from a place in a term that the feed has not told of yet.
    unplaced: BTreeMap<ChannelName, EventId>,
}

impl FollowedChannels {
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        Self { hub: Arc::clone(hub), count: 0, ahead: Vec::new(), unplaced: BTreeMap::new() }
    }

    /// The feed brings a channel from now on, and this node numbers.
    pub(super) fn follow(&mut self, appender: &mut Appender, channel: &Channel) {
        let place = self.hub.next_place(channel.lane());
        let mut state = channel.lock();
        match state.follow {
            Follow::Asked => appender.clear(&mut state, place, GapReason::NotFollowed),
            Follow::Lost => appender.append_gap(channel, &mut state, place, GapReason::Outage),
            Follow::Idle | Follow::Ahead | Follow::Confirmed => return,
        }
        drop(state);
        self.hub.lane(channel.lane()).numbering.advance(place);
        // Only now: a stream that sees the confirmation reads a watermark that is behind the gap or the floor.
        self.confirm(appender, channel, channel.lock());
    }

    /// The feed brings a channel, all above `from`. Its events up to the watermark were not put into its log while
    /// it was not followed, so its floor is not below the watermark either. Example: the watermark is 10. From 7 on gives the
    /// floor 10, and from 20 on the floor 20, which the watermark reaches later.
    pub(super) fn follow_from(&mut self, appender: &mut Appender, channel: Arc<Channel>, from: Option<EventId>) {
        let mut state = channel.lock();
        match state.follow {
            Follow::Asked => {}
            Follow::Lost => {
                // The feed has handed down or declared the numbered events.
                if state.has_unnumbered || self.hub.settings.expects_unnumbered(state.class) {
                    appender.append_unnumbered_gap(&channel, &mut state, GapReason::Outage);
                }
                return self.confirm(appender, &channel, state);
            }
            Follow::Idle | Follow::Ahead | Follow::Confirmed => return,
        }
        let watermark = self.hub.watermark(channel.lane());
        let Position { generation, number, .. } = watermark.position;
        // A deletion before may have raised it to an unnumbered place behind the watermark.
        let here = Position::new(generation, number).max(state.log.floor().position);
        let mut floor = Watermark { position: here, ..watermark };
        if let Some(from) = from {
            let Some(position) = self.hub.lane(channel.lane()).numbering.place(&from) else {
                self.unplaced.insert(channel.name().clone(), from);
                return;
            };
            if position > floor.position {
                floor = Watermark { position, at_ms: from.ms };
            }
        }
        appender.clear(&mut state, floor, GapReason::NotFollowed);
        if floor.position <= watermark.position {
            return self.confirm(appender, &channel, state);
        }
        state.follow = Follow::Ahead;
        drop(state);
        self.wait_for(floor.position, channel);
        appender.logs.report();
    }

    /// The feed has told of terms: channels that waited for one may have a place now.
    pub(super) fn place_again(&mut self, appender: &mut Appender) {
        for (name, from) in std::mem::take(&mut self.unplaced) {
            if let Some(channel) = self.hub.channels.get(&name) {
                self.follow_from(appender, channel, Some(from));
            }
        }
    }

    /// A lane is lost: none of its channels is confirmed any more.
    pub(super) fn lose(&mut self, lane: Lane) {
        for channel in self.hub.channels.all() {
            if channel.lane() != lane {
                continue;
            }
            let mut state = channel.lock();
            state.follow = match state.follow {
                Follow::Confirmed => {
                    self.count = self.count.saturating_sub(1);
                    Follow::Lost
                }
                Follow::Ahead => Follow::Asked, // no stream has begun with it
                as_it_is => as_it_is,
            };
        }
        let settings = &self.hub.settings;
        self.unplaced.retain(|name, _| settings.lane_of(name) != lane);
        self.report();
    }

    /// Something stands at `place`, above the lane's watermark.
    pub(super) fn wait_for(&mut self, place: Position, channel: Arc<Channel>) {
        self.ahead.push((place, channel));
    }

    /// The lane's watermark has moved: channels that had something above it get their marks, and are confirmed if it was the
    /// place from which they are followed.
    pub(super) fn tell_ahead(&mut self, appender: &mut Appender, lane: Lane) {
        if self.ahead.is_empty() {
            return;
        }
        let watermark = self.hub.watermark(lane).position;
        let is_due = |(place, channel): &(Position, Arc<Channel>)| channel.lane() == lane && *place <= watermark;
        let (due, ahead) = std::mem::take(&mut self.ahead).into_iter().partition(is_due);
        self.ahead = ahead;
        for (_, channel) in due {
            let state = channel.lock();
            if state.follow == Follow::Ahead && state.log.floor().position <= watermark {
                self.confirm(appender, &channel, state);
            } else {
                drop(state);
                appender.marks.tell(&channel);
            }
        }
    }

    /// A channel is taken out of the map. Another of the name would take the old confirmation for its own.
    pub(super) fn forget(&mut self, name: &ChannelName, follow: Follow) {
        self.unplaced.remove(name);
        if follow == Follow::Confirmed {
            self.count = self.count.saturating_sub(1);
        }
        self.report();
    }

    /// The watermark is not below the floor: streams may begin.
    fn confirm(&mut self, appender: &mut Appender, channel: &Channel, mut state: MutexGuard<'_, ChannelState>) {
        state.follow = Follow::Confirmed;
        drop(state);
        self.count += 1;
        self.report();
        appender.marks.tell(channel);
        appender.logs.report();
    }

    fn report(&self) {
        self.hub.counters.followed_channels.set(self.count as u64);
    }
}
