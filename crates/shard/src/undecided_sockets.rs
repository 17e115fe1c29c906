//! How many sockets are with the program and not streams yet, so that a drain can wait for their answers.
//!
//! The shard counts them by itself: a metric tells operators, and no part decides by it.

use std::rc::Rc;

/// The count.
#[derive(Debug, Clone, Default)]
pub(crate) struct UndecidedSockets(Rc<()>);

/// A socket that counts as undecided until this is dropped.
#[derive(Debug)]
pub struct UndecidedSocket(#[expect(dead_code, reason = "its references are the count")] Rc<()>);

impl UndecidedSockets {
    /// One more.
    pub(crate) fn open(&self) -> UndecidedSocket {
        UndecidedSocket(Rc::clone(&self.0))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        Rc::strong_count(&self.0) - 1
    }
}
