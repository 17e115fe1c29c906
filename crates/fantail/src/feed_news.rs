//! The state of the feed, on its way to the open streams whose clients want to know it.

use fantail_shard::ShardCommand;
use tokio::sync::{mpsc, watch};

/// Tells all shards for ever whenever the feed is lost or back. States that follow one another faster than the shards
/// take commands coalesce. Waits on the feed's state and on room for a command.
pub(crate) async fn tell(mut brings_events: watch::Receiver<bool>, shards: Vec<mpsc::Sender<ShardCommand>>) {
    // Before the feed connects for the first time, no stream is open that could miss it.
    let mut told = true;
    while brings_events.changed().await.is_ok() {
        let connected = *brings_events.borrow_and_update();
        if std::mem::replace(&mut told, connected) == connected {
            continue;
        }
        for shard in &shards {
            // A shard that is gone takes the process with it.
            let _ = shard.send(ShardCommand::TellFeedState { connected }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    #[tokio::test]
    async fn only_a_change_is_told_and_the_first_connection_is_none() {
        let (state, brings_events) = watch::channel(false);
        let (commands, mut told) = mpsc::channel(16);
        let telling = tokio::spawn(tell(brings_events, vec![commands]));
        for connected in [true, false, false, true] {
            state.send_replace(connected);
            // The one other task of this runtime runs before this one goes on.
            tokio::task::yield_now().await;
        }
        drop(state);
        telling.await.unwrap();
        let mut states = Vec::new();
        while let Some(command) = told.recv().await {
            let ShardCommand::TellFeedState { connected } = command else { panic!("{command:?}") };
            states.push(connected);
        }
        assert_eq!(states, [false, true]);
    }
}
