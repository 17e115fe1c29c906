//! A connection's place: one of those that may be open, or one in the reserve. It counts as long as it is held.

use std::mem;
use std::sync::Arc;

use fantail_shard::{AddressPermit, Admission, Permit, Shard, UndecidedSocket};
use fantail_telemetry::ShardCounters;

pub(crate) struct Place {
    held: Held,
    /// The place among the connections of its address.
    pub(crate) address: Option<AddressPermit>,
    counters: Arc<ShardCounters>,
    /// Until the shard has the stream, a drain waits for this.
    _undecided: UndecidedSocket,
}

enum Held {
    Permit(Permit),
    Reserve,
    /// A stream has the place now, and the shard counts it.
    Nothing,
}

impl Place {
    /// A place among the connections that may be open.
    pub(crate) fn open(permit: Permit, shard: &Shard, counters: Arc<ShardCounters>) -> Self {
        counters.connections_open.add(1);
        Self { held: Held::Permit(permit), address: None, counters, _undecided: shard.undecided_socket() }
    }

    /// A place in the reserve.
    pub(crate) fn in_reserve(shard: &Shard, counters: Arc<ShardCounters>) -> Self {
        counters.connections_turning_away.add(1);
        Self { held: Held::Reserve, address: None, counters, _undecided: shard.undecided_socket() }
    }

    pub(crate) fn is_in_reserve(&self) -> bool {
        matches!(self.held, Held::Reserve)
    }

    /// Whether the connection may become a stream. One in the reserve may if there is room meanwhile: a page that is
    /// loaded anew comes a moment before its old connection ends.
    pub(crate) fn let_in(&mut self, admission: &Arc<Admission>) -> bool {
        if self.is_in_reserve()
            && let Some(permit) = admission.try_permit()
        {
            self.counters.connections_turning_away.sub(1);
            self.counters.connections_open.add(1);
            self.held = Held::Permit(permit);
        }
        matches!(self.held, Held::Permit(_))
    }

    /// The permit for the stream that the connection becomes. It goes on counting as open.
    pub(crate) fn into_permits(mut self) -> Option<(Permit, Option<AddressPermit>)> {
        match mem::replace(&mut self.held, Held::Nothing) {
            Held::Permit(permit) => Some((permit, self.address.take())),
            other => {
                self.held = other;
                None
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The count falls before the permit is given back, so that it never exceeds the bound.
        match self.held {
            Held::Permit(_) => self.counters.connections_open.sub(1),
            Held::Reserve => self.counters.connections_turning_away.sub(1),
            Held::Nothing => {}
        }
    }
}
