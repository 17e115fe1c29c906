//! The running node, as the routes and tasks of the control loop see it and act on it.

use std::sync::Arc;

use fantail_feed::Feed;
use fantail_hub::Hub;
use fantail_shard::{Admission, ShardCommand};
use fantail_telemetry::Metrics;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::access::ReadAccess;
use crate::intake::NodeIntake;
use crate::memory::MemoryBound;

pub(crate) struct RunningNode {
    pub(crate) access: Arc<ReadAccess>,
    pub(crate) feed: Arc<Feed<NodeIntake>>,
    /// The hub's one publisher is behind this lock. The lock is not held during calls of the feed, which may take it.
    pub(crate) intake: Arc<Mutex<NodeIntake>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) memory: Arc<MemoryBound>,
    /// One for each shard.
    pub(crate) shards: Vec<mpsc::Sender<ShardCommand>>,
}
