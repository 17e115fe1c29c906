//! The places that a stream takes: among all streams, and among those of its subject, its token and its client's address.

use std::net::IpAddr;
use std::sync::Arc;

use fantail_shard::{AddressPermit, Admission, HolderPermit, StreamPermit, TooManyStreams};
use fantail_telemetry::Bound;
use fantail_wire::Closing;

use crate::public::{Accepted, PublicSettings};

/// The places; given back when dropped.
pub(crate) struct StreamPlaces {
    pub(crate) stream: StreamPermit,
    pub(crate) holder: Option<HolderPermit>,
    /// For a client whose address a trusted proxy forwards, and for each stream of an HTTP/2 connection. Others have their place since
    /// their connection.
    pub(crate) address: Option<AddressPermit>,
}

impl StreamPlaces {
    /// Takes them for an accepted stream, or names the bound that refuses it. `counted` is the address that has no place for it yet.
    pub(crate) fn take(
        accepted: &Accepted,
        counted: Option<IpAddr>,
        settings: &PublicSettings,
        admission: &Arc<Admission>,
    ) -> Result<Self, Bound> {
        if settings.memory.is_short() {
            return Err(Bound::Memory);
        }
        let stream = admission.try_stream().ok_or(Bound::Streams)?;
        let address = match counted.and_then(|address| settings.connections.counted(address)) {
            Some(address) => Some(admission.try_address(address).ok_or(Bound::ConnectionsPerAddress)?),
            None => None,
        };
        let right = accepted.permission.as_ref().and_then(|permission| permission.right);
        let holder = right.map(|right| admission.try_holder(right.holder)).transpose().map_err(|name| match name {
            TooManyStreams::Subject => Bound::StreamsPerSubject,
            TooManyStreams::Token => Bound::StreamsPerToken,
        })?;
        Ok(Self { stream, holder, address })
    }
}

/// The reason that a client is told, and the sentence.
pub(crate) fn told(bound: Bound) -> (Closing, &'static str) {
    match bound {
        Bound::Memory => (Closing::Overloaded, "this node is short of memory, try again"),
        Bound::Streams => (Closing::Overloaded, "this node has as many streams open as it may, try again"),
        Bound::StreamsPerSubject => (Closing::TooManyStreams, "you have as many streams open as one may, close some"),
        Bound::StreamsPerToken => {
            (Closing::TooManyStreams, "this token has as many streams open as one may, close some")
        }
        Bound::ConnectionsPerAddress | Bound::ConnectionsPerSecond => {
            (Closing::TooManyStreams, "your address has as many streams open as one may, close some")
        }
    }
}
