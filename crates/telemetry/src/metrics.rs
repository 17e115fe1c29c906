//! The registry: hands out the counters and turns them into a scrape's answer.

use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::classic;
use crate::exposition::Sources;
use crate::hub_counters::HubCounters;
use crate::shard_counters::ShardCounters;
use crate::text_format::TextFormat;

/// All counters of the process. Made once, at start, which is also the start time it reports.
#[derive(Debug)]
pub struct Metrics {
    shards: Vec<Arc<ShardCounters>>,
    hub: Arc<HubCounters>,
    sources: Sources,
    registry: Registry,
}

impl Metrics {
    /// Counters for this many shards and for the control loop, all at zero.
    pub fn new(shards: usize) -> Self {
        let shards: Vec<_> = (0..shards).map(|_| Arc::new(ShardCounters::default())).collect();
        let hub = Arc::new(HubCounters::default());
        let sources = Sources { shards: shards.clone(), hub: Arc::clone(&hub), started: SystemTime::now() };

        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("fantail_build", "Which build this is", build);
        registry.register_collector(Box::new(sources.clone()));
        Self { shards, hub, sources, registry }
    }

    /// The counters of one shard, for that shard's thread to write.
    pub fn shard(&self, number: usize) -> Arc<ShardCounters> {
        Arc::clone(&self.shards[number])
    }

    /// The counters of every shard, by number.
    pub fn shards(&self) -> &[Arc<ShardCounters>] {
        &self.shards
    }

    /// The counters of the control loop, for its thread to write.
    pub fn hub(&self) -> Arc<HubCounters> {
        Arc::clone(&self.hub)
    }

    /// The answer to a scrape.
    pub fn render(&self, format: TextFormat) -> String {
        let mut page = String::new();
        let written = match format {
            TextFormat::Classic => classic::write(&self.sources, &mut page),
            TextFormat::OpenMetrics => text::encode(&mut page, &self.registry),
        };
        written.expect("writing to a string does not fail");
        page
    }
}
