//! How many sockets the process may hold, counted by ourselves.
//!
//! At the descriptor limit `accept` fails without taking the connection, and an accept loop spins. So the count is kept
//! below it, and a socket is held by a permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::open_counts::{OpenBounds, OpenCounts};

/// The count, shared by all accept loops, and those of single names.
#[derive(Debug)]
pub struct Admission {
    open: AtomicUsize,
    max: usize,
    counts: OpenCounts,
}

/// The right to hold one socket; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Admission>);

impl Admission {
    /// Room for `sockets_max` sockets.
    pub fn new(sockets_max: usize) -> Arc<Self> {
        Self::with_bounds(sockets_max, OpenBounds::default())
    }

    /// The same, and no more of one name than `bounds` say.
    pub fn with_bounds(sockets_max: usize, bounds: OpenBounds) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), max: sockets_max, counts: OpenCounts::new(bounds) })
    }

    /// A permit, if there is room. The count guards nothing but itself, so its order with other memory does not matter.
    pub fn try_permit(self: &Arc<Self>) -> Option<Permit> {
        let one_more = |open| (open < self.max).then_some(open + 1);
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Permit(Arc::clone(self)))
    }

    /// Sockets that are held.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Sockets that may be held.
    pub fn max(&self) -> usize {
        self.max
    }

    /// The counts of single names.
    pub(crate) fn counts(&self) -> &OpenCounts {
        &self.counts
    }

    pub(crate) fn release(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Permit {
    /// Hands the count to a stream, which is smaller without the permit; the shard releases it with the stream.
    pub(crate) fn into_stream(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_for_another_when_one_has_left() {
        let admission = Admission::new(2);
        let (first, second) = (admission.try_permit(), admission.try_permit());
        assert!(first.is_some() && second.is_some() && admission.try_permit().is_none());
        assert_eq!((admission.open(), admission.max()), (2, 2));
        drop(first);
        let third = admission.try_permit();
        assert!(third.is_some() && admission.try_permit().is_none());
        third.into_iter().chain(second).for_each(Permit::into_stream);
        assert_eq!(admission.open(), 2, "the shard counts them on");
        admission.release();
        assert_eq!(admission.open(), 1);
    }
}
