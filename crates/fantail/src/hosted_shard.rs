//! The shard that shares the thread of the control loop, for the loop's own tasks.
//!
//! An event goes out before its publisher is answered. Otherwise the events of publishers that ask at once would wait for each other's
//! answers. Example: of four events that come together the first would wait until all four answers are written.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;

use fantail_shard::Shard;

thread_local! {
    static SHARD: RefCell<Option<Shard>> = const { RefCell::new(None) };
}

/// This thread's shard is also that of the control loop.
pub(crate) fn host(shard: Shard) {
    SHARD.set(Some(shard));
}

/// Publishes, and sends at once what that brought, as far as one slice goes, if a shard shares this thread.
pub(crate) async fn delivering<T>(publishing: impl Future<Output = T>) -> T {
    let mut publishing = pin!(publishing);
    poll_fn(|context| {
        SHARD.with_borrow(|shard| match shard {
            Some(shard) => shard.work_behind(|| publishing.as_mut().poll(context)),
            None => publishing.as_mut().poll(context),
        })
    })
    .await
}
