//! Lanes: the numberings among which a feed's channels are divided.
//!
//! One numbering lives in one place of a store, so that place bounds how much can be published. Several make it wider,
//! and cost the order between them: a stream follows channels of one lane, since its one id is a place in one numbering.
//!
//! A channel's lane stands in its name, `@orders/7` is in the lane `orders`: so publishers and nodes agree on it without
//! being told, and no channel ever changes it. Rules in the nodes' settings would have to change everywhere at once.

use std::fmt;

use crate::ChannelName;

/// The longest name of a lane, in bytes.
pub const LANE_NAME_BYTES_MAX: usize = 32;

/// The most lanes, the default one included. Each costs a node two connections.
pub const LANES_MAX: usize = 64;

/// The lane of channels that name none.
const DEFAULT: &str = "0";

/// A lane by its number in [`Lanes`]. The default is that of the channels that name none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u8);

/// A lane's name, `0` by default: 1 to [`LANE_NAME_BYTES_MAX`] ASCII letters and digits, fit for a Redis hash tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneName(Box<str>);

/// Why a string is no name of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lane's name is made of 1 to {LANE_NAME_BYTES_MAX} letters and digits")]
pub struct LaneNameError;

/// More than [`LANES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are at most {LANES_MAX} lanes, the lane 0 included")]
pub struct TooManyLanes;

/// Why channels have no lane, or none in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The lane in the channel's name is not among those that are served.
    #[error("the channel {0} is in a lane that is not served here; a name that begins with @ and a slash names a lane")]
    Unknown(ChannelName),
    /// Channels of several lanes where one numbering is needed.
    #[error("the channels {0} and {1} are in different lanes, and nothing is ordered between lanes")]
    Different(ChannelName, ChannelName),
}

/// The lanes that are served, and how channels are divided among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lanes {
    names: Vec<LaneName>,
    /// Whether channels name their lanes; else all are in the one.
    are_named: bool,
}

impl Lane {
    /// That of the channels that name none, and the only one of a feed without named lanes.
    pub const FIRST: Self = Self(0);

    /// Its number, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl LaneName {
    /// Checks `name` and keeps a copy of it.
    pub fn parse(name: &str) -> Result<Self, LaneNameError> {
        if is_lane_name(name) { Ok(Self(name.into())) } else { Err(LaneNameError) }
    }

    /// The lane that a channel names: `orders` in `@orders/7`, and the default one if there is none.
    pub fn of(channel: &ChannelName) -> Self {
        Self(Self::named_in(channel.as_str()).into())
    }

    /// The same of a channel's name as text.
    pub fn named_in(channel: &str) -> &str {
        in_name(channel).unwrap_or(DEFAULT)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LaneName {
    fn default() -> Self {
        Self(DEFAULT.into())
    }
}

impl fmt::Display for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Lanes {
    /// Those of `names`, each once, and the default one before them.
    pub fn named(names: impl IntoIterator<Item = LaneName>) -> Result<Self, TooManyLanes> {
        let mut all = vec![LaneName::default()];
        for name in names {
            if all.contains(&name) {
                continue;
            }
            if all.len() == LANES_MAX {
                return Err(TooManyLanes);
            }
            all.push(name);
        }
        Ok(Self { names: all, are_named: true })
    }

    /// The lane of a channel.
    pub fn of(&self, channel: &ChannelName) -> Result<Lane, LaneError> {
        let Some(named) = in_name(channel.as_str()).filter(|_| self.are_named) else { return Ok(Lane::default()) };
        let index = self.names.iter().position(|name| name.as_str() == named);
        index.map(|index| Lane(index as u8)).ok_or_else(|| LaneError::Unknown(channel.clone()))
    }

    /// The one lane of several channels.
    pub fn of_all(&self, channels: &[ChannelName]) -> Result<Lane, LaneError> {
        let Some((first, others)) = channels.split_first() else { return Ok(Lane::default()) };
        let lane = self.of(first)?;
        for other in others {
            if self.of(other)? != lane {
                return Err(LaneError::Different(first.clone(), other.clone()));
            }
        }
        Ok(lane)
    }

    /// All lanes, in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Lane, &LaneName)> {
        self.names.iter().enumerate().map(|(index, name)| (Lane(index as u8), name))
    }
}

impl Default for Lanes {
    /// One lane for all channels, whatever their names.
    fn default() -> Self {
        Self { names: vec![LaneName::default()], are_named: false }
    }
}

fn is_lane_name(name: &str) -> bool {
    (1..=LANE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn in_name(channel: &str) -> Option<&str> {
    let (name, _) = channel.strip_prefix('@')?.split_once('/')?;
    is_lane_name(name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).expect("a channel")
    }

    fn lanes(names: &[&str]) -> Lanes {
        Lanes::named(names.iter().map(|name| LaneName::parse(name).expect("a name"))).expect("few")
    }

    #[test]
    fn a_channel_names_its_lane() {
        for (name, lane) in [
            ("@orders/7", "orders"),
            ("@orders/7/@x/y", "orders"),
            ("@0/7", "0"),
            ("orders/7", "0"),
            ("@orders", "0"),
            ("@or-ders/7", "0"),
            ("x@orders/7", "0"),
            ("user@example.org/7", "0"),
        ] {
            assert_eq!(LaneName::of(&channel(name)).as_str(), lane, "{name}");
        }
    }

    #[test]
    fn only_lanes_that_are_served_have_channels() {
        let lanes = lanes(&["orders", "users", "orders", "0"]);
        assert_eq!(lanes.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["0", "orders", "users"]);
        assert_eq!(lanes.of(&channel("@users/1")).map(Lane::index), Ok(2));
        assert_eq!(lanes.of(&channel("@0/1")), Ok(Lane::default()));
        assert_eq!(lanes.of(&channel("@user/1")), Err(LaneError::Unknown(channel("@user/1"))));
    }

    #[test]
    fn channels_of_several_lanes_have_no_lane_in_common() {
        let lanes = lanes(&["b"]);
        let channels = ["a", "a2", "@b/x"].map(channel);
        assert_eq!(lanes.of_all(&channels[..2]), Ok(Lane::default()));
        assert_eq!(lanes.of_all(&channels), Err(LaneError::Different(channel("a"), channel("@b/x"))));
    }

    #[test]
    fn without_named_lanes_a_name_is_a_name() {
        assert_eq!(Lanes::default().of_all(&["a", "@b/x", "@c/x"].map(channel)), Ok(Lane::default()));
    }

    #[test]
    fn there_are_so_many_lanes_and_no_more() {
        let named = |count: usize| Lanes::named((0..count).map(|n| LaneName::parse(&format!("l{n}")).expect("a name")));
        assert_eq!(named(LANES_MAX - 1).map(|lanes| lanes.iter().len()), Ok(LANES_MAX));
        assert_eq!(named(LANES_MAX), Err(TooManyLanes));
    }

    #[test]
    fn a_name_of_a_lane_is_fit_for_a_hash_tag() {
        for name in ["0", "orders", "A1", &"x".repeat(32)] {
            assert_eq!(LaneName::parse(name).map(|name| name.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "a-b", "a b", "{a}", "\u{e9}", &"x".repeat(33)] {
            assert_eq!(LaneName::parse(name), Err(LaneNameError), "{name:?}");
        }
    }
}
