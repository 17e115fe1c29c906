//! The way down: what a feed tells its node.

use fantail_wire::{ChannelName, EncodeError, Publication};

use crate::Receipt;

/// The way down: what a feed tells its node. Called on the control thread only, under the intake's own lock.
///
/// A feed may call it from within `follow` and `publish`, so nothing here calls the feed, and nobody who holds the
/// intake's lock does: that would wait for itself.
pub trait Intake: Send + 'static {
    /// An event arrived. The node places it after everything before it, in each of its channels that is followed.
    ///
    /// An error says that the event cannot be sent; the feed counts and logs it, nothing else happened.
    fn event(&mut self, publication: &Publication) -> Result<Receipt, EncodeError>;

    /// What is published to `channel` from now on arrives, until [`lost`](Self::lost) or an unfollow.
    ///
    /// Each follow is answered by at least one of these; a repeated one at once.
    fn followed(&mut self, channel: &ChannelName);

    /// The connection is gone: no channel is followed until it is confirmed anew, and events may be missing.
    fn lost(&mut self);

    /// The state changed. Every feed begins as [`FeedState::Connecting`].
    fn state(&mut self, state: FeedState);
}

/// How a feed is, for `/readyz` and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedState {
    /// Events arrive: every channel wanted when the connection was made has been confirmed.
    Connected,
    /// Not connected; trying again for ever.
    Connecting,
}
