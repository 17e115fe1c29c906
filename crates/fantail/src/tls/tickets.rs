//! Session tickets that every node with the same key files opens.
//!
//! A ticket is the name of its key, a nonce, and sealed: the second in which it was made, and the session. The rule for client
//! certificates is bound into the seal. A session holds the certificate that its client once showed, so another rule must see that
//! client anew.

use std::fmt;

use anyhow::bail;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;

use super::clients::ClientRule;
use super::files::{File, Files};
use crate::access::unix_second;

const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
/// nginx takes files of 48 or 80 bytes. One that was made for it serves here as well.
const FILE_BYTES: std::ops::RangeInclusive<usize> = NAME_BYTES + KEY_BYTES..=80;

/// How long a ticket opens. A key should be changed as often.
const LIFETIME_SECONDS: u32 = 24 * 60 * 60;

/// The clocks of nodes may differ by so much.
const CLOCK_SECONDS: u64 = 60;

pub(super) struct TicketKeys {
    /// The first one seals.
    keys: Vec<TicketKey>,
    bound: [u8; 9],
    clock: fn() -> u64,
}

struct TicketKey {
    name: [u8; NAME_BYTES],
    key: RandomizedNonceKey,
}

impl TicketKeys {
    /// The keys of the files, if there are any.
    pub(super) fn of(files: &Files, clients: &ClientRule) -> anyhow::Result<Option<Self>> {
        if files.ticket_keys.is_empty() {
            return Ok(None);
        }
        let keys = files.ticket_keys.iter().map(TicketKey::of).collect::<anyhow::Result<_>>()?;
        Ok(Some(Self { keys, bound: clients.binding(), clock: || unix_second().into() }))
    }
}

impl TicketKey {
    fn of(file: &File) -> anyhow::Result<Self> {
        let content = file.content();
        if !FILE_BYTES.contains(&content.len()) {
            let (told, length) = (file.told(), content.len());
            bail!("{told} has {length} bytes and not 48 to 80; make one with: openssl rand 80");
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
        let mut sealed = [&(self.clock)().to_be_bytes(), plain].concat();
        let nonce = key.seal_in_place_append_tag(Aad::from(&self.bound), &mut sealed).ok()?;
        Some([name, &nonce.as_ref()[..], &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let TicketKey { key, .. } = self.keys.iter().find(|key| key.name == *name)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key.open_in_place(nonce, Aad::from(&self.bound), &mut opened).ok()?;
        let (made_at, session) = opened.split_first_chunk()?;
        let (made_at, now) = (u64::from_be_bytes(*made_at), (self.clock)());
        let is_young = made_at <= now + CLOCK_SECONDS && now <= made_at + u64::from(LIFETIME_SECONDS);
        is_young.then(|| session.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bound: [u8; 9], clock: fn() -> u64) -> TicketKeys {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &[7; KEY_BYTES]).expect("a key");
        TicketKeys { keys: vec![TicketKey { name: [1; NAME_BYTES], key }], bound, clock }
    }

    #[test]
    fn a_ticket_opens_for_a_day_and_under_the_same_rule_alone() {
        let made = keys([0; 9], || 1_000_000).encrypt(b"session").expect("sealed");
        let open = |bound, clock| keys(bound, clock).decrypt(&made);
        assert_eq!(open([0; 9], || 1_000_000 + 86_400).as_deref(), Some(&b"session"[..]));
        assert_eq!(open([0; 9], || 1_000_000 - 60).as_deref(), Some(&b"session"[..]), "clocks differ a little");
        assert_eq!(open([0; 9], || 1_000_000 + 86_401), None, "too old");
        assert_eq!(open([0; 9], || 1_000_000 - 61), None, "from the future");
        assert_eq!(open([1; 9], || 1_000_000), None, "another rule for certificates");
        assert_eq!(keys([0; 9], || 1_000_000).decrypt(&made[1..]), None);
    }
}
