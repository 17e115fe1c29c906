//! The sealers of the streams that came over TLS.
//!
//! Next to the slab: a plain stream must not pay for it. A sealed stream costs 64 bytes more than a plain one.

use std::io::{self, IoSlice};

use bytes::Bytes;

use super::{Carrier, Key};
use crate::side_table::SideTable;
use crate::tls_record::TlsSealer;

/// Records are made in a buffer that all streams share. Beyond this it is given back after use.
const SCRATCH_BYTES_KEPT: usize = 512 * 1024;

/// The sealers by the key of their stream.
pub(crate) struct Sealers {
    table: SideTable<TlsSealer>,
    scratch: Vec<u8>,
}

impl Sealers {
    pub(super) fn new() -> Self {
        Self { table: SideTable::new(), scratch: Vec::new() }
    }

    /// Keeps the sealer of a new stream, or notes that it has none. The sealer of the slot's last stream is wiped.
    pub(super) fn set(&mut self, key: Key, sealer: Option<TlsSealer>) {
        self.table.set(key, sealer);
    }

    pub(super) fn shrink(&mut self, slots: usize) {
        self.table.shrink(slots);
    }

    /// Seals the pieces and puts them on the wire with one call. Returns how many of their bytes were begun, always whole
    /// pieces, and the sealed rest of the last one if it did not go out whole.
    pub(crate) fn put(
        &mut self,
        key: Key,
        carrier: &Carrier,
        pieces: &[IoSlice<'_>],
    ) -> (io::Result<usize>, Option<Bytes>) {
        let sealer = self.table.get_mut(key).expect("a sealed stream has one");
        let texts = pieces.iter().map(|piece| &**piece);
        let put = sealer.put(texts, &mut self.scratch, |records| carrier.put(&[IoSlice::new(records)]));
        if self.scratch.capacity() > SCRATCH_BYTES_KEPT {
            self.scratch = Vec::new();
        }
        match put {
            Ok(put) => (Ok(put.taken), (!put.rest.is_empty()).then_some(put.rest)),
            Err(error) => (Err(error), None),
        }
    }

    /// The text as records, which go out before anything that is sealed later.
    pub(super) fn seal(&mut self, key: Key, text: &[u8]) -> Bytes {
        self.table.get_mut(key).expect("a sealed stream has one").seal(text)
    }

    pub(super) fn seal_close_notify(&mut self, key: Key) -> Bytes {
        self.table.get_mut(key).expect("a sealed stream has one").seal_close_notify()
    }

    /// Whether the stream's key has sealed as much as it may.
    pub(super) fn is_worn_out(&mut self, key: Key) -> bool {
        self.table.get_mut(key).is_some_and(|sealer| sealer.is_worn_out())
    }
}
