//! The behaviour of readers.

/// The habit of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderHabit {
    /// Follows all watched channels of one lane on one node, for as long as the trial takes.
    Watcher {
        /// The node.
        node: usize,
        /// The lane.
        lane: usize,
    },
    /// Reads all the time.
    Steady,
    /// Breaks off, and comes back or goes away.
    Restless,
    /// Stops reading now and then, with hardly any room in its socket.
    Sleepy,
    /// Goes to the other node once a second.
    Moving,
}
