//! The primitives of the mailbox: the real ones, or under `--cfg loom` models whose every schedule can be tried.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

#[cfg(not(loom))]
pub(crate) use crossbeam::queue::SegQueue;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
#[cfg(not(loom))]
pub(crate) use tokio::sync::Notify;

#[cfg(loom)]
pub(crate) use self::model::{Notify, SegQueue};

/// No more than the real ones promise, as far as the mailbox asks it of them.
#[cfg(loom)]
mod model {
    use std::collections::VecDeque;

    use loom::sync::{Condvar, Mutex};

    /// A queue behind a lock.
    #[derive(Debug)]
    pub(crate) struct SegQueue<T>(Mutex<VecDeque<T>>);

    impl<T> Default for SegQueue<T> {
        fn default() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }
    }

    impl<T> SegQueue<T> {
        pub(crate) fn push(&self, item: T) {
            self.0.lock().expect("nobody panics with the lock").push_back(item);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.lock().expect("nobody panics with the lock").pop_front()
        }
    }

    /// One permit. A wait for it blocks the thread: a thread of a model has nothing else to do.
    #[derive(Debug, Default)]
    pub(crate) struct Notify {
        permit: Mutex<bool>,
        given: Condvar,
    }

    impl Notify {
        pub(crate) fn notify_one(&self) {
            *self.permit.lock().expect("nobody panics with the lock") = true;
            self.given.notify_one();
        }

        #[allow(clippy::unused_async, reason = "as the real one")]
        pub(crate) async fn notified(&self) {
            let mut permit = self.permit.lock().expect("nobody panics with the lock");
            while !*permit {
                permit = self.given.wait(permit).expect("nobody panics with the lock");
            }
            *permit = false;
        }
    }
}
