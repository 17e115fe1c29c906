//! The rights to read that end while a stream is open.
//!
//! A stream without such a right costs nothing, and one with it 24 bytes beside its slot. Nothing on the way of an event
//! looks here: the sweep does, once a second or more often, and a revocation.

use fantail_telemetry::CloseReason;

use super::{Key, StreamState, Streams};
use crate::side_table::SideTable;

/// A right to read, as far as it can end before its stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRight {
    /// When it ends, in seconds since 1970; `u32::MAX` for never.
    pub ends_at: u32,
    /// Whether it ends because the stream is old, and not because its token is.
    pub is_lifetime: bool,
    /// To whom it was given.
    pub holder: RightHolder,
}

/// To whom a right was given: a fingerprint of each name, or 0 where there is none.
///
/// Two names may have one fingerprint, with a chance of 1 in 4 billion. Then a revocation of one ends the other's streams too.
/// Those come back and are judged anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RightHolder {
    /// The person or program (`sub`).
    pub subject: u32,
    /// The token (`jti`).
    pub token: u32,
    /// The session (`sid`).
    pub session: u32,
    /// The key that the token was signed with.
    pub key: u32,
}

/// The rights that an operator takes back, by the fingerprint of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// All of one person or program.
    Subject(u32),
    /// Those of one token.
    Token(u32),
    /// Those of one session.
    Session(u32),
    /// Those of all tokens that one key has signed.
    Key(u32),
}

/// Rights by the key of their stream.
pub(super) type Rights = SideTable<StreamRight>;

impl RightHolder {
    pub(crate) fn named_subject(self) -> Option<u32> {
        Some(self.subject).filter(|&name| name != 0)
    }

    pub(crate) fn named_token(self) -> Option<u32> {
        Some(self.token).filter(|&name| name != 0)
    }
}

impl Revoked {
    fn meets(self, holder: RightHolder) -> bool {
        match self {
            Self::Subject(name) => name != 0 && name == holder.subject,
            Self::Token(name) => name != 0 && name == holder.token,
            Self::Session(name) => name != 0 && name == holder.session,
            Self::Key(name) => name != 0 && name == holder.key,
        }
    }
}

/// Ends the stream if its right has ended. True if that is its end; a stream that comes to its end already goes on with it.
///
/// A blocked stream is reset at once: the events that stand in the kernel for it would still arrive.
pub(crate) fn end_with_its_right(streams: &mut Streams, key: Key) -> bool {
    let Some(right) = streams.rights.get(key).filter(|right| right.ends_at <= streams.clock.unix_second()) else {
        return false;
    };
    take_right(streams, key, if right.is_lifetime { CloseReason::Lifetime } else { CloseReason::TokenExpired })
}

/// Ends the stream if its right is among those. True if that is its end.
pub(crate) fn revoke(streams: &mut Streams, key: Key, revoked: Revoked) -> bool {
    let is_met = streams.rights.get(key).is_some_and(|right| revoked.meets(right.holder));
    is_met && take_right(streams, key, CloseReason::Revoked)
}

fn take_right(streams: &mut Streams, key: Key, reason: CloseReason) -> bool {
    let stream = &streams.slab[key];
    match stream.state {
        StreamState::Blocked => streams.reset(key, reason),
        _ if stream.ending().is_some() => return false,
        _ => streams.end(key, reason),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_costs_24_bytes_per_slot() {
        assert_eq!(size_of::<Option<StreamRight>>(), 24);
    }

    #[test]
    fn a_revocation_meets_the_name_that_it_is_about_and_nobody_without_a_name() {
        let holder = RightHolder { subject: 1, token: 2, session: 3, key: 4 };
        for (revoked, meets) in [
            (Revoked::Subject(1), true),
            (Revoked::Token(2), true),
            (Revoked::Session(3), true),
            (Revoked::Key(4), true),
            (Revoked::Subject(2), false),
            (Revoked::Key(1), false),
        ] {
            assert_eq!(revoked.meets(holder), meets, "{revoked:?}");
        }
        assert!(!Revoked::Subject(0).meets(RightHolder::default()));
    }
}
