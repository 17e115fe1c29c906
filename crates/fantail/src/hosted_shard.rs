//! The shard that shares the thread of the control loop, for the loop's own tasks.
//!
//! An event goes out before its publisher is answered. Otherwise the events of publishers that ask at once would wait for each other's
//! answers. Example: of four events that come together the first would wait until all four answers are written.

use std::cell::RefCell;

use fantail_shard::Shard;

thread_local! {
    static SHARD: RefCell<Option<Shard>> = const { RefCell::new(None) };
}

/// This thread's shard is also that of the control loop.
pub(crate) fn host(shard: Shard) {
    SHARD.set(Some(shard));
}

/// Sends what was published, as far as one slice goes, if a shard shares this thread.
pub(crate) fn deliver() {
    SHARD.with_borrow(|shard| {
        if let Some(shard) = shard {
            shard.work_now();
        }
    });
}
