//! The bound on frames that cost this side work and that nobody needs so many of.
//!
//! A count, and no clock: the caller fills it up now and then. A frame of text that this side sends fills it up too, since a client with a small
//! window answers each with an update of two windows. So a flood of frames that answer nothing ends the connection, and a client that
//! reads a busy stream by small steps does not.

use crate::frame::{ErrorCode, Fault};

/// The points of a new connection, and the most that one has.
const POINTS_MAX: u16 = 1_000;

/// Two updates of windows, each in a record of its own.
const POINTS_FOR_TEXT: u16 = 4;

/// One frame that is allowed, and asks for little.
pub(crate) const FRAME: u16 = 1;

/// One stream that ends before its time: the work for its request was in vain. With 1,000 points a page may close a hundred tabs at once.
pub(crate) const ENDED_STREAM: u16 = 8;

/// The same for a stream that was begun. Its end is how clients end it.
pub(crate) const ENDED_TAB: u16 = 2;

/// The points that are left.
#[derive(Debug)]
pub(crate) struct Budget(u16);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(POINTS_MAX)
    }

    pub(crate) fn pay(&mut self, points: u16) -> Result<(), Fault> {
        let left = self.0.checked_sub(points);
        self.0 = left.ok_or(Fault::new(ErrorCode::EnhanceYourCalm, "a flood of frames"))?;
        Ok(())
    }

    pub(crate) fn earn_for_text(&mut self) {
        self.earn(POINTS_FOR_TEXT);
    }

    pub(crate) fn earn(&mut self, points: u16) {
        self.0 = self.0.saturating_add(points).min(POINTS_MAX);
    }
}
