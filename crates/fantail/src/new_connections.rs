//! The connections that one client address may have open, and may open in a second.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use fantail_access::{RateLimit, TrustedProxies};
use fantail_config::Limits;
use fantail_hub::Maker;
use fantail_shard::{AddressPermit, Admission};
use fantail_telemetry::Bound;
use parking_lot::Mutex;

use crate::address_bound::{self, AddressBound};

/// Both bounds, for all shards.
pub(crate) struct NewConnections {
    /// These stand for all of their clients, and are not bounded.
    trusted_proxies: TrustedProxies,
    open: AddressBound,
    per_second: AddressBound,
    rate: Mutex<RateLimit<Maker>>,
    started: Instant,
}

impl NewConnections {
    pub(crate) fn new(limits: &Limits, trusted_proxies: TrustedProxies) -> Self {
        let per_second =
            AddressBound::new(limits.connections_per_second_per_address, address_bound::CONNECTIONS_PER_SECOND);
        let rate = u32::try_from(per_second.max).unwrap_or(u32::MAX);
        Self {
            trusted_proxies,
            open: open_bound(limits),
            per_second,
            rate: Mutex::new(RateLimit::new(rate)),
            started: Instant::now(),
        }
    }

    /// Lets a new connection in, with its place among those of its address, or names the bound that refuses it.
    pub(crate) fn admit(&self, address: IpAddr, admission: &Arc<Admission>) -> Result<Option<AddressPermit>, Bound> {
        if self.trusted_proxies.contains(address) {
            return Ok(None);
        }
        if let Some(name) = self.per_second.of(address)
            && self.rate.lock().take(name, self.started.elapsed()).is_err()
        {
            return Err(Bound::ConnectionsPerSecond);
        }
        let Some(name) = self.open.of(address) else { return Ok(None) };
        admission.try_address(name).map(Some).ok_or(Bound::ConnectionsPerAddress)
    }

    /// The address as it is counted, for a client that a trusted proxy forwards.
    pub(crate) fn counted(&self, client: IpAddr) -> Option<Maker> {
        self.open.of(client).filter(|_| !self.trusted_proxies.contains(client))
    }
}

/// The most that one address may have open.
pub(crate) fn open_bound(limits: &Limits) -> AddressBound {
    AddressBound::new(limits.connections_per_address_max, address_bound::CONNECTIONS_MAX)
}
