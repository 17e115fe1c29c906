//! Files that are read for each connection, by one thread at a time.
//!
//! A read from a filesystem that hangs cannot be cancelled, and keeps its thread. So one read is under way at a time,
//! and every caller waits for it, however many tries to connect were given up meanwhile. A caller that gave up tries
//! again within seconds: it takes the late answer then, and that is not kept for longer.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

/// The read that is under way, shared by all connections of a feed.
pub(crate) struct SharedRead<T>(Arc<Mutex<Option<JoinHandle<T>>>>);

impl<T: Send + 'static> SharedRead<T> {
    /// Waits for what is being read, or begins with `read`. A slow disk does not hold up the thread that asks.
    pub(crate) async fn read(&self, read: impl FnOnce() -> T + Send + 'static) -> T {
        let mut under_way = self.0.lock().await;
        let reading = under_way.get_or_insert_with(|| spawn_blocking(read));
        // A caller that is dropped here leaves the read behind.
        let read = reading.await;
        *under_way = None;
        read.expect("reading files does not panic")
    }
}

impl<T> Clone for SharedRead<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for SharedRead<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// The files are secret.
impl<T> fmt::Debug for SharedRead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRead").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_filesystem_that_hangs_holds_one_thread_however_often_it_is_given_up() {
        let reading = SharedRead::default();
        let (wake, hangs) = mpsc::sync_channel(1);
        let others = reading.clone();
        let give_up = async |read: Box<dyn FnOnce() -> u8 + Send>| {
            tokio::select! {
                biased;
                read = others.read(read) => panic!("{read} was read"),
                () = std::future::ready(()) => {}
            }
        };
        give_up(Box::new(move || hangs.recv().expect("it wakes up"))).await;
        for _ in 0..100 {
            give_up(Box::new(|| unreachable!("a second read was begun"))).await;
        }
        wake.send(1).expect("it is read");
        assert_eq!(reading.read(|| unreachable!("it is there")).await, 1);
        assert_eq!(reading.read(|| 2).await, 2, "each connection reads anew");
    }
}
