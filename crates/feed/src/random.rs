//! Random bits for jitter, probes and event uids: nothing that must withstand guessing.
//!
//! Two nodes must not draw the same uids, so the seed has to come from the system. fastrand takes its own from the time
//! since the start of the machine and the thread.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// 64 bits that differ between calls, threads, processes and hosts: each of std's hashers has keys of its own, and the
/// first of them come from the system.
pub(crate) fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A number below `bound`, or 0.
pub(crate) fn random_below(bound: u64) -> u64 {
    random_u64().checked_rem(bound).unwrap_or(0)
}
