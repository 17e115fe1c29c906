//! The uids of events that came by one channel and may come again by another.

use std::collections::VecDeque;

/// How many are remembered. The copies of one event come side by side, since they are published in one transaction;
/// several are kept for publishers that send them one by one.
const UIDS_MAX: usize = 64;

/// The last few uids. Small enough to be searched from end to end.
#[derive(Debug, Default)]
pub(super) struct RecentUids(VecDeque<Box<str>>);

impl RecentUids {
    /// Remembers `uid`. Returns whether it is new.
    pub(super) fn insert(&mut self, uid: &str) -> bool {
        if self.0.iter().rev().any(|known| **known == *uid) {
            return false;
        }
        if self.0.len() == UIDS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(uid.into());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_new_once_until_enough_others_have_come() {
        let mut recent = RecentUids::default();
        assert!(recent.insert("0"));
        assert!(!recent.insert("0"));
        for other in 1..=UIDS_MAX {
            assert!(recent.insert(&other.to_string()));
        }
        assert!(recent.insert("0"));
        assert_eq!(recent.0.len(), UIDS_MAX);
    }
}
