//! The treatment of live streams that are slower than their channels' logs are long.

use crate::words::words;

words! {
/// How a live stream goes on that is slower than its channel's log is long.
    #[derive(Default)]
    pub enum SlowPolicy {
        /// It is ended; the client comes back with its last id and is told of the gap.
        #[default]
        Disconnect = "disconnect",
        /// It is told of the gap and goes on with what is still there.
        Skip = "skip",
        /// It is told of the gap and goes on with the newest event.
        Latest = "latest",
    }
}

impl SlowPolicy {
    /// The policy for a stream of two channels that it has missed something of. The one that lets less pass decides: a
    /// channel that must not go on after a loss does not, whatever the stream's other channels may do. Example: of `skip`
    /// and `disconnect` it is `disconnect`.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        if self.strictness() >= other.strictness() { self } else { other }
    }

    fn strictness(self) -> u8 {
        match self {
            Self::Disconnect => 2,
            Self::Skip => 1,
            Self::Latest => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SlowPolicy::{Disconnect, Latest, Skip};

    #[test]
    fn disconnect_is_stricter_than_skip_and_skip_is_stricter_than_latest() {
        for (at, stricter) in [Disconnect, Skip, Latest].into_iter().enumerate() {
            for laxer in &[Disconnect, Skip, Latest][at..] {
                assert_eq!([stricter.strictest(*laxer), laxer.strictest(stricter)], [stricter; 2]);
            }
        }
    }
}
