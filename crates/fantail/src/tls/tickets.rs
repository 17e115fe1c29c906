//! Session tickets that every node with the same key files opens.
//!
//! A ticket is the name of its key, a nonce and the sealed session. The authorities of client certificates are bound into the
//! seal: a session holds the certificate that its client once showed, so other authorities must see that client anew.

use std::fmt;

use anyhow::bail;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use rustls::server::ProducesTickets;

use super::files::{File, Files};

const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
/// nginx takes files of 48 or 80 bytes. One that was made for it serves here as well.
const FILE_BYTES: std::ops::RangeInclusive<usize> = NAME_BYTES + KEY_BYTES..=80;

/// How long a client may keep a ticket. A key should be changed as often.
const LIFETIME_SECONDS: u32 = 24 * 60 * 60;

pub(super) struct TicketKeys {
    /// The first one seals.
    keys: Vec<TicketKey>,
    bound: Vec<u8>,
}

struct TicketKey {
    name: [u8; NAME_BYTES],
    key: RandomizedNonceKey,
}

impl TicketKeys {
    /// The keys of the files, if there are any.
    pub(super) fn of(files: &Files) -> anyhow::Result<Option<Self>> {
        if files.ticket_keys.is_empty() {
            return Ok(None);
        }
        let authorities = files.client_ca.as_ref().map_or(&[][..], |file| &file.content);
        let bound = digest(&SHA256, authorities).as_ref().to_vec();
        let keys = files.ticket_keys.iter().map(TicketKey::of).collect::<anyhow::Result<_>>()?;
        Ok(Some(Self { keys, bound }))
    }
}

impl TicketKey {
    fn of(file: &File) -> anyhow::Result<Self> {
        let content = &file.content;
        if !FILE_BYTES.contains(&content.len()) {
            let (told, length) = (file.told(), content.len());
            bail!("tls_ticket_keys: {told} has {length} bytes and not 48 to 80; make one with: openssl rand 80");
        }
        let (name, rest) = content.split_first_chunk().expect("the length was checked");
        let key = RandomizedNonceKey::new(&AES_256_GCM, &rest[..KEY_BYTES]).expect("a key of 32 bytes");
        Ok(Self { name: *name, key })
    }
}

/// Keys are shown nowhere.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let TicketKey { name, key } = self.keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(&self.bound), &mut sealed).ok()?;
        Some([name, &nonce.as_ref()[..], &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let TicketKey { key, .. } = self.keys.iter().find(|key| key.name == *name)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(nonce, Aad::from(&self.bound), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}
