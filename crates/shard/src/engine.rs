//! The work of a shard in a turn, in its order.
//!
//! A turn never waits. Between turns the shard waits on five things (see `shard.rs`): its mailbox rings, the poll has
//! socket events, a stream was handed over, a command came, or the tick is due.
//!
//! The streams are one thing, and each job with them another. Jobs know streams and not each other; the engine alone
//! knows all jobs, and gives them their turns.

use std::sync::Arc;
use std::time::Duration;

use fantail_hub::Hub;
use fantail_telemetry::ShardCounters;
use fantail_wire::feed_frame;
use mio::Registry;
use tokio::sync::oneshot;

use crate::admission::Admission;
use crate::announcement::Announcement;
use crate::catch_up::CatchUp;
use crate::command::{ConnectionId, ShardCommand};
use crate::connections::{ConnectionKey, Http2Connection};
use crate::deletion::Deletions;
use crate::drain::Drain;
use crate::passes::Passes;
use crate::revocation::{Meant, Revocations};
use crate::shard::ShardSettings;
use crate::slice::{SLICE, Slice};
use crate::streams::{Streams, Subscribe, listing, subscribe, tabs};
use crate::sweep::Sweep;
use crate::undecided_sockets::UndecidedSockets;

/// Everything of one shard.
pub(crate) struct Engine {
    pub(crate) streams: Streams,
    pub(crate) passes: Passes,
    pub(crate) catch_up: CatchUp,
    pub(crate) deletions: Deletions,
    pub(crate) announcement: Announcement,
    pub(crate) revocations: Revocations,
    pub(crate) sweep: Sweep,
    pub(crate) undecided: UndecidedSockets,
    drain: Option<Drain>,
    /// Which job had the last slice, as an index into [`JOBS`].
    last_job: usize,
}

/// The jobs that share the slices.
#[derive(Clone, Copy)]
enum Job {
    Passes,
    CatchUp,
    Deletions,
    Announcement,
    Revocations,
}

const JOBS: [Job; 5] = [Job::Passes, Job::CatchUp, Job::Deletions, Job::Announcement, Job::Revocations];

impl Engine {
    pub(crate) fn new(
        hub: Arc<Hub>,
        shard: u16,
        registry: Registry,
        settings: ShardSettings,
        counters: Arc<ShardCounters>,
        admission: Arc<Admission>,
    ) -> Self {
        Self {
            sweep: Sweep::new(&settings),
            streams: Streams::new(hub, shard, registry, settings, counters, admission),
            passes: Passes::default(),
            catch_up: CatchUp::default(),
            deletions: Deletions::default(),
            announcement: Announcement::default(),
            undecided: UndecidedSockets::default(),
            revocations: Revocations::default(),
            drain: None,
            last_job: 0,
        }
    }

    /// One slice of work, and one of the sweep if it is due. True if more is waiting.
    pub(crate) fn turn(&mut self) -> bool {
        self.streams.clock.begin_turn();
        self.take_marks();
        self.sweep.slice(&mut self.streams, &mut Slice::begin(SLICE));
        let has_work = self.work();
        tabs::see_to_connections(&mut self.streams, &mut Slice::begin(SLICE));
        has_work || self.next_job().is_some() || self.streams.outlets.connections.unseen() > 0
    }

    /// A slice of the next job. True if more of the sweep is waiting.
    fn work(&mut self) -> bool {
        let Some(job) = self.next_job() else { return self.sweep.has_work() };
        self.last_job = job;
        let (streams, slice) = (&mut self.streams, &mut Slice::begin(SLICE));
        match JOBS[job] {
            Job::Passes => self.passes.slice(streams, slice),
            Job::CatchUp => self.catch_up.slice(streams, slice),
            Job::Deletions => self.deletions.slice(streams, slice),
            Job::Announcement => self.announcement.slice(streams, slice),
            Job::Revocations => self.revocations.slice(streams, slice),
        }
        self.streams.counters().slices.add(1);
        self.sweep.has_work()
    }

    /// The next job that has work, behind the last one: so each gets a slice before any gets a second.
    fn next_job(&self) -> Option<usize> {
        (1..=JOBS.len()).map(|ahead| (self.last_job + ahead) % JOBS.len()).find(|&job| match JOBS[job] {
            Job::Passes => self.passes.has_work(),
            Job::CatchUp => CatchUp::has_work(&self.streams),
            Job::Deletions => self.deletions.has_work(),
            Job::Announcement => self.announcement.has_work(),
            Job::Revocations => self.revocations.has_work(),
        })
    }

    /// Takes what the control loop has posted. Each mark is cleared before anything of its channel is read.
    pub(crate) fn take_marks(&mut self) {
        let hub = Arc::clone(self.streams.hub());
        let mailbox = hub.mailbox(self.streams.shard());
        mailbox.silence();
        while let Some(mark) = mailbox.take() {
            let end = mark.clear();
            let Some(slot) = self.streams.channels().slot_of(&mark) else { continue };
            if end {
                self.deletions.begin(&self.streams, slot);
                continue;
            }
            subscribe::start_waiting(&mut self.streams, slot);
            self.passes.queue(&mut self.streams, slot);
        }
    }

    /// Makes a stream. It answers at once if the feed brings all channels already.
    pub(crate) fn subscribe(&mut self, request: Subscribe) -> Option<ConnectionId> {
        self.streams.clock.begin_turn();
        let (key, id) = subscribe::open(&mut self.streams, request)?;
        self.catch_up.serve(&mut self.streams, key, &mut Slice::begin(SLICE));
        Some(id)
    }

    /// Takes an HTTP/2 connection over.
    pub(crate) fn serve_http2(&mut self, connection: Http2Connection) -> ConnectionKey {
        self.streams.clock.begin_turn();
        tabs::open_connection(&mut self.streams, connection)
    }

    /// The tick is due.
    pub(crate) fn tick(&mut self) {
        self.streams.clock.begin_turn();
        self.sweep.tick(&mut self.streams);
        if let Some(drain) = &mut self.drain {
            drain.tick(&mut self.streams, &mut self.catch_up, &self.undecided);
        }
    }

    /// The control loop asks for something.
    pub(crate) fn command(&mut self, command: ShardCommand) {
        self.streams.clock.begin_turn();
        match command {
            ShardCommand::List { max, reply } => drop(reply.send(listing::list(&self.streams, max))),
            ShardCommand::Kick { id, reply } => drop(reply.send(listing::kick(&mut self.streams, id))),
            ShardCommand::Revoke { revoked, reply } => {
                self.revocations.begin(&self.streams, Meant::HoldersOf(revoked), reply);
            }
            ShardCommand::EndBlocked { reply } => self.revocations.begin(&self.streams, Meant::Blocked, reply),
            ShardCommand::TellFeedState { connected } => self.announcement.begin(feed_frame(connected)),
            ShardCommand::Drain { window, reply } => self.begin_drain(window, reply),
        }
    }

    pub(crate) fn begin_drain(&mut self, window: Duration, done: oneshot::Sender<()>) {
        self.streams.clock.begin_turn();
        let drain = self.drain.insert(Drain::begin(&mut self.streams, window, done));
        drain.tick(&mut self.streams, &mut self.catch_up, &self.undecided);
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::SlowPolicy;
    use fantail_wire::feed_frame;

    use tokio::sync::oneshot;

    use super::{JOBS, Meant};
    use crate::harness::Harness;
    use crate::streams::Revoked;

    #[test]
    fn each_job_gets_a_slice_before_any_gets_a_second() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 10);
        let (key, _client) = harness.open(&["a"]);
        harness.settle();
        harness.publish(&["a"], "x");
        harness.engine.take_marks();
        harness.engine.streams.queue_behind(key);
        harness.engine.deletions.begin(&harness.engine.streams, 0);
        harness.engine.announcement.begin(feed_frame(true));
        harness.engine.revocations.begin(
            &harness.engine.streams,
            Meant::HoldersOf(Revoked::Subject(1)),
            oneshot::channel().0,
        );
        let mut slices = Vec::new();
        for _ in 0..2 * JOBS.len() {
            harness.engine.last_job = harness.engine.next_job().expect("there is some of each");
            slices.push(harness.engine.last_job);
        }
        let (first, second) = slices.split_at(JOBS.len());
        assert_eq!(first, second);
        slices.sort_unstable();
        slices.dedup();
        assert_eq!(slices.len(), JOBS.len());
    }
}
