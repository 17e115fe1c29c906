//! How many streams are open on this node, and how many sockets and streams each name has: each address, each subject, each token.
//!
//! Shared by all shards, as the count of sockets is. It is touched when a connection or a stream opens and when it ends, and
//! never on the way of an event. A name without anything open is not remembered, so there are no more entries than streams
//! and sockets.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fantail_hub::Maker;
use foldhash::fast::RandomState;

use crate::admission::Admission;
use crate::streams::RightHolder;

/// The most that may be open; `None` for no bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenBounds {
    /// Streams of all clients together. Over HTTP/2 there are more of them than sockets.
    pub streams: Option<u32>,
    /// Sockets of one address, streams included.
    pub per_address: Option<u32>,
    /// Streams of one subject.
    pub per_subject: Option<u32>,
    /// Streams of one token.
    pub per_token: Option<u32>,
}

/// All counts.
#[derive(Debug)]
pub(crate) struct OpenCounts {
    streams: AtomicU32,
    streams_max: u32,
    addresses: Counts<Maker>,
    subjects: Counts<u32>,
    tokens: Counts<u32>,
}

/// The name that has as many streams open as one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooManyStreams {
    /// The subject.
    Subject,
    /// The token.
    Token,
}

/// A place among all streams; given back when dropped.
#[derive(Debug)]
pub struct StreamPermit(Arc<Admission>);

/// A place among the streams of a subject and of a token; given back when dropped.
#[derive(Debug)]
pub struct HolderPermit(Arc<Admission>, RightHolder);

/// A place among the sockets of an address; given back when dropped.
#[derive(Debug)]
pub struct AddressPermit(Arc<Admission>, Option<Maker>);

#[derive(Debug)]
struct Counts<N: Eq + Hash> {
    open: DashMap<N, u32, RandomState>,
    max: Option<u32>,
}

impl OpenCounts {
    pub(crate) fn new(bounds: OpenBounds) -> Self {
        Self {
            streams: AtomicU32::new(0),
            streams_max: bounds.streams.unwrap_or(u32::MAX),
            addresses: Counts::new(bounds.per_address),
            subjects: Counts::new(bounds.per_subject),
            tokens: Counts::new(bounds.per_token),
        }
    }

    pub(crate) fn release_stream(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn release_holder(&self, holder: RightHolder) {
        self.subjects.release(holder.named_subject());
        self.tokens.release(holder.named_token());
    }

    pub(crate) fn release_address(&self, address: Maker) {
        self.addresses.release(Some(address));
    }
}

impl Admission {
    /// A place for one more stream, if there is room.
    pub fn try_stream(self: &Arc<Self>) -> Option<StreamPermit> {
        let OpenCounts { streams, streams_max, .. } = self.counts();
        let one_more = |open| (open < *streams_max).then_some(open + 1);
        let taken = streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| StreamPermit(Arc::clone(self)))
    }

    /// Streams that are open, or about to be.
    pub fn streams(&self) -> u32 {
        self.counts().streams.load(Ordering::Relaxed)
    }

    /// Streams that may be open.
    pub fn streams_max(&self) -> u32 {
        self.counts().streams_max
    }

    /// A place for a stream of this holder, if its subject and its token may have another.
    pub fn try_holder(self: &Arc<Self>, holder: RightHolder) -> Result<HolderPermit, TooManyStreams> {
        let counts = self.counts();
        if !counts.subjects.try_one_more(holder.named_subject()) {
            return Err(TooManyStreams::Subject);
        }
        if !counts.tokens.try_one_more(holder.named_token()) {
            counts.subjects.release(holder.named_subject());
            return Err(TooManyStreams::Token);
        }
        Ok(HolderPermit(Arc::clone(self), holder))
    }

    /// A place for a socket of this address, if it may have another.
    pub fn try_address(self: &Arc<Self>, address: Maker) -> Option<AddressPermit> {
        self.counts().addresses.try_one_more(Some(address)).then(|| AddressPermit(Arc::clone(self), Some(address)))
    }
}

impl StreamPermit {
    /// Hands the place to a stream, which is smaller without it: the shard gives it back with the stream.
    pub(crate) fn into_stream(self) {
        std::mem::forget(self);
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.counts().release_stream();
    }
}

impl HolderPermit {
    /// Hands the place to a stream, which is smaller without it: the shard gives it back by the stream's right.
    pub(crate) fn into_stream(mut self) {
        self.1 = RightHolder::default();
    }
}

impl Drop for HolderPermit {
    fn drop(&mut self) {
        self.0.counts().release_holder(self.1);
    }
}

impl AddressPermit {
    /// Hands the place to a stream, which keeps the address alone: the shard gives it back by that.
    pub(crate) fn into_stream(mut self) -> Option<Maker> {
        self.1.take()
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        if let Some(address) = self.1 {
            self.0.counts().release_address(address);
        }
    }
}

impl<N: Eq + Hash> Counts<N> {
    fn new(max: Option<u32>) -> Self {
        Self { open: DashMap::with_hasher(RandomState::default()), max }
    }

    /// One more of this name, if it may. Nobody, and names without a bound, are not counted.
    fn try_one_more(&self, name: Option<N>) -> bool {
        let (Some(max), Some(name)) = (self.max, name) else { return true };
        let mut open = self.open.entry(name).or_insert(0);
        let has_room = *open < max;
        *open += u32::from(has_room);
        has_room
    }

    /// One less.
    fn release(&self, name: Option<N>) {
        let (Some(_), Some(name)) = (self.max, name) else { return };
        let Entry::Occupied(mut open) = self.open.entry(name) else { return };
        *open.get_mut() -= 1;
        if *open.get() == 0 {
            open.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(per: u32) -> Arc<Admission> {
        let per = Some(per);
        let bounds = OpenBounds { streams: per, per_address: per, per_subject: per, per_token: per };
        Admission::with_bounds(usize::MAX, bounds)
    }

    fn holder(subject: u32, token: u32) -> RightHolder {
        RightHolder { subject, token, ..RightHolder::default() }
    }

    #[test]
    fn each_subject_and_each_token_has_its_own_places_and_a_refusal_takes_none() {
        let admission = admission(2);
        let held = [admission.try_holder(holder(1, 1)), admission.try_holder(holder(1, 2))];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(admission.try_holder(holder(1, 3)).err(), Some(TooManyStreams::Subject));
        let third = admission.try_holder(holder(2, 1));
        assert!(third.is_ok());
        for _ in 0..3 {
            assert_eq!(admission.try_holder(holder(3, 1)).err(), Some(TooManyStreams::Token));
        }
        let of_three: Vec<_> = (5..8).map(|token| admission.try_holder(holder(3, token)).is_ok()).collect();
        assert_eq!(of_three, [true; 3], "each was given back at once");
        drop((held, third));
        let counts = admission.counts();
        assert!(counts.subjects.open.is_empty() && counts.tokens.open.is_empty());
    }

    #[test]
    fn a_place_among_all_streams_goes_on_with_its_stream_until_that_gives_it_back() {
        let admission = admission(2);
        let (first, second) = (admission.try_stream(), admission.try_stream());
        assert!(first.is_some() && second.is_some() && admission.try_stream().is_none());
        assert_eq!((admission.streams(), admission.streams_max()), (2, 2));
        drop(first);
        assert_eq!(admission.streams(), 1);
        second.into_iter().for_each(StreamPermit::into_stream);
        let third = admission.try_stream();
        assert!(third.is_some() && admission.try_stream().is_none(), "the stream has its place");
        admission.counts().release_stream();
        assert!(admission.try_stream().is_some());
    }

    #[test]
    fn nobody_is_counted_without_a_name_or_a_bound() {
        let admission = admission(1);
        let nameless: Vec<_> = (0..3).map(|_| admission.try_holder(RightHolder::default())).collect();
        assert!(nameless.iter().all(Result::is_ok));
        let unbounded = Admission::new(1);
        let held: Vec<_> = (0..3).map(|_| unbounded.try_holder(holder(1, 1))).collect();
        assert!(held.iter().all(Result::is_ok));
        assert!(unbounded.counts().subjects.open.is_empty());
    }

    #[test]
    fn a_place_of_an_address_goes_on_with_its_stream_until_that_gives_it_back() {
        let admission = admission(1);
        let address = Maker::at("203.0.113.9".parse().expect("an address"));
        let permit = admission.try_address(address).expect("there is room");
        assert!(admission.try_address(address).is_none());
        assert_eq!(permit.into_stream(), Some(address));
        assert!(admission.try_address(address).is_none(), "the stream has it");
        admission.counts().release_address(address);
        assert!(admission.try_address(address).is_some());
        assert!(admission.counts().addresses.open.is_empty());
    }
}
