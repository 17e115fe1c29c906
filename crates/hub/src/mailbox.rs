//! How a shard learns that channels have something new: the only path from the control loop to the shards.
//!
//! A mark is set by the control loop after the watermark has moved, and cleared by its shard before it reads the
//! watermark. Both are read-modify-write operations on the same flag: either the control loop's comes second and sees
//! the flag clear, so the mark is posted anew; or the shard's comes second, reads the control loop's write, and with
//! it everything that happened before, the moved watermark included. Nothing is lost, and marks coalesce while a shard
//! is behind.

use std::sync::Arc;

use crossbeam::utils::CachePadded;

mod primitives;
#[cfg(all(test, loom))]
mod schedules;

use self::primitives::{AtomicBool, AtomicU32, Notify, Ordering, SegQueue};

/// One shard's registration with one channel.
#[derive(Debug)]
pub struct Mark {
    /// Where the shard keeps the channel. A mark may outlive its registration: the shard checks that the place still
    /// holds this very mark.
    pub slot: u32,
    /// Open streams of the shard on the channel.
    streams: AtomicU32,
    dirty: AtomicBool,
    ended: AtomicBool,
}

/// The marks that wait for one shard. Its length is bounded: a mark stands in it at most once.
#[derive(Debug, Default)]
pub struct Mailbox {
    marks: SegQueue<Arc<Mark>>,
    /// Set by the first mark of a batch, which alone rings, or by a shard that is about to look by itself; cleared by the shard before it
    /// takes the marks.
    rung: CachePadded<AtomicBool>,
    bell: Notify,
}

impl Mark {
    pub(crate) fn new(slot: u32) -> Arc<Self> {
        Arc::new(Self {
            slot,
            streams: AtomicU32::new(0),
            dirty: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        })
    }

    /// Clears the mark and says whether the channel's streams are to end. Call it before reading the watermark.
    pub fn clear(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel);
        self.ended.swap(false, Ordering::AcqRel)
    }

    /// Tells how many streams of the shard follow the channel, for receipts and listings.
    pub fn set_streams(&self, streams: usize) {
        self.streams.store(u32::try_from(streams).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(crate) fn streams(&self) -> u64 {
        u64::from(self.streams.load(Ordering::Relaxed))
    }

    /// Asks the shard to end the channel's streams, once it is posted.
    pub(crate) fn end(&self) {
        self.ended.swap(true, Ordering::AcqRel); // like `clear`: one order over all that happens to the flag
    }
}

impl Mailbox {
    /// Puts a mark in, unless it is there already. Returns whether the shard must be rung.
    pub(crate) fn post(&self, mark: &Arc<Mark>) -> bool {
        if mark.dirty.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.marks.push(Arc::clone(mark));
        true
    }

    /// Wakes the shard, at most once until it looks.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.bell.notify_one();
        }
    }

    /// Keeps the bell still until [`silence`](Self::silence), as if it had rung: the shard, which calls this, looks by itself before
    /// it waits.
    pub fn hush(&self) {
        self.rung.swap(true, Ordering::AcqRel);
    }

    /// Waits until there may be marks to take. Cancel safe: `Notify` keeps one permit.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Silences the bell; call it before taking marks, so that a mark posted later rings again.
    pub fn silence(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }

    /// Takes one mark.
    pub fn take(&self) -> Option<Arc<Mark>> {
        self.marks.pop()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn marks_coalesce_until_the_shard_clears_them() {
        let (mailbox, mark) = (Mailbox::default(), Mark::new(7));
        assert!(mailbox.post(&mark));
        assert!(!mailbox.post(&mark) && !mailbox.post(&mark));
        assert_eq!(mailbox.take().map(|m| m.slot), Some(7));
        assert!(mailbox.take().is_none());
        mark.clear();
        assert!(mailbox.post(&mark));
    }

    #[test]
    fn many_rings_are_one_wake_up() {
        let mailbox = Mailbox::default();
        let mut rung = tokio_test_poll(&mailbox);
        assert!(!rung());
        mailbox.ring();
        mailbox.ring();
        assert!(rung());
        assert!(!rung(), "one permit, not two");
        mailbox.ring();
        assert!(!rung(), "still rung: the shard has not looked");
        mailbox.silence();
        mailbox.ring();
        assert!(rung());
    }

    #[test]
    fn a_shard_that_looks_by_itself_is_not_woken() {
        let mailbox = Mailbox::default();
        let mut rung = tokio_test_poll(&mailbox);
        mailbox.hush();
        mailbox.ring();
        assert!(!rung());
        mailbox.silence();
        mailbox.ring();
        assert!(rung());
    }

    fn tokio_test_poll(mailbox: &Mailbox) -> impl FnMut() -> bool + '_ {
        move || {
            let waiting = std::pin::pin!(mailbox.rung());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            std::future::Future::poll(waiting, &mut context).is_ready()
        }
    }
}
