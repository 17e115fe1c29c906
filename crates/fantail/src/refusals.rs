//! Connections and streams that a bound refuses: counted by the bound, and now and then a line.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fantail_telemetry::{Bound, Sampled, ShardCounters};
use tracing::warn;

/// How often a shard logs at most that a bound refuses.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// One shard's refusals.
pub(crate) struct Refusals {
    counters: Arc<ShardCounters>,
    log: RefCell<Sampled<Bound>>,
}

impl Refusals {
    pub(crate) fn new(counters: Arc<ShardCounters>) -> Self {
        Self { counters, log: RefCell::new(Sampled::new(1, LOG_INTERVAL)) }
    }

    /// One more, from this address.
    pub(crate) fn add(&self, bound: Bound, address: IpAddr) {
        self.counters.refused.add(bound, 1);
        if let Some(admitted) = self.log.borrow_mut().admit(bound, Instant::now()) {
            let (bound, suppressed) = (bound.as_str(), admitted.suppressed);
            warn!(bound, %address, suppressed, "a newcomer is refused since a bound is reached; raise the setting of that name if this is no abuse");
        }
    }
}
