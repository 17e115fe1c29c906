//! The client's end of a sealed stream: a key, and the records that it opens with it.
//!
//! It is written from the RFCs and not from the sealer, so that one mistake cannot be in both.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use fastrand::Rng;

use super::{TlsCipher, TlsSealer, TlsVersion};

pub(crate) const APPLICATION_DATA: u8 = 23;
pub(crate) const ALERT: u8 = 21;

const HEADER_BYTES: usize = 5;
const EXPLICIT_NONCE_BYTES: usize = 8;
const TAG_BYTES: u16 = 16;

/// Opens records that begin with the number `first`.
pub(crate) struct TlsOpener {
    version: TlsVersion,
    cipher: TlsCipher,
    key: Vec<u8>,
    iv: [u8; 12],
    first: u64,
}

/// The type of a record's content, and its text.
type Content = (u8, Vec<u8>);

impl TlsOpener {
    /// With a key that no other has.
    pub(crate) fn new(version: TlsVersion, cipher: TlsCipher, rng: &mut Rng) -> Self {
        let key = (0..algorithm(cipher).key_len()).map(|_| rng.u8(..)).collect();
        Self { version, cipher, key, iv: std::array::from_fn(|_| rng.u8(..)), first: rng.u64(..1_000) }
    }

    /// With a key that has sealed so many records.
    pub(crate) fn beginning_at(self, first: u64) -> Self {
        Self { first, ..self }
    }

    /// The server's half.
    pub(crate) fn sealer(&self) -> TlsSealer {
        TlsSealer::new(self.version, self.cipher, &self.key, self.iv, self.first).expect("the key has the right length")
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The numbers that went into the nonces of the records, as the wire tells them. A record that carries its nonce says the
    /// number itself, also if the rest of it is missing. For any other it is the number that opens it: first the one that is due is
    /// tried, then those before it, which have served already.
    pub(crate) fn numbers(&self, wire: &[u8]) -> Vec<u64> {
        let (whole, rest) = records(wire);
        if self.explicit_bytes() > 0 {
            return whole.into_iter().chain([rest]).filter_map(|record| self.told_number(record)).collect();
        }
        let number_of = |(due, record)| {
            let opens = |number: &u64| self.open_one(*number, record).is_some();
            (self.first..=due).rev().find(opens).unwrap_or_else(|| panic!("record {due} was sealed as none up to it"))
        };
        (self.first..).zip(whole).map(number_of).collect()
    }

    /// The content of each whole record. Each must have been sealed with the next number.
    pub(crate) fn open(&self, wire: &[u8]) -> Vec<Content> {
        let open = |(number, record)| {
            let opened = self.open_one(number, record);
            opened.unwrap_or_else(|| panic!("{:?} {:?}: {number} does not open its record", self.version, self.cipher))
        };
        (self.first..).zip(records(wire).0).map(open).collect()
    }

    /// The text of all whole records together.
    pub(crate) fn text(&self, wire: &[u8]) -> Vec<u8> {
        self.open(wire).into_iter().flat_map(|(_, text)| text).collect()
    }

    /// Opens a record if it has this number.
    fn open_one(&self, number: u64, record: &[u8]) -> Option<Content> {
        let key = LessSafeKey::new(UnboundKey::new(algorithm(self.cipher), &self.key).expect("a key"));
        let (header, content) = record.split_at(HEADER_BYTES);
        if self.version == TlsVersion::V1_3 {
            let mut content = content.to_vec();
            let text = key.open_in_place(self.nonce(number), Aad::from(header), &mut content).ok()?;
            let (content, text) = text.split_last().expect("it has a type");
            return Some((*content, text.to_vec()));
        }
        let mut content = content[self.explicit_bytes()..].to_vec();
        let length = u16::try_from(content.len()).expect("a record is short") - TAG_BYTES;
        let bound = [&number.to_be_bytes(), &header[..3], &length.to_be_bytes()].concat();
        let nonce = self.nonce(self.told_number(record).unwrap_or(number));
        let text = key.open_in_place(nonce, Aad::from(bound), &mut content).ok()?;
        Some((header[0], text.to_vec()))
    }

    /// The number in the nonce that a record carries.
    fn told_number(&self, record: &[u8]) -> Option<u64> {
        let explicit = record.get(HEADER_BYTES..HEADER_BYTES + self.explicit_bytes())?;
        let hidden = u64::from_be_bytes(self.iv[4..].try_into().expect("8 bytes"));
        Some(u64::from_be_bytes(explicit.try_into().ok()?) ^ hidden)
    }

    fn nonce(&self, number: u64) -> Nonce {
        let iv = u128::from_be_bytes([[0; 4].as_slice(), &self.iv].concat().try_into().expect("16 bytes"));
        Nonce::try_assume_unique_for_key(&(iv ^ u128::from(number)).to_be_bytes()[4..]).expect("12 bytes")
    }

    fn explicit_bytes(&self) -> usize {
        let carries_nonce = self.version == TlsVersion::V1_2 && self.cipher != TlsCipher::ChaCha20Poly1305;
        if carries_nonce { EXPLICIT_NONCE_BYTES } else { 0 }
    }
}

/// Whether the last record is not whole.
pub(crate) fn ends_within_a_record(wire: &[u8]) -> bool {
    !records(wire).1.is_empty()
}

fn algorithm(cipher: TlsCipher) -> &'static Algorithm {
    match cipher {
        TlsCipher::Aes128Gcm => &AES_128_GCM,
        TlsCipher::Aes256Gcm => &AES_256_GCM,
        TlsCipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
    }
}

/// The whole records, and the bytes behind them.
fn records(mut wire: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut records = Vec::new();
    while let Some(header) = wire.first_chunk::<HEADER_BYTES>() {
        let length = HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
        let Some((record, rest)) = wire.split_at_checked(length) else { break };
        records.push(record);
        wire = rest;
    }
    (records, wire)
}
