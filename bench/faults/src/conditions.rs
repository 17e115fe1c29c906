//! Under which conditions a fault is played: what nodes are told, which channels there are, and who reads.

use fantail_testkit::ChannelSet;

/// All that differs between faults before anything breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// What nodes are told. It wins over what every node is told.
    pub node_flags: &'static [&'static str],
    /// How many channels there are in each lane: busy, ordinary and rare ones. All of a lane fit into one stream.
    pub channels: (usize, usize, usize),
    /// How those who come to read behave.
    pub readers: Readers,
}

/// Those who come to read.
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
    /// Those of most faults.
    pub const USUAL: Self = Self { node_flags: &[], channels: (2, 16, 6), readers: Readers::Various };
    /// Channels are let go of at once, hardly anything of them is kept, and readers do not stay.
    pub const RESTLESS: Self = Self {
        node_flags: &["--linger", "0s", "--log-events-max", "3"],
        channels: (1, 18, 1),
        readers: Readers::Moving { staying: 0 },
    };

    /// For trials of the judge. What one that moves did not get may be excused by the gap that it is told on the other
    /// node, so some must stay to be wronged.
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

    /// How many come to read, if so many were asked for.
    pub fn readers_of(self, asked_for: u64) -> u64 {
        match self.readers {
            Readers::Various => asked_for,
            Readers::Moving { .. } => asked_for.min(MOVING_MAX),
        }
    }
}
