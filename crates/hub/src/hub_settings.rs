//! How a hub is set up, and what that means for one channel.

use fantail_wire::{BareBlocks, ChannelName, ChannelPattern, Lane, Lanes};

use crate::{LogLimits, NumberedBy};

/// Which channels the feed brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// All of them, always: each event passes through this process.
    Always,
    /// Those that were asked for, from the feed's confirmation on.
    OnDemand,
}

/// The most patterns: a channel keeps the number of its own in one byte.
pub const CLASSES_MAX: usize = u8::MAX as usize;

/// How a hub is set up.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The side that numbers events.
    pub numbering: NumberedBy,
    /// Among which numberings the channels are divided; one if this node numbers.
    pub lanes: Lanes,
    /// Which channels the feed brings.
    pub following: Following,
    /// Number of shards, at most 256.
    pub shards: u16,
    /// Bounds of one channel's log.
    pub log: LogLimits,
    /// Bounds of channels that fit a pattern; the first that fits holds. At most [`CLASSES_MAX`] of them.
    pub patterns: Vec<(ChannelPattern, LogLimits)>,
    /// For channels without a pattern, and then for those of each: whether unnumbered events are expected there,
    /// though none was seen yet. The default is that they are not.
    pub expects_unnumbered: Vec<bool>,
    /// Events that follow the gap of a stream whose client's id is unknown, over all its channels.
    pub unknown_id_replay_max: usize,
    /// Whether gaps are told with an event, or move the client's id in silence.
    pub control_events: bool,
    /// How a gap ends that moves the id in silence.
    pub bare_blocks: BareBlocks,
    /// Bytes of all logs together.
    pub logs_bytes_max: usize,
    /// The largest encoded event, in bytes of text.
    pub event_bytes_max: usize,
    /// Channels that may exist at once.
    pub channels_max: usize,
    /// Those of them that one address may have made.
    pub channels_per_address_max: usize,
    /// Milliseconds since the Unix epoch.
    pub clock: fn() -> u64,
}

impl HubSettings {
    /// One lane, one shard, and bounds that are never reached: a start, of which single settings are changed. A feed that
    /// numbers brings channels on demand.
    pub fn unbounded(numbering: NumberedBy, clock: fn() -> u64) -> Self {
        Self {
            numbering,
            lanes: Lanes::default(),
            following: if numbering == NumberedBy::Feed { Following::OnDemand } else { Following::Always },
            shards: 1,
            log: LogLimits { entries_max: usize::MAX, bytes_max: usize::MAX, age_ms_max: u64::MAX },
            patterns: Vec::new(),
            expects_unnumbered: Vec::new(),
            unknown_id_replay_max: 100,
            control_events: true,
            bare_blocks: BareBlocks::Closed,
            logs_bytes_max: usize::MAX,
            event_bytes_max: usize::MAX,
            channels_max: usize::MAX,
            channels_per_address_max: usize::MAX,
            clock,
        }
    }

    /// Which pattern a new channel's name fits, counted from 1; 0 for none.
    pub(crate) fn class_of(&self, name: &ChannelName) -> u8 {
        let fits = self.patterns.iter().take(CLASSES_MAX).position(|(pattern, _)| pattern.matches(name));
        fits.map_or(0, |at| at as u8 + 1)
    }

    /// The bounds of channels of this class.
    pub(crate) fn log_limits(&self, class: u8) -> LogLimits {
        usize::from(class).checked_sub(1).map_or(self.log, |at| self.patterns[at].1)
    }

    /// Whether unnumbered events are expected in channels of this class.
    pub(crate) fn expects_unnumbered(&self, class: u8) -> bool {
        self.expects_unnumbered.get(usize::from(class)).is_some_and(|expects| *expects)
    }

    /// The longest that anything is kept in any log.
    pub(crate) fn age_ms_max(&self) -> u64 {
        self.patterns.iter().map(|(_, limits)| limits.age_ms_max).fold(self.log.age_ms_max, u64::max)
    }

    pub(crate) fn is_numbered_by_feed(&self) -> bool {
        self.numbering == NumberedBy::Feed
    }

    /// The lane of a channel. Where channels are named, those of lanes that are not served have been refused.
    pub(crate) fn lane_of(&self, name: &ChannelName) -> Lane {
        let lane = self.lanes.of(name);
        debug_assert!(lane.is_ok(), "{lane:?}");
        lane.unwrap_or_default()
    }

    /// The lane of an event: that of all its channels.
    pub(crate) fn lane_of_all(&self, channels: &[ChannelName]) -> Lane {
        let lane = self.lanes.of_all(channels);
        debug_assert!(lane.is_ok(), "{lane:?}");
        lane.unwrap_or_default()
    }
}
