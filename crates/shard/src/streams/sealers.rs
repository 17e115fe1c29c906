//! The sealers of the streams that came over TLS.
//!
//! Next to the slab: a plain stream must not pay for it. A sealed stream costs 64 bytes more than a plain one.

use std::io::{self, IoSlice};

use bytes::Bytes;

use super::sealer::{KeptTls, Sealer, TAKES_PLAIN_BYTES};
use super::{Carrier, Key};
use crate::side_table::SideTable;

/// Records are made in a buffer that all streams share. Beyond this it is given back after use.
const SCRATCH_BYTES_KEPT: usize = 512 * 1024;

/// The sealers by the key of their stream.
pub(crate) struct Sealers {
    table: SideTable<Sealer>,
    scratch: Vec<u8>,
}

/// How many bytes of a write were begun, always whole pieces, and the sealed rest of the last one if it did not go out whole.
type Put = (io::Result<usize>, Option<Bytes>);

impl Sealers {
    pub(super) fn new() -> Self {
        Self { table: SideTable::new(), scratch: Vec::new() }
    }

    /// Keeps the sealer of a new stream, or notes that it has none. The sealer of the slot's last stream is wiped.
    pub(super) fn set(&mut self, key: Key, sealer: Option<Sealer>) {
        self.table.set(key, sealer);
    }

    pub(super) fn shrink(&mut self, slots: usize) {
        self.table.shrink(slots);
    }

    /// Seals the pieces and puts them on the wire.
    pub(crate) fn put(&mut self, key: Key, carrier: &Carrier, pieces: &[IoSlice<'_>]) -> Put {
        let scratch = &mut self.scratch;
        let put = match self.table.get_mut(key).expect("a stream whose socket takes records has what makes them") {
            Sealer::Dissolved(sealer) => {
                let texts = pieces.iter().map(|piece| &**piece);
                match sealer.put(texts, scratch, |records| carrier.put(&[IoSlice::new(records)])) {
                    Ok(put) => (Ok(put.taken), (!put.rest.is_empty()).then_some(put.rest)),
                    Err(error) => (Err(error), None),
                }
            }
            Sealer::Kept(connection) => put_kept(connection.as_mut(), carrier, pieces, scratch),
            Sealer::Kernel => unreachable!("{TAKES_PLAIN_BYTES}"),
        };
        if self.scratch.capacity() > SCRATCH_BYTES_KEPT {
            self.scratch = Vec::new();
        }
        put
    }

    /// The sealer of a stream whose socket takes records.
    pub(super) fn of(&mut self, key: Key) -> &mut Sealer {
        self.get(key).expect("a stream whose socket takes records has what makes them")
    }

    /// The sealer of a stream, if it came over TLS.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut Sealer> {
        self.table.get_mut(key)
    }
}

/// A kept connection cannot take back the number of a record, so its pieces go out one by one.
fn put_kept(connection: &mut dyn KeptTls, carrier: &Carrier, pieces: &[IoSlice<'_>], scratch: &mut Vec<u8>) -> Put {
    let mut begun = 0;
    for piece in pieces {
        scratch.clear();
        connection.seal(piece, scratch);
        if scratch.is_empty() {
            return (Err(io::ErrorKind::BrokenPipe.into()), None);
        }
        let sent = match carrier.put(&[IoSlice::new(scratch)]) {
            Ok(sent) => sent,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(e) => return (Err(e), None),
        };
        begun += piece.len();
        if sent < scratch.len() {
            return (Ok(begun), Some(Bytes::copy_from_slice(&scratch[sent..])));
        }
    }
    (Ok(begun), None)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use bytes::Bytes;
    use fantail_hub::{Delivery, EntryKind, Position};
    use fantail_wire::{Event, Framing, SlowPolicy, encode};
    use fastrand::Rng;

    use super::Sealer;
    use crate::harness::Harness;
    use crate::streams::Way;
    use crate::tls_record::opener::TlsOpener;
    use crate::tls_record::{TlsCipher, TlsVersion};

    /// A gap and an event of one place are begun together. The socket takes a part of the gap's record, or all of it: the
    /// event behind it goes out sealed, and behind the rest of the gap.
    #[test]
    fn bytes_behind_a_begun_place_go_out_sealed_and_in_order() {
        for cut in [1, 10, usize::MAX] {
            let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
            let opener = TlsOpener::new(TlsVersion::V1_3, TlsCipher::Aes128Gcm, &mut Rng::with_seed(1));
            let (key, mut client) = harness.open_as(&["a"], None, Some(Sealer::Dissolved(opener.sealer())));
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
            let record = streams.outlets.sealers.of(key).seal(&first);
            let cut = cut.min(record.len());
            let Way::Socket { carrier, .. } = &streams.slab[key].way else { unreachable!("it has a socket") };
            let sent = carrier.put(&[std::io::IoSlice::new(&record[..cut])]);
            assert_eq!(sent.expect("there is room"), cut);
            let rest = (cut < record.len()).then(|| Bytes::copy_from_slice(&record[cut..]));
            streams.settle(key, &entries, first.len(), rest);
            streams.fall_behind(key);
            harness.settle();
            client.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
            let mut wire = Vec::new();
            while opener.text(&wire).windows(6).all(|six| six != b"second") {
                let mut bytes = [0; 4096];
                let read = client.read(&mut bytes).expect("it comes");
                assert!(read > 0 && wire.windows(6).all(|six| six != b"second"), "in clear");
                wire.extend_from_slice(&bytes[..read]);
            }
        }
    }
}
