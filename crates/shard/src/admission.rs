//! How many sockets the process may hold, counted by ourselves.
//!
//! At the descriptor limit `accept` fails without taking the connection, and an accept loop spins. So whoever accepts
//! takes a permit first, and waits for one here when all are out; the connections wait in the kernel's backlog.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// The count, shared by all accept loops.
#[derive(Debug)]
pub struct Admission {
    free: Semaphore,
    max: usize,
}

/// The right to hold one socket; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Admission>);

impl Admission {
    /// Room for `sockets_max` sockets.
    pub fn new(sockets_max: usize) -> Arc<Self> {
        Arc::new(Self { free: Semaphore::new(sockets_max), max: sockets_max })
    }

    /// Waits until there is room. Woken by whoever gives a permit back; cancel safe.
    pub async fn permit(self: &Arc<Self>) -> Permit {
        self.free.acquire().await.expect("the semaphore is never closed").forget();
        Permit(Arc::clone(self))
    }

    /// Sockets that may be held.
    pub fn max(&self) -> usize {
        self.max
    }

    pub(crate) fn release(&self) {
        self.free.add_permits(1);
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

    #[tokio::test]
    async fn accepting_waits_for_room_and_goes_on_by_itself() {
        let admission = Admission::new(1);
        let first = admission.permit().await;
        let mut second = std::pin::pin!(admission.permit());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert_eq!(admission.max(), 1);
        drop(first);
        let _second = second.await;
    }
}
