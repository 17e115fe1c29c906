//! Every order in which a control loop and a shard may meet at a mailbox, tried by loom (`scripts/loom`).
//!
//! The marks, the mailbox and its bell are the real ones; the queue and the wake-up below them are models (`primitives.rs`).
//! A wake-up that is lost shows as a deadlock: the shard sleeps and nobody is left to ring.

use std::pin::pin;
use std::task::{Context, Waker};

use loom::sync::Mutex;
use loom::sync::atomic::AtomicU64;

use super::*;

/// The state that the two threads share. The watermark is only an atomic, read and written without any order of its own, so that
/// all order comes from the mark; in the hub it stands behind a lock.
#[derive(Default)]
struct Shared {
    mailbox: Mailbox,
    watermark: AtomicU64,
}

impl Shared {
    /// As the publisher does for an event: the watermark, then the marks, then the bell.
    fn publish(&self, place: u64, marks: &[Arc<Mark>]) {
        self.watermark.store(place, Ordering::Relaxed);
        let mut to_ring = false;
        for mark in marks {
            to_ring |= self.mailbox.post(mark);
        }
        if to_ring {
            self.mailbox.ring();
        }
    }

    fn delete(&self, place: u64, mark: &Arc<Mark>) {
        self.watermark.store(place, Ordering::Relaxed);
        mark.end();
        if self.mailbox.post(mark) {
            self.mailbox.ring();
        }
    }

    /// As a shard does in its turns: it looks, and sleeps until the bell rings, until `is_enough` of what it found. That
    /// is told each mark with whether it ended and the watermark that was read behind it.
    fn look_until(&self, mut is_enough: impl FnMut(&Mark, bool, u64) -> bool) {
        loop {
            sleep(&self.mailbox);
            if self.look(&mut is_enough) {
                return;
            }
        }
    }

    fn look(&self, mut is_enough: impl FnMut(&Mark, bool, u64) -> bool) -> bool {
        let mut enough = false;
        self.mailbox.silence();
        while let Some(mark) = self.mailbox.take() {
            let end = mark.clear();
            let watermark = self.watermark.load(Ordering::Relaxed);
            enough |= is_enough(&mark, end, watermark);
        }
        enough
    }
}

/// Until the bell rings. The model's `Notify` blocks in its first poll.
fn sleep(mailbox: &Mailbox) {
    let poll = pin!(mailbox.rung()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_ready());
}

/// Runs `control` against `shard` in every order.
fn in_every_order(
    channels: u32,
    control: impl Fn(&Shared, &[Arc<Mark>]) + Send + Sync + Copy + 'static,
    shard: impl Fn(&Shared) + Send + Sync + 'static,
) {
    loom::model(move || {
        let shared = Arc::new(Shared::default());
        let marks: Vec<_> = (0..channels).map(Mark::new).collect();
        let control = {
            let shared = Arc::clone(&shared);
            loom::thread::spawn(move || control(&shared, &marks))
        };
        shard(&shared);
        control.join().expect("the control loop is done");
        while let Some(mark) = shared.mailbox.take() {
            assert!(!mark.clear(), "what is left is no end");
        }
    });
}

#[test]
fn a_shard_does_not_sleep_before_it_has_seen_the_last_watermark() {
    in_every_order(
        1,
        |shared, marks| (1..=3).for_each(|place| shared.publish(place, marks)),
        |shared| shared.look_until(|_, _, watermark| watermark == 3),
    );
}

/// The shard keeps its bell still, looks by itself, and sleeps only then. A mark that is posted in between is either
/// found or rung for.
#[test]
fn a_shard_that_kept_its_bell_still_misses_nothing() {
    in_every_order(
        1,
        |shared, marks| (1..=2).for_each(|place| shared.publish(place, marks)),
        |shared| {
            let is_last = |_: &Mark, _, watermark| watermark == 2;
            shared.mailbox.hush();
            if !shared.look(is_last) {
                shared.look_until(is_last);
            }
        },
    );
}

#[test]
fn every_channel_of_a_batch_is_seen_up_to_its_last_event() {
    in_every_order(
        2,
        |shared, marks| {
            shared.publish(1, marks);
            shared.publish(2, &marks[1..]);
        },
        |shared| {
            let mut seen = [0, 0];
            shared.look_until(|mark, _, watermark| {
                seen[mark.slot as usize] = watermark;
                seen[0] >= 1 && seen[1] == 2
            });
        },
    );
}

#[test]
fn an_end_that_finds_the_mark_set_is_seen_once_and_not_before_its_place() {
    in_every_order(
        1,
        |shared, marks| {
            shared.publish(1, marks);
            shared.delete(2, &marks[0]);
        },
        |shared| {
            shared.look_until(|_, end, watermark| {
                assert!(!end || watermark == 2, "ended before the deletion was placed");
                end
            });
        },
    );
}

#[test]
fn an_end_is_not_covered_by_the_next_event() {
    in_every_order(
        1,
        |shared, marks| {
            shared.delete(1, &marks[0]);
            shared.publish(2, marks);
        },
        |shared| {
            let mut ends = 0;
            shared.look_until(|_, end, watermark| {
                ends += u32::from(end);
                ends > 0 && watermark == 2
            });
            assert_eq!(ends, 1);
        },
    );
}

/// A channel as the hub has it: the log, the registered marks, and a watermark behind a lock of its own.
#[derive(Default)]
struct MarkedChannel {
    log: Mutex<Vec<u64>>,
    marks: Mutex<Vec<Arc<Mark>>>,
    watermark: Mutex<u64>,
    mailbox: Mailbox,
}

impl MarkedChannel {
    fn publish(&self, place: u64) {
        self.log.lock().expect("not poisoned").push(place);
        *self.watermark.lock().expect("not poisoned") = place;
        let to_ring =
            self.marks.lock().expect("not poisoned").iter().fold(false, |ring, m| self.mailbox.post(m) | ring);
        if to_ring {
            self.mailbox.ring();
        }
    }

    /// How many entries there are up to the watermark.
    fn read(&self) -> usize {
        let watermark = *self.watermark.lock().expect("not poisoned");
        self.log.lock().expect("not poisoned").iter().filter(|place| **place <= watermark).count()
    }
}

#[test]
fn a_shard_that_joins_and_then_reads_misses_nothing() {
    loom::model(|| {
        let channel = Arc::new(MarkedChannel::default());
        let control = {
            let channel = Arc::clone(&channel);
            loom::thread::spawn(move || (1..=2).for_each(|place| channel.publish(place)))
        };
        channel.marks.lock().expect("not poisoned").push(Mark::new(0));
        let mut read = channel.read();
        while read < 2 {
            sleep(&channel.mailbox);
            channel.mailbox.silence();
            while let Some(mark) = channel.mailbox.take() {
                mark.clear();
                read = channel.read();
            }
        }
        control.join().expect("the control loop is done");
    });
}
