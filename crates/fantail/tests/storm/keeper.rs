//! Streams that keep all channels followed while a storm is closed.
//!
//! The event that closes it is for all channels, so it reaches a client that comes back late by any of its channels. If
//! the node gave up another of them meanwhile, its gap stands where following went on, behind that event. The client
//! would be gone before the gap.

use std::sync::Arc;

use fantail_testkit::{PATIENCE, SseClient};
use tokio::task::JoinSet;

use crate::disturbances::Storm;

/// A stream follows no more than this.
const CHANNELS_PER_STREAM: usize = 32;

/// Keeps all channels followed until the set is dropped. They are followed when this returns, by two streams each,
/// since an operator may still end one.
pub(crate) async fn keep(storm: &Arc<Storm>) -> JoinSet<()> {
    let mut keepers = JoinSet::new();
    let all = storm.channel_set.all();
    for channels in all.chunks(CHANNELS_PER_STREAM).chain(all.chunks(CHANNELS_PER_STREAM)) {
        let path = format!("/sse?channel={}", channels.join("&channel="));
        let address = storm.public[0];
        let mut stream = SseClient::connect(address, &path).await.unwrap();
        keepers.spawn(async move {
            loop {
                while stream.end().is_none() {
                    let _ = stream.next_event(PATIENCE).await; // that nothing came is as good
                }
                stream = SseClient::connect(address, &path).await.unwrap();
            }
        });
    }
    keepers
}
