//! The turn of a task of a client's library: how much it reads before other tasks of its thread run.
//!
//! Such a task reads on while there is something, and tokio lets it read 128 times in one turn. All that it brings is then worked
//! through at once, while everything else on the thread waits. Example: 128 reads of 8 KiB and events of 200 bytes are 5,000 events. So the task
//! that takes the events spends the turn's budget, and the next read waits for the next turn.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::coop;

/// The reads and other steps that tokio lets a task make in one turn.
pub(crate) const TURN_BUDGET: u32 = 128;

/// Takes so many steps from the turn of the task that runs.
pub(crate) fn spend(steps: u32) {
    for _ in 0..steps {
        // With the budget spent this says to wait, and the next read does.
        let Poll::Ready(step) = coop::poll_proceed(&mut Context::from_waker(Waker::noop())) else { return };
        step.made_progress();
    }
}

/// Runs a future that another task of this thread feeds through a queue, of tokio's. The first message that comes wakes the
/// future, and ends the turn of that task at its next read. So one read at a time is worked through.
pub(crate) async fn fed_in_turns<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut last: Option<Arc<EndTurn>> = None;
    poll_fn(|cx| {
        // The same one again: whoever holds it already need not take another.
        let known = last.take().filter(|end| end.receiver.will_wake(cx.waker()));
        let end = last.insert(known.unwrap_or_else(|| Arc::new(EndTurn { receiver: cx.waker().clone() })));
        future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(end))))
    })
    .await
}

/// Wakes the receiver, and ends the turn of the task that does so. Elsewhere, as in a timer, there is no turn to end.
struct EndTurn {
    receiver: Waker,
}

impl Wake for EndTurn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.receiver.wake_by_ref();
        spend(TURN_BUDGET);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::task::{consume_budget, unconstrained};

    use super::*;

    /// The largest number of messages that waited at a time, while a task sent 1,000 with a step in between.
    async fn most_waiting(in_turns: bool) -> usize {
        let (sender, mut queue) = mpsc::channel(1_000);
        let feed = tokio::spawn(async move {
            for number in 0..1_000 {
                let _ = sender.try_send(number);
                consume_budget().await;
            }
        });
        let take = async {
            let (mut most, mut taken) = (0, 0);
            while queue.recv().await.is_some() {
                most = most.max(queue.len() + 1);
                taken += 1;
            }
            assert_eq!(taken, 1_000);
            most
        };
        let most = if in_turns { unconstrained(fed_in_turns(take)).await } else { unconstrained(take).await };
        feed.await.expect("it ends");
        most
    }

    #[tokio::test]
    async fn messages_of_one_step_are_taken_before_the_next_step() {
        assert_eq!(most_waiting(true).await, 1);
        assert!(most_waiting(false).await > 100, "tokio lets a task make 128 steps");
    }
}
