//! One stream of a shard, as `streams.rs` and `catch_up.rs` lead it, with a buffer in place of its socket.

use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use fantail_hub::{Asked, Begin, Delivery, EntryKind, Hub, Join, Mark, Position, ReadLimit, Resume, Start};
use fantail_wire::SlowPolicy;
use fantail_wire::{BareBlocks, Framing, Lane, end_of_body, opening_frame};

use super::super::overrun::{Judgement, go_on, judge};
use super::super::{Collected, Standing, collect};
use super::block::unwrap_chunks;
use super::course::Course;
use super::node::name;
use crate::outgoing::{Flush, Outgoing};
use crate::slow_policies::SlowPolicies;
use crate::streams::{Resuming, StreamState, keep_rest, within_limit};

pub(super) struct ModelConnection {
    shard: u16,
    joins: Vec<Join>,
    resume: Resume,
    asked: Asked,
    pub(super) state: StreamState,
    framing: Framing,
    cursor: Position,
    resuming: Option<Resuming>,
    outgoing: Outgoing,
    events_left: Option<u64>,
    ending: bool,
    /// It is new, or was marked: its channels may be confirmed.
    may_start: bool,
    /// The bytes that its socket has taken.
    pub(super) taken: Vec<u8>,
}

/// A socket that takes `room` bytes and then blocks.
struct Socket<'a> {
    room: usize,
    taken: &'a mut Vec<u8>,
}

impl Socket<'_> {
    fn put(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let before = self.taken.len();
        self.taken.extend(pieces.iter().flat_map(|piece| piece.iter()).take(self.room));
        let taken = self.taken.len() - before;
        self.room -= taken;
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }
}

fn leave_all(joins: Vec<Join>, hub: &Hub) {
    for join in joins {
        hub.leave(&join);
    }
}

/// The surroundings of a shard while it works.
pub(super) trait Surroundings {
    fn hub(&self) -> Arc<Hub>;
    fn course(&mut self) -> &mut Course;
    fn slow_policies(&self) -> SlowPolicies;
    /// Whether streams are led as if their clients may go on elsewhere.
    fn ids_are_shared(&self) -> bool {
        self.hub().ids_are_shared()
    }
    /// The control loop may do something while the shard is between two steps of its own.
    fn sometimes_step(&mut self);
}

/// Whether the shard would wake up now.
fn is_rung(hub: &Hub, shard: u16) -> bool {
    pin!(hub.mailbox(shard).rung()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

impl ModelConnection {
    /// Joins the channels; `None` if there is no room for one of them.
    pub(super) fn open<N: Surroundings>(shard: u16, channels: &[usize], resume: Resume, node: &mut N) -> Option<Self> {
        let mut joins = Vec::new();
        for (slot, &channel) in channels.iter().enumerate() {
            let Ok(join) = node.hub().join(&name(channel), shard, slot as u32, None) else {
                node.course().happened("refused");
                leave_all(joins, &node.hub());
                return None;
            };
            joins.push(join);
            node.sometimes_step();
        }
        let framing = if node.course().rng.bool() { Framing::Chunked } else { Framing::CloseDelimited };
        let events_left = node.course().chance(8).then(|| node.course().rng.u64(1..10));
        Some(Self {
            shard,
            joins,
            resume,
            asked: Asked::default(),
            state: StreamState::Waiting,
            framing,
            cursor: Position::ORIGIN,
            resuming: None,
            outgoing: Outgoing::default(),
            events_left,
            ending: false,
            may_start: true,
            taken: Vec::new(),
        })
    }

    pub(super) fn resume(&self) -> &Resume {
        &self.resume
    }

    /// The bytes that have come through if it is cut after so many.
    pub(super) fn text(&self, cut: usize) -> String {
        let bytes = &self.taken[..cut.min(self.taken.len())];
        let text = match self.framing {
            Framing::Chunked => unwrap_chunks(bytes),
            Framing::CloseDelimited => bytes.to_vec(),
        };
        String::from_utf8(text).unwrap()
    }

    /// The shard looks into its mailbox if it is rung. It serves this stream alone, so a mark is for it or stale.
    pub(super) fn look<N: Surroundings>(&mut self, node: &mut N) {
        let hub = node.hub();
        if !is_rung(&hub, self.shard) {
            return;
        }
        let mailbox = hub.mailbox(self.shard);
        mailbox.silence();
        loop {
            let mut marks: Vec<_> = std::iter::from_fn(|| mailbox.take()).collect();
            if marks.is_empty() {
                return;
            }
            // The end of a term marks all channels in the order of a map, which no seed decides.
            marks.sort_by_key(|mark| mark.slot);
            for mark in &marks {
                self.look_at(mark, node);
            }
        }
    }

    fn look_at<N: Surroundings>(&mut self, mark: &Arc<Mark>, node: &mut N) {
        let end = mark.clear();
        node.sometimes_step();
        if !self.joins.iter().any(|join| Arc::ptr_eq(&join.mark, mark)) {
            return;
        }
        if end {
            node.course().happened("ended by delete");
            self.end(&node.hub());
        } else if self.state == StreamState::Live {
            self.state = StreamState::Behind;
        }
        self.may_start = true;
    }

    /// Starts if all channels are confirmed, and says where. Like the shard it asks only when it has a reason to.
    pub(super) fn start<N: Surroundings>(&mut self, node: &mut N) -> Option<Start> {
        let asks = std::mem::take(&mut self.may_start);
        if !asks {
            return None;
        }
        let channels: Vec<_> = self.joins.iter().map(|join| Arc::clone(&join.channel)).collect();
        let Begin::At(start) = node.hub().begin(&self.resume, &channels, &mut self.asked) else { return None };
        node.course().note(format!("client {} starts with {:?}: {start:?}", self.shard, self.resume));
        self.outgoing.push(opening_frame(1000, start.opening_id, BareBlocks::Closed).share(self.framing));
        self.cursor = start.cursor;
        self.state = StreamState::Behind;
        if self.resume != Resume::Live {
            self.resuming =
                Some(Resuming { unknown: start.unknown, floors: start.floors.clone(), began: Some(start.began) });
        }
        Some(start)
    }

    /// The newest events still held, as logs are read: the last `events` of all channels, and each channel's floor.
    pub(super) fn held(&self, hub: &Hub, events: usize) -> (Vec<u64>, Vec<u64>) {
        let mut entries = Vec::new();
        let limit = ReadLimit { entries: usize::MAX, bytes: usize::MAX };
        let to = hub.watermark(Lane::default()).position;
        let read = |join: &Join| join.channel.read(Position::ORIGIN, to, limit, &mut entries).floor.position.number;
        let floors = self.joins.iter().map(read).collect();
        let held = entries.iter().filter(|entry| entry.kind == EntryKind::Event);
        let held: std::collections::BTreeSet<_> = held.map(|entry| entry.position.number).collect();
        let newest: Vec<_> = held.into_iter().rev().take(events).collect();
        (newest, floors)
    }

    /// The newest events that a stream which comes back finds in the logs, newest first, as long as they are `wanted`: at
    /// most `events` of all channels.
    pub(super) fn newest(&self, hub: &Hub, events: usize, wanted: impl Fn(Position) -> bool) -> Vec<Position> {
        let mut entries = Vec::new();
        let limit = ReadLimit { entries: usize::MAX, bytes: usize::MAX };
        let to = hub.watermark(Lane::default()).position;
        for join in &self.joins {
            join.channel.read_resuming(Position::ORIGIN, to, to, limit, &mut entries);
        }
        let held = entries.iter().filter(|entry| entry.kind == EntryKind::Event).map(|entry| entry.position);
        let held: std::collections::BTreeSet<_> = held.collect();
        held.into_iter().rev().take_while(|position| wanted(*position)).take(events).collect()
    }

    /// As [`CatchUp::serve`](crate::catch_up::CatchUp::serve), with a socket that takes `room` bytes per call.
    pub(super) fn serve<N: Surroundings>(&mut self, node: &mut N, room: impl Fn(&mut N) -> usize) {
        let hub = node.hub();
        while self.state == StreamState::Behind {
            let mut socket = Socket { room: room(node), taken: &mut self.taken };
            if self.outgoing.flush(|pieces| socket.put(pieces)).unwrap() != Flush::Done {
                self.state = StreamState::Blocked;
                return;
            }
            if self.ending {
                self.state = StreamState::Ending;
                return;
            }
            let watermark = hub.watermark(Lane::default()).position;
            node.sometimes_step();
            self.serve_once(node, &hub, watermark, &room);
            if node.course().chance(4) {
                return; // the slice is over
            }
        }
    }

    fn serve_once<N: Surroundings>(
        &mut self,
        node: &mut N,
        hub: &Hub,
        watermark: Position,
        room: &impl Fn(&mut N) -> usize,
    ) {
        let mut entries = Vec::new();
        let resuming = self.resuming.as_ref();
        let standing = Standing { cursor: self.cursor, watermark, resuming, ids_are_shared: node.ids_are_shared() };
        let take = ReadLimit { entries: node.course().rng.usize(1..5), bytes: node.course().rng.usize(1..1000) };
        // The control loop goes on while the logs are read one by one.
        let channels = self.joins.iter().map(|join| {
            node.sometimes_step();
            &*join.channel
        });
        let found = collect(&standing, channels, hub, take, &mut entries);
        node.course()
            .note(format!("client {} at {} of {}: {found:?}", self.shard, self.cursor.number, watermark.number));
        match found {
            Collected::Entries => self.write(node, hub, &entries, room),
            Collected::Overrun => self.overrun(node, hub, watermark, take, room),
            Collected::Nothing => {
                let beyond = |join: &Join| join.channel.read(watermark, watermark, take, &mut entries).floor.position;
                let floors_above = self.joins.iter().map(beyond).any(|floor| floor > watermark);
                if floors_above {
                    node.course().happened("floor above watermark");
                }
                self.cursor = self.cursor.max(watermark);
                assert!(
                    self.cursor <= hub.watermark(Lane::default()).position,
                    "a live stream is ahead of the watermark"
                );
                self.state = StreamState::Live;
                self.resuming = None;
            }
        }
    }

    fn overrun<N: Surroundings>(
        &mut self,
        node: &mut N,
        hub: &Hub,
        watermark: Position,
        take: ReadLimit,
        room: &impl Fn(&mut N) -> usize,
    ) {
        let joins = self.joins.clone();
        let channels = joins.iter().map(|join| &*join.channel);
        let policy = match judge(self.cursor, channels.clone(), &node.slow_policies()) {
            Judgement::GoOn(policy) => policy,
            Judgement::End(..) => {
                node.course().happened("overrun");
                return self.end(hub);
            }
        };
        node.sometimes_step();
        let ids_are_shared = node.ids_are_shared();
        let standing = Standing { cursor: self.cursor, watermark, resuming: None, ids_are_shared };
        let mut entries = Vec::new();
        let channels = channels.inspect(|_| node.sometimes_step());
        let found = go_on(policy, &standing, channels, hub, take, &mut entries);
        node.course().note(format!("client {} goes on by {policy}: {found:?}, {} entries", self.shard, entries.len()));
        node.course().happened(policy.as_str());
        let events = entries.iter().filter(|entry| entry.kind == EntryKind::Event).count();
        assert!(
            policy == SlowPolicy::Skip || self.joins.len() > 1 || events <= 1,
            "{events} events are not the newest"
        );
        match found {
            Collected::Nothing => (self.cursor, self.state) = (self.cursor.max(watermark), StreamState::Live),
            _ => self.write(node, hub, &entries, room),
        }
    }

    fn write<N: Surroundings>(
        &mut self,
        node: &mut N,
        hub: &Hub,
        entries: &[Delivery],
        room: &impl Fn(&mut N) -> usize,
    ) {
        let before = self.cursor;
        let entries = within_limit(self.events_left, entries);
        let bytes: Vec<_> = entries.iter().flat_map(|entry| entry.frame.bytes(self.framing)).copied().collect();
        let taken = room(node).min(bytes.len());
        self.taken.extend_from_slice(&bytes[..taken]);
        let keep = |rest| self.outgoing.push(rest);
        let begun = keep_rest(&mut self.cursor, self.framing, entries, taken, keep);
        let events = begun.iter().filter(|entry| entry.kind == EntryKind::Event).count() as u64;
        node.course().note(format!(
            "  {} of {} entries begun, {taken} of {} bytes",
            begun.len(),
            entries.len(),
            bytes.len()
        ));
        assert!(self.cursor >= before, "positions never fall");
        if let Some(left) = &mut self.events_left {
            *left -= events;
        }
        if self.events_left == Some(0) {
            node.course().happened("limit reached");
            self.end(hub);
        } else if taken < bytes.len() {
            node.course().happened("partial write");
            self.state = StreamState::Blocked;
        }
    }

    fn end(&mut self, hub: &Hub) {
        self.leave(hub);
        if !std::mem::replace(&mut self.ending, true) {
            (self.resuming, self.events_left) = (None, None);
            self.outgoing.push(bytes::Bytes::from_static(end_of_body(self.framing)));
            if self.state != StreamState::Blocked {
                self.state = StreamState::Behind;
            }
        }
    }

    pub(super) fn leave(&mut self, hub: &Hub) {
        leave_all(std::mem::take(&mut self.joins), hub);
    }
}
