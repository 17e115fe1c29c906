//! The sending half of a TLS connection behind its handshake: a key, an iv and a counter.
//!
//! A whole TLS connection costs some 9 KiB while it is idle (bench/README.md). A stream only writes, so all that it needs of TLS is to seal
//! records (RFC 8446, 5.2; RFC 5246, 6.2.3.3). The cipher is made for each write, which takes half a microsecond, so an idle
//! stream keeps no more than these 64 bytes.
//!
//! The counter has one owner, this file. A nonce may never serve twice, so the counter goes back only for records of which the
//! socket took not a single byte. Example: records 7, 8 and 9 are sealed and given to one `send`, which takes record 7 and half
//! of 8. The rest of 8 is kept as it is. Record 9 was never seen by anyone, so the next record is number 9.

use std::fmt;
use std::io;

use aws_lc_rs::aead::{self, AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use zeroize::Zeroize;

pub(crate) mod kernel;
#[cfg(test)]
pub(crate) mod opener;
mod unsealer;

pub use self::unsealer::TlsUnsealer;
pub(crate) use self::unsealer::{Record, Unsealed};

/// The most text of one record (RFC 8446, 5.1).
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 14;
/// The longest record: the most that any form adds to its text (RFC 8446, 5.2).
pub(crate) const RECORD_BYTES_MAX: usize = HEADER_BYTES + TEXT_BYTES_MAX + 256;
/// Type, version and length in front of a record.
const HEADER_BYTES: usize = 5;
/// The explicit nonce of AES-GCM in TLS 1.2 (RFC 5288, 3).
const EXPLICIT_NONCE_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

const APPLICATION_DATA: u8 = 23;
const ALERT: u8 = 21;
/// A warning, `close_notify` (RFC 8446, 6.1).
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
/// TLS 1.2, which records of TLS 1.3 say, too.
const VERSION: [u8; 2] = [3, 3];

/// A stream ends before it has sealed so many records with one key: AES-GCM is safe for 2^24.5 of full length (RFC 8446, 5.5).
const RECORDS_MAX: u64 = (1 << 24) - (1 << 18);

/// The version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// The cipher of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsCipher {
    /// AES-GCM with a key of 128 bits.
    Aes128Gcm,
    /// AES-GCM with a key of 256 bits.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// The state that seals the records of one connection.
#[derive(Debug)]
pub struct TlsSealer(TrafficKey);

/// One half of a connection: what its records are sealed with, and how many there were.
struct TrafficKey {
    key: [u8; 32],
    iv: [u8; 12],
    version: TlsVersion,
    cipher: TlsCipher,
    /// The number of the next record.
    sequence: u64,
}

/// The outcome of a write to a sealed stream.
pub(crate) struct SealedPut {
    /// Bytes of text whose records were begun, always whole pieces.
    pub(crate) taken: usize,
    /// The part of the last begun piece, sealed, that the socket did not take.
    pub(crate) rest: Bytes,
}

/// Keys are shown nowhere.
impl fmt::Debug for TrafficKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrafficKey")
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

impl Drop for TrafficKey {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl TlsCipher {
    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

impl TrafficKey {
    /// None if the key's length is not the cipher's.
    fn new(version: TlsVersion, cipher: TlsCipher, key: &[u8], iv: [u8; 12], sequence: u64) -> Option<Self> {
        if key.len() != cipher.algorithm().key_len() {
            return None;
        }
        let mut padded = [0; 32];
        padded[..key.len()].copy_from_slice(key);
        Some(Self { key: padded, iv, version, cipher, sequence })
    }

    fn key(&self) -> LessSafeKey {
        let algorithm = self.cipher.algorithm();
        let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]);
        LessSafeKey::new(key.expect("its length was checked"))
    }

    /// The iv and the number of the record, combined by exclusive or (RFC 8446, 5.3).
    fn nonce(&self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// The nonce of a record that brings the end of its own. In AES-GCM of TLS 1.2 its sender chooses that (RFC 5288, 3).
    fn nonce_with(&self, explicit: &[u8]) -> Nonce {
        if explicit.is_empty() {
            return self.nonce();
        }
        let mut nonce = self.iv;
        nonce[12 - explicit.len()..].copy_from_slice(explicit);
        Nonce::assume_unique_for_key(nonce)
    }
}

impl TlsSealer {
    /// Goes on with a connection whose next record has the number `sequence`. `None` if the key's length is not the cipher's.
    pub fn new(version: TlsVersion, cipher: TlsCipher, key: &[u8], iv: [u8; 12], sequence: u64) -> Option<Self> {
        TrafficKey::new(version, cipher, key, iv, sequence).map(Self)
    }

    /// Whether the key has sealed as many records as it may.
    pub(crate) fn is_worn_out(&self) -> bool {
        self.0.sequence >= RECORDS_MAX
    }

    /// The text as records.
    pub(crate) fn seal(&mut self, text: &[u8]) -> Bytes {
        let mut records = Vec::with_capacity(text.len() + 64);
        self.seal_into(&self.0.key(), APPLICATION_DATA, text, &mut records);
        records.into()
    }

    /// The record that ends the connection.
    pub(crate) fn seal_close_notify(&mut self) -> Bytes {
        let mut records = Vec::new();
        self.seal_into(&self.0.key(), ALERT, &CLOSE_NOTIFY, &mut records);
        records.into()
    }

    /// Seals the pieces and gives them to `send` with one call. Each piece begins a record of its own, so that no more than one
    /// begun piece must be kept. `scratch` is used in between, and nothing of it is needed afterwards.
    pub(crate) fn put<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        scratch: &mut Vec<u8>,
        send: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<SealedPut> {
        scratch.clear();
        let key = self.0.key();
        let first = self.0.sequence;
        // Where each piece ends: in the text, in the records, and the number of the record behind it.
        let mut ends = smallvec::SmallVec::<[(usize, usize, u64); 8]>::new();
        let mut text = 0;
        for piece in pieces {
            self.seal_into(&key, APPLICATION_DATA, piece, scratch);
            text += piece.len();
            ends.push((text, scratch.len(), self.0.sequence));
        }
        let sent = match send(scratch) {
            Ok(sent) => sent,
            Err(error) => {
                // Not a byte has left.
                self.0.sequence = first;
                return Err(error);
            }
        };
        let begun = ends.iter().find(|(_, end, _)| sent <= *end);
        let Some(&(taken, end, next)) = begun.filter(|_| sent > 0) else {
            self.0.sequence = first;
            return Ok(SealedPut { taken: 0, rest: Bytes::new() });
        };
        self.0.sequence = next;
        Ok(SealedPut { taken, rest: Bytes::copy_from_slice(&scratch[sent..end]) })
    }

    fn seal_into(&mut self, key: &LessSafeKey, content: u8, text: &[u8], records: &mut Vec<u8>) {
        for text in text.chunks(TEXT_BYTES_MAX) {
            match self.0.version {
                TlsVersion::V1_3 => self.seal_1_3(key, content, text, records),
                TlsVersion::V1_2 => self.seal_1_2(key, content, text, records),
            }
            self.0.sequence += 1;
        }
    }

    /// The type of the content stands behind the text and is sealed with it.
    fn seal_1_3(&self, key: &LessSafeKey, content: u8, text: &[u8], records: &mut Vec<u8>) {
        let length = text.len() + 1 + TAG_BYTES;
        let header = header(APPLICATION_DATA, length);
        records.extend_from_slice(&header);
        let start = records.len();
        records.extend_from_slice(text);
        records.push(content);
        let tag = key.seal_in_place_separate_tag(self.0.nonce(), Aad::from(header), &mut records[start..]);
        records.extend_from_slice(tag.expect("a record is short").as_ref());
    }

    fn seal_1_2(&self, key: &LessSafeKey, content: u8, text: &[u8], records: &mut Vec<u8>) {
        let nonce = self.0.nonce();
        let explicit = if self.0.cipher == TlsCipher::ChaCha20Poly1305 { 0 } else { EXPLICIT_NONCE_BYTES };
        records.extend_from_slice(&header(content, explicit + text.len() + TAG_BYTES));
        records.extend_from_slice(&nonce.as_ref()[12 - explicit..]);
        let start = records.len();
        records.extend_from_slice(text);
        let [high, low] = length_bytes(text.len());
        let mut bound = [0; 13];
        bound[..8].copy_from_slice(&self.0.sequence.to_be_bytes());
        bound[8..].copy_from_slice(&[content, VERSION[0], VERSION[1], high, low]);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(bound), &mut records[start..]);
        records.extend_from_slice(tag.expect("a record is short").as_ref());
    }
}

fn header(content: u8, length: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = length_bytes(length);
    [content, VERSION[0], VERSION[1], high, low]
}

#[allow(clippy::cast_possible_truncation, reason = "a record has less than 2^15 bytes")]
fn length_bytes(length: usize) -> [u8; 2] {
    (length as u16).to_be_bytes()
}

/// Every form, for tests.
#[cfg(test)]
const FORMS: [(TlsVersion, TlsCipher); 6] = [
    (TlsVersion::V1_3, TlsCipher::Aes128Gcm),
    (TlsVersion::V1_3, TlsCipher::Aes256Gcm),
    (TlsVersion::V1_3, TlsCipher::ChaCha20Poly1305),
    (TlsVersion::V1_2, TlsCipher::Aes128Gcm),
    (TlsVersion::V1_2, TlsCipher::Aes256Gcm),
    (TlsVersion::V1_2, TlsCipher::ChaCha20Poly1305),
];

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::opener::TlsOpener;
    use super::*;

    #[test]
    fn a_sealer_costs_64_bytes() {
        assert!(size_of::<Option<TlsSealer>>() <= 64, "{}", size_of::<Option<TlsSealer>>());
    }

    #[test]
    fn sealed_frames_of_any_form_and_size_can_be_opened() {
        for (version, cipher) in FORMS {
            let opener = TlsOpener::new(version, cipher, &mut Rng::with_seed(1));
            let mut sealer = opener.sealer();
            let (mut wire, mut sealed) = (Vec::new(), Vec::new());
            for size in [1, 100, TEXT_BYTES_MAX, TEXT_BYTES_MAX + 1, 100_000] {
                let text = vec![7; size];
                wire.extend_from_slice(&sealer.seal(&text));
                sealed.extend(text.chunks(TEXT_BYTES_MAX).map(|text| (opener::APPLICATION_DATA, text.to_vec())));
            }
            wire.extend_from_slice(&sealer.seal_close_notify());
            sealed.push((opener::ALERT, CLOSE_NOTIFY.to_vec()));
            assert!(opener.open(&wire) == sealed, "{version:?} {cipher:?}");
        }
    }

    /// For each number of bytes that the socket may take: the rest of the begun piece is kept, the others are sealed anew with
    /// the numbers that were not seen, and the client reads everything once.
    #[test]
    fn a_write_that_is_cut_anywhere_goes_on_with_the_next_number() {
        for (version, cipher) in FORMS {
            let opener = TlsOpener::new(version, cipher, &mut Rng::with_seed(1));
            let pieces: [&[u8]; 3] = [b"first", &[b's'; 300], b"third"];
            let whole: usize = 5 + 300 + 5;
            for room in 0..whole + 3 * 40 {
                let mut sealer = opener.sealer();
                let mut wire = Vec::new();
                let mut left = &pieces[..];
                let mut room = room;
                let mut scratch = Vec::new();
                while !left.is_empty() {
                    let put = sealer.put(left.iter().copied(), &mut scratch, |bytes| {
                        let taken = bytes.len().min(room);
                        room = usize::MAX;
                        wire.extend_from_slice(&bytes[..taken]);
                        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
                    });
                    let Ok(SealedPut { mut taken, rest }) = put else { continue };
                    wire.extend_from_slice(&rest);
                    while taken > 0 {
                        taken -= left[0].len();
                        left = &left[1..];
                    }
                }
                assert_eq!(opener.text(&wire), pieces.concat(), "{version:?} {cipher:?} {room}");
            }
        }
    }
}
