//! The client's end of a sealed stream: a key, and the records that it opens with it.
//!
//! It is written from the RFCs and not from the sealer, so that one mistake cannot be in both.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use fastrand::Rng;

use crate::tls_record::{TlsCipher, TlsSealer, TlsVersion};

pub(crate) const ALERT: u8 = 21;

/// Records that begin with the number `first`.
pub(crate) struct Wire {
    version: TlsVersion,
    cipher: TlsCipher,
    key: Vec<u8>,
    iv: [u8; 12],
    first: u64,
}

impl Wire {
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

    /// The number of each whole record.
    pub(crate) fn numbers(&self, bytes: &[u8]) -> Vec<u64> {
        (self.first..).zip(records(bytes).0).map(|(number, _)| number).collect()
    }

    /// The content of each whole record, with its type. Each must have been sealed with the next number.
    pub(crate) fn open(&self, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        (self.first..).zip(records(bytes).0).map(|(number, record)| self.open_one(number, record)).collect()
    }

    fn open_one(&self, number: u64, record: &[u8]) -> (u8, Vec<u8>) {
        let key = LessSafeKey::new(UnboundKey::new(algorithm(self.cipher), &self.key).expect("a key"));
        let (header, content) = record.split_at(5);
        let unreadable = format!("record {number} of {:?} {:?} was not sealed as that", self.version, self.cipher);
        let mut iv = u128::from_be_bytes([[0; 4].as_slice(), &self.iv].concat().try_into().expect("16 bytes"));
        iv ^= u128::from(number);
        let nonce = Nonce::try_assume_unique_for_key(&iv.to_be_bytes()[4..]).expect("12 bytes");
        if self.version == TlsVersion::V1_3 {
            let mut content = content.to_vec();
            let text = key.open_in_place(nonce, Aad::from(header), &mut content).expect(&unreadable);
            let (content, text) = text.split_last().expect("it has a type");
            return (*content, text.to_vec());
        }
        let explicit = if self.cipher == TlsCipher::ChaCha20Poly1305 { 0 } else { 8 };
        let mut content = content[explicit..].to_vec();
        let length = u16::try_from(content.len() - 16).expect("a record is short");
        let bound = [&number.to_be_bytes(), &header[..3], &length.to_be_bytes()].concat();
        let text = key.open_in_place(nonce, Aad::from(bound), &mut content).expect(&unreadable);
        (header[0], text.to_vec())
    }
}

/// Whether the last record is not whole.
pub(crate) fn ends_within_a_record(bytes: &[u8]) -> bool {
    !records(bytes).1.is_empty()
}

fn algorithm(cipher: TlsCipher) -> &'static Algorithm {
    match cipher {
        TlsCipher::Aes128Gcm => &AES_128_GCM,
        TlsCipher::Aes256Gcm => &AES_256_GCM,
        TlsCipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
    }
}

/// The whole records, and the bytes behind them.
fn records(mut bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut records = Vec::new();
    while let Some(header) = bytes.first_chunk::<5>() {
        let length = 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
        let Some((record, rest)) = bytes.split_at_checked(length) else { break };
        records.push(record);
        bytes = rest;
    }
    (records, bytes)
}
