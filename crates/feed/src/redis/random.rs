//! Random bits for jitter, probes and event uids: nothing that must withstand guessing.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// 64 bits that differ between calls, threads, processes and hosts. Each of std's hashers has keys of its own, which
/// begin with what the system gave, so the hash of nothing is as good as a generator's next number.
pub(super) fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A number below `bound`, or 0.
pub(super) fn random_below(bound: u64) -> u64 {
    random_u64().checked_rem(bound).unwrap_or(0)
}
