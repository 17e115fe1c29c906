//! How many connections of a shard are not streams yet, so that a drain can wait for their answers.
//!
//! The shard counts them by itself: a metric tells operators, and no part decides by it.

use std::rc::Rc;

/// The count.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenConnections(Rc<()>);

/// A connection that counts as open until this is dropped.
#[derive(Debug)]
pub struct OpenConnection(#[expect(dead_code, reason = "its references are the count")] Rc<()>);

impl OpenConnections {
    /// One more.
    pub(crate) fn open(&self) -> OpenConnection {
        OpenConnection(Rc::clone(&self.0))
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        Rc::strong_count(&self.0) - 1
    }
}
