//! The receiving half of a TLS connection behind its handshake: 64 bytes, as the sending half.
//!
//! An HTTP/2 connection reads as long as it lives. It reads text, the client's end, and nothing else of TLS: a client that changes its keys or
//! wants to negotiate anew asks for an answer that a bare key cannot give. Its connection ends in order, and it comes back.

use aws_lc_rs::aead::Aad;

use super::{
    ALERT, APPLICATION_DATA, CLOSE_NOTIFY, EXPLICIT_NONCE_BYTES, HEADER_BYTES, RECORD_BYTES_MAX, TAG_BYTES, TlsCipher,
    TlsVersion, TrafficKey, length_bytes,
};

/// The state that unseals the records of one connection.
#[derive(Debug)]
pub struct TlsUnsealer(TrafficKey);

/// The first record of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// It has so many bytes.
    Whole(usize),
    /// It has not come whole.
    Partial,
    /// It is none.
    Nonsense,
}

/// The meaning of a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsealed<'a> {
    /// Text, which may be empty.
    Text(&'a [u8]),
    /// The client has nothing more to say.
    End,
    /// A message of TLS itself that is not understood here.
    Foreign,
    /// It was not sealed with this key, or not as the next one.
    Forged,
}

impl Record {
    /// Looks at the bytes of a client.
    pub(crate) fn first(bytes: &[u8]) -> Self {
        let Some([content, major, _, high, low]) = bytes.first_chunk() else { return Self::Partial };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let whole = HEADER_BYTES + length;
        if !(20..=23).contains(content) || *major != 3 || whole > RECORD_BYTES_MAX {
            return Self::Nonsense;
        }
        if bytes.len() < whole { Self::Partial } else { Self::Whole(whole) }
    }
}

impl TlsUnsealer {
    /// Goes on with a connection whose next record has the number `sequence`. `None` if the key's length is not the cipher's.
    pub fn new(version: TlsVersion, cipher: TlsCipher, key: &[u8], iv: [u8; 12], sequence: u64) -> Option<Self> {
        TrafficKey::new(version, cipher, key, iv, sequence).map(Self)
    }

    /// Unseals a whole record where it lies.
    pub(crate) fn unseal<'a>(&mut self, record: &'a mut [u8]) -> Unsealed<'a> {
        let (header, sealed) = record.split_at_mut(HEADER_BYTES);
        let unsealed = match self.0.version {
            TlsVersion::V1_3 => self.unseal_1_3(header, sealed),
            TlsVersion::V1_2 => self.unseal_1_2(header, sealed),
        };
        self.0.sequence += 1;
        match unsealed {
            None => Unsealed::Forged,
            Some((APPLICATION_DATA, text)) => Unsealed::Text(text),
            Some((ALERT, alert)) if *alert == CLOSE_NOTIFY => Unsealed::End,
            Some(_) => Unsealed::Foreign,
        }
    }

    /// The type of the content is the last byte that is not padding.
    fn unseal_1_3<'a>(&self, header: &[u8], sealed: &'a mut [u8]) -> Option<(u8, &'a [u8])> {
        let key = self.0.key();
        let text: &[u8] = key.open_in_place(self.0.nonce(), Aad::from(header), sealed).ok()?;
        let end = text.iter().rposition(|byte| *byte != 0)?;
        Some((text[end], &text[..end]))
    }

    fn unseal_1_2<'a>(&self, header: &[u8], sealed: &'a mut [u8]) -> Option<(u8, &'a [u8])> {
        let content = header[0];
        let explicit = if self.0.cipher == TlsCipher::ChaCha20Poly1305 { 0 } else { EXPLICIT_NONCE_BYTES };
        let length = sealed.len().checked_sub(explicit + TAG_BYTES)?;
        let [high, low] = length_bytes(length);
        let mut bound = [0; 13];
        bound[..8].copy_from_slice(&self.0.sequence.to_be_bytes());
        bound[8..].copy_from_slice(&[content, header[1], header[2], high, low]);
        let (nonce, text) = sealed.split_at_mut(explicit);
        let nonce = self.0.nonce_with(nonce);
        let text = self.0.key().open_in_place(nonce, Aad::from(bound), text).ok()?;
        Some((content, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls_record::{FORMS, TEXT_BYTES_MAX, TlsSealer};

    fn pair(version: TlsVersion, cipher: TlsCipher) -> (TlsSealer, TlsUnsealer) {
        let key: Vec<u8> = (0..cipher.algorithm().key_len() as u8).collect();
        let make = |sequence| (version, cipher, key.clone(), *b"twelve bytes", sequence);
        let (version, cipher, key, iv, sequence) = make(3);
        let sealer = TlsSealer::new(version, cipher, &key, iv, sequence).expect("a key");
        (sealer, TlsUnsealer::new(version, cipher, &key, iv, sequence).expect("a key"))
    }

    #[test]
    fn records_are_unsealed_in_their_order_and_no_other() {
        for (version, cipher) in FORMS {
            let (mut sealer, mut unsealer) = pair(version, cipher);
            for size in [1, 100, TEXT_BYTES_MAX] {
                let mut record = sealer.seal(&vec![7; size]).to_vec();
                assert_eq!(Record::first(&record), Record::Whole(record.len()));
                assert_eq!(Record::first(&record[..record.len() - 1]), Record::Partial);
                assert_eq!(unsealer.unseal(&mut record), Unsealed::Text(&vec![7; size]));
            }
            let mut end = sealer.seal_close_notify().to_vec();
            assert_eq!(unsealer.unseal(&mut end), Unsealed::End);
            let (first, second) = (sealer.seal(b"first"), sealer.seal(b"second"));
            if version == TlsVersion::V1_3 || cipher == TlsCipher::ChaCha20Poly1305 {
                assert_eq!(unsealer.unseal(&mut second.to_vec()), Unsealed::Forged, "{version:?} {cipher:?}");
            }
            let (_, mut unsealer) = pair(version, cipher);
            assert_eq!(unsealer.unseal(&mut first.to_vec()), Unsealed::Forged, "another number");
        }
    }

    #[test]
    fn nothing_that_is_no_record_is_taken_for_one_and_a_changed_byte_is_noticed() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[23, 2, 0, 0, 1], &[23, 3, 3, 0xff, 0xff], &[19, 3, 3, 0, 1]] {
            assert_eq!(Record::first(bytes), Record::Nonsense, "{bytes:?}");
        }
        for (version, cipher) in FORMS {
            let whole = pair(version, cipher).0.seal(b"text");
            for at in 5..whole.len() {
                let mut record = whole.to_vec();
                record[at] ^= 1;
                assert_eq!(
                    pair(version, cipher).1.unseal(&mut record),
                    Unsealed::Forged,
                    "{version:?} {cipher:?} {at}"
                );
            }
            let mut short = vec![23, 3, 3, 0, 3, 1, 2, 3];
            assert_eq!(pair(version, cipher).1.unseal(&mut short), Unsealed::Forged);
        }
    }
}
