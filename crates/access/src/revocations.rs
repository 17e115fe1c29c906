//! Rights that an operator took back, for as long as tokens may be around that still claim them.
//!
//! Subject and session are revoked as of a moment: a token that was issued later is good again, so a person who logs in anew
//! may read. A token is revoked for good. Example: `sub` u1 is revoked at second 1000; u1's tokens with `iat` 990, 1000 or
//! none are refused, and one with `iat` 1001 is accepted.

use std::collections::HashMap;

use crate::grant::Grant;

/// Revocations that a node holds at most.
pub const REVOCATIONS_MAX: usize = 100_000;

/// Whose rights are taken back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RevokedName {
    /// A person or program (`sub`).
    Subject(Box<str>),
    /// One token (`jti`).
    Token(Box<str>),
    /// A session (`sid`).
    Session(Box<str>),
}

/// All revocations that are in force.
#[derive(Debug, Default)]
pub struct RevocationList {
    entries: HashMap<RevokedName, Entry>,
    /// Counts the additions.
    version: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// When it was revoked, in seconds since 1970.
    at: u64,
    /// Until when it is remembered.
    until: u64,
}

/// There is no room for another revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{REVOCATIONS_MAX} revocations are in force, which is the most; revoke a subject instead of its tokens, or for a shorter time"
)]
pub struct TooManyRevocations;

impl RevocationList {
    /// Takes back the rights of a name at `now`, and remembers it until `until`, in seconds since 1970. After that every token
    /// that still claims them must have expired.
    pub fn add(&mut self, name: RevokedName, now: u64, until: u64) -> Result<(), TooManyRevocations> {
        if self.entries.len() >= REVOCATIONS_MAX {
            self.entries.retain(|_, entry| entry.until > now);
        }
        if self.entries.len() >= REVOCATIONS_MAX && !self.entries.contains_key(&name) {
            return Err(TooManyRevocations);
        }
        let entry = self.entries.entry(name).or_insert(Entry { at: now, until });
        *entry = Entry { at: entry.at.max(now), until: entry.until.max(until) };
        self.version += 1;
        Ok(())
    }

    /// A number that is another one after each addition.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many are in force or forgotten soon.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the right of this grant was taken back.
    pub fn contains(&self, grant: &Grant, now: u64) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let entry = |name: RevokedName| self.entries.get(&name).filter(|entry| entry.until > now);
        let is_older = |entry: &&Entry| grant.issued_at.is_none_or(|issued| issued <= entry.at);
        let token = grant.token_id.clone().and_then(|id| entry(RevokedName::Token(id)));
        let subject = grant.subject.clone().and_then(|name| entry(RevokedName::Subject(name))).filter(is_older);
        let session = grant.session.clone().and_then(|name| entry(RevokedName::Session(name))).filter(is_older);
        token.or(subject).or(session).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(subject: &str, token: &str, issued_at: Option<u64>) -> Grant {
        Grant { subject: Some(subject.into()), token_id: Some(token.into()), issued_at, ..Grant::default() }
    }

    #[test]
    fn a_subject_is_revoked_as_of_a_moment_and_a_token_for_good() {
        let mut list = RevocationList::default();
        assert!(!list.contains(&grant("u1", "t1", None), 1000));
        list.add(RevokedName::Subject("u1".into()), 1000, 2000).expect("room");
        for (issued, revoked) in [(Some(990), true), (Some(1000), true), (None, true), (Some(1001), false)] {
            assert_eq!(list.contains(&grant("u1", "t1", issued), 1500), revoked, "{issued:?}");
        }
        assert!(!list.contains(&grant("u2", "t1", None), 1500));
        assert!(!list.contains(&grant("u1", "t1", None), 2000), "it is forgotten");
        list.add(RevokedName::Token("t9".into()), 1000, 2000).expect("room");
        assert!(list.contains(&grant("u2", "t9", Some(1999)), 1500));
        assert_eq!(list.version(), 2);
    }

    #[test]
    fn the_list_is_bounded_and_forgets_first() {
        let mut list = RevocationList::default();
        for number in 0..REVOCATIONS_MAX {
            list.add(RevokedName::Token(number.to_string().into()), 0, 10).expect("room");
        }
        assert_eq!(list.add(RevokedName::Token("more".into()), 5, 20), Err(TooManyRevocations));
        list.add(RevokedName::Token("7".into()), 5, 20).expect("a known name needs no room");
        list.add(RevokedName::Token("more".into()), 10, 20).expect("the others are forgotten");
        assert_eq!(list.len(), 2);
    }
}
