//! From a grant to the right that a stream carries.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fantail_access::Grant;
use fantail_shard::{RightHolder, StreamRight};

/// A right ends this long before its token, so that the sweep, which looks once a second, is never late.
const AHEAD_SECONDS: u32 = 2;

/// Rights that end together are spread over this at most.
const SPREAD_SECONDS_MAX: u32 = 30;

/// Each process has another hash, so that nobody can search for a name with the fingerprint of another.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Seconds since 1970.
pub(crate) fn unix_second() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

/// The number that stands for a name in a stream's right; never 0, which stands for none.
pub(crate) fn fingerprint(name: &str) -> u32 {
    short(HASHER.hash_one(name))
}

pub(crate) fn key_fingerprint(key: u64) -> u32 {
    short(HASHER.hash_one(key))
}

#[allow(clippy::cast_possible_truncation, reason = "a part of a hash is a hash")]
fn short(hash: u64) -> u32 {
    (hash as u32).max(1)
}

/// The right of a stream that begins now, if it has an end or a holder.
///
/// It ends a little earlier than its token: streams of tokens that were made together would otherwise come back together. A
/// token with ten minutes left ends 2 to 32 s early. A stream with a longest life of an hour ends after 54 to 60 minutes.
pub(super) fn of(grant: Option<&Grant>, lifetime_max: Option<Duration>, now: u64) -> Option<StreamRight> {
    let now = u32::try_from(now).unwrap_or(u32::MAX);
    let lifetime_ends_at = lifetime_max.map(|max| {
        let seconds = u32::try_from(max.as_secs()).unwrap_or(u32::MAX).max(1);
        now.saturating_add(seconds - fastrand::u32(0..=seconds / 10))
    });
    let token_ends_at = grant.and_then(|grant| grant.expires_at).map(|expires_at| {
        let expires_at = u32::try_from(expires_at).unwrap_or(u32::MAX - 1);
        let left = expires_at.saturating_sub(now);
        expires_at - AHEAD_SECONDS.min(left) - fastrand::u32(0..=(left / 10).min(SPREAD_SECONDS_MAX))
    });
    if grant.is_none() && lifetime_ends_at.is_none() {
        return None;
    }
    let ends_at = token_ends_at.unwrap_or(u32::MAX).min(lifetime_ends_at.unwrap_or(u32::MAX));
    let name = |name: &Option<Box<str>>| name.as_deref().map_or(0, fingerprint);
    let holder = grant.map_or_else(RightHolder::default, |grant| RightHolder {
        subject: name(&grant.subject),
        token: name(&grant.token_id),
        session: name(&grant.session),
        key: grant.key.map_or(0, key_fingerprint),
    });
    Some(StreamRight { ends_at, is_lifetime: token_ends_at.is_none_or(|token| token > ends_at), holder })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn ends_after(left: Option<u64>, lifetime_max: Option<u64>) -> (u64, bool) {
        let grant = Grant { expires_at: left.map(|left| NOW + left), ..Grant::default() };
        let right = of(Some(&grant), lifetime_max.map(Duration::from_secs), NOW).expect("a right");
        (u64::from(right.ends_at) - NOW, right.is_lifetime)
    }

    #[test]
    fn a_right_ends_before_its_token_and_not_with_all_others() {
        let ends: Vec<_> = (0..1000).map(|_| ends_after(Some(600), None).0).collect();
        assert!(ends.iter().all(|end| (568..=598).contains(end)), "{ends:?}");
        assert!(ends.iter().any(|end| *end < 575) && ends.iter().any(|end| *end > 590));
        assert!(ends_after(Some(1), None).0 <= 1);
        assert_eq!(ends_after(Some(0), None).0, 0);
    }

    #[test]
    fn the_earlier_end_of_a_right_holds_with_its_own_reason() {
        for _ in 0..100 {
            let (end, is_lifetime) = ends_after(Some(36_000), Some(3600));
            assert!((3240..=3600).contains(&end) && is_lifetime, "{end}");
            let (end, is_lifetime) = ends_after(Some(600), Some(3600));
            assert!((568..=598).contains(&end) && !is_lifetime, "{end}");
        }
        assert_eq!(of(None, None, NOW), None);
        let without_end = of(Some(&Grant::default()), None, NOW).expect("its holder may be revoked");
        assert_eq!(without_end.ends_at, u32::MAX);
    }
}
