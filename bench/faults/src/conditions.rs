//! The conditions of a fault: the flags of nodes, the channels, and the readers.

use fantail_testkit::ChannelSet;

/// All differences between faults before anything breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// Flags of the nodes. They win over the flags that every node has.
    pub node_flags: &'static [&'static str],
    /// The number of channels in each lane: busy, ordinary and rare ones. All of a lane fit into one stream.
    pub channels: (usize, usize, usize),
    /// The kind of readers.
    pub readers: Readers,
}

/// The kinds of readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// As many as are asked for, each with a habit of its own. All but the rare channels are followed on both nodes all
    /// the time.
    Various,
    /// So few that most channels are followed on a node only now and then; each goes to the other node once a second.
    Moving {
        /// How many of a hundred stay.
        staying: u64,
    },
}

/// More of them would keep every channel followed on both nodes.
const MOVING_MAX: u64 = 40;

impl Conditions {
    /// The conditions of most faults.
    pub const USUAL: Self = Self { node_flags: &[], channels: (2, 16, 6), readers: Readers::Various };
    /// Channels are unfollowed at once, their logs are short, and readers do not stay.
    pub const RESTLESS: Self = Self {
        node_flags: &["--linger", "0s", "--log-events-max", "3"],
        channels: (1, 18, 1),
        readers: Readers::Moving { staying: 0 },
    };

    /// For trials of the judge. The gap on the other node may excuse events that a moving reader missed, so some
    /// readers must stay.
    #[must_use]
    pub fn with_some_who_stay(self) -> Self {
        match self.readers {
            Readers::Various => self,
            Readers::Moving { .. } => Self { readers: Readers::Moving { staying: 25 }, ..self },
        }
    }

    /// The channels of one lane.
    pub fn channel_set(self) -> ChannelSet {
        let (busy, ordinary, rare) = self.channels;
        ChannelSet::new(busy, ordinary, rare)
    }

    /// The channels of a lane that are followed on both nodes all the time.
    pub fn watched(self, channel_set: &ChannelSet) -> Vec<&str> {
        match self.readers {
            Readers::Various => channel_set.frequented(),
            Readers::Moving { .. } => channel_set.busy(),
        }
    }

    /// The number of readers, if so many were asked for.
    pub fn readers_of(self, asked_for: u64) -> u64 {
        match self.readers {
            Readers::Various => asked_for,
            Readers::Moving { .. } => asked_for.min(MOVING_MAX),
        }
    }
}
