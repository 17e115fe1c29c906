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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use bytes::Bytes;
    use fantail_hub::{Delivery, EntryKind, Position};
    use fantail_wire::{Event, Framing, SlowPolicy, encode};

    use crate::harness::Harness;
    use crate::tls_record::tests::pair;
    use crate::tls_record::{TlsCipher, TlsVersion};

    /// A gap and an event of one place are begun together. The socket takes a part of the gap's record, or all of it: the
    /// event behind it goes out sealed, and behind the rest of the gap.
    #[test]
    fn bytes_behind_a_begun_place_go_out_sealed_and_in_order() {
        for cut in [1, 10, usize::MAX] {
            let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
            let (sealer, mut opener) = pair(TlsVersion::V1_3, TlsCipher::Aes128Gcm);
            let (key, mut client) = harness.open_as(&["a"], None, Some(sealer));
            harness.settle();
            let streams = &mut harness.engine.streams;
            let position = Position::new(u32::MAX, 7);
            let entry = |text: &str| Delivery {
                position,
                kind: EntryKind::Event,
                frame: encode(&Event::text(text), None, 1000).expect("small"),
            };
            let entries = [entry("first"), entry("second")];
            let first = entries[0].frame.bytes(Framing::CloseDelimited).to_vec();
            let record = streams.sealers.seal(key, &first);
            let cut = cut.min(record.len());
            let sent = streams.slab[key].carrier.put(&[std::io::IoSlice::new(&record[..cut])]);
            assert_eq!(sent.expect("there is room"), cut);
            let rest = (cut < record.len()).then(|| Bytes::copy_from_slice(&record[cut..]));
            streams.settle(key, &entries, first.len(), rest);
            streams.fall_behind(key);
            harness.settle();
            client.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
            let mut wire = Vec::new();
            while !opener.holds(&wire, "second") {
                let mut bytes = [0; 4096];
                let read = client.read(&mut bytes).expect("it comes");
                assert!(read > 0 && wire.windows(6).all(|six| six != b"second"), "in clear");
                wire.extend_from_slice(&bytes[..read]);
            }
        }
    }
}
