//! Follows the log over one connection: reads missed events, asks for the newest number, answers recalls.
//!
//! It asks over the connection that subscribes. Redis answers in the order in which it sends messages, so the
//! answer with the newest number stands behind every message up to that number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fantail_wire::{ChannelName, Term, Terms};
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::arrivals::Arrivals;
use super::log_store::{LogState, LogStore, StreamPlace};
use super::recall;
use crate::Intake;
use crate::recall_queue::RecallRequest;
use crate::redis::log::{
    CHANNEL_BYTES_MAX, GivenUp, LaneLog, LogEntry, MissedEvents, MissedRange, READS_MAX, ReadBudget,
};
use crate::redis::reach::is_elsewhere;

/// The pause before a refused recall is asked again. Redis refuses one while the slot of its Stream moves.
const RECALL_PAUSE: Duration = Duration::from_secs(1);

/// Events and bytes that a repair may hold in memory. Older events are declared missing.
const REPAIR_EVENTS_MAX: usize = 262_144;
const REPAIR_BYTES_MAX: usize = READS_MAX * CHANNEL_BYTES_MAX;

/// The log over one connection.
pub(crate) struct LogFollower<I> {
    store: LogStore,
    connection: MultiplexedConnection,
    arrivals: Arc<Arrivals<I>>,
    permits: Arc<ReadPermits>,
    /// Events of one channel that are worth reading: the node keeps no more.
    channel_events_max: usize,
}

/// Permits to read, shared by the lanes: events that are read are held in memory, and bounded for all lanes together.
#[derive(Debug)]
pub(crate) struct ReadPermits {
    repairs: Semaphore,
    recalls: Arc<Semaphore>,
}

/// Why the log could not be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("its numbering began anew while it was read")]
    Changed,
    #[error(transparent)]
    GivenUp(#[from] GivenUp),
}

impl Default for ReadPermits {
    fn default() -> Self {
        Self { repairs: Semaphore::new(1), recalls: Arc::new(Semaphore::new(READS_MAX)) }
    }
}

impl<I: Intake> LogFollower<I> {
    pub(crate) fn new(
        store: LogStore,
        connection: MultiplexedConnection,
        arrivals: Arc<Arrivals<I>>,
        permits: Arc<ReadPermits>,
        channel_events_max: usize,
    ) -> Self {
        Self { store, connection, arrivals, permits, channel_events_max }
    }

    /// Whether the log's events come by sharded channels.
    pub(crate) fn is_sharded(&self) -> bool {
        self.store.is_sharded()
    }

    /// Repairs and reads the newest number, if the log wants it. Mostly it wants nothing.
    pub(crate) async fn keep_up(&self) -> Result<(), FollowError> {
        while self.arrivals.log(|log| log.can_repair()) {
            // A lane that has nothing to read does not wait for those that have.
            let has_followed = self.arrivals.log(|log| !log.followed().is_empty());
            let _permit = if has_followed { self.permits.repairs.acquire().await.ok() } else { None };
            let missing = self.arrivals.log(LaneLog::begin_repair);
            let state = self.state().await?;
            let missed = self.read_missed(&missing, &state).await?;
            if self.arrivals.tell_log(|log, orders| log.repaired(&state.terms, missed, orders))? {
                break;
            }
        }
        if self.arrivals.log(|log| log.needs_sync()) {
            self.arrivals.log(LaneLog::begin_sync);
            let state = self.state().await?;
            self.arrivals.tell_log(|log, orders| log.synced(&state.terms, orders))?;
        }
        Ok(())
    }

    /// Proves that nothing is missing in any channel, quiet ones included.
    pub(crate) async fn verify(&self) -> Result<(), FollowError> {
        let Some(verified) = self.arrivals.log(|log| log.verified_up_to()) else { return Ok(()) };
        // The number first: all up to it is below the newest events that are read then, and the messages of those have
        // come when the answer is here.
        let state = self.state().await?;
        let (mut tops, horizon) = self.changed_since(verified, &state).await?;
        if horizon > verified {
            tops.extend(self.newest_kept().await?);
        }
        self.arrivals.tell_log(|log, orders| log.verified(&state.terms, &tops, orders))?;
        Ok(())
    }

    /// The newest number in the Stream of each followed channel, for tops that Redis has lost.
    async fn newest_kept(&self) -> RedisResult<Vec<(String, u64)>> {
        let mut newest = Vec::new();
        for channel in self.arrivals.log(|log| log.followed()) {
            let read = self.store.entries(&mut self.connection.clone(), &channel, None, None, 1).await;
            match read {
                Ok(read) => newest.extend(read.entries.last().map(|entry| (channel.to_string(), entry.id.number))),
                Err(error) if is_of_the_key(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(newest)
    }

    /// Answers recalls until it is dropped. Unanswered recalls are asked again over the next connection.
    pub(crate) async fn answer_recalls(&self) -> RedisError {
        let mut reads = JoinSet::new();
        // The slot moves and the Stream is not here, or this node has yet to learn of the current term. That says
        // nothing about live events.
        let mut is_refused = false;
        self.arrivals.log(|log| log.recalls.again());
        loop {
            while reads.len() < READS_MAX && !is_refused {
                let Some((terms, next)) = self.arrivals.log(LaneLog::next_recall) else { break };
                let permits = Arc::clone(&self.permits.recalls);
                reads.spawn(read(permits, self.store.clone(), self.connection.clone(), terms, next));
            }
            tokio::select! {
                Some(answer) = reads.join_next() => match answer {
                    Ok(Ok((asked, Some(recalled), _permit))) => {
                        self.arrivals.tell_log(|log, orders| log.recalled(&asked, recalled, orders));
                    }
                    Ok(Ok((_, None, _))) => {
                        is_refused = true;
                        self.arrivals.sync();
                    }
                    Ok(Err(error)) if is_elsewhere(&error) => is_refused = true,
                    Ok(Err(error)) => return error,
                    Err(_) => {} // cut off together with this
                },
                () = self.arrivals.recalls.notified(), if !is_refused => {}
                () = sleep(RECALL_PAUSE), if is_refused && reads.is_empty() => {
                    is_refused = false;
                    self.arrivals.log(|log| log.recalls.again());
                }
            }
        }
    }

    /// The newest number that was seen goes with the question: Redis gives numbers again only in another term.
    async fn state(&self) -> RedisResult<LogState> {
        let seen = self.arrivals.log(|log| log.witnessed());
        self.store.state(&mut self.connection.clone(), seen).await
    }

    /// The channels that have got something above `number`, and the horizon as it is behind that answer: if the newest
    /// numbers were lost before it, after `state` was read, the horizon has risen.
    async fn changed_since(&self, number: u64, state: &LogState) -> Result<(Vec<(String, u64)>, u64), FollowError> {
        let tops = self.store.changed_since(&mut self.connection.clone(), number).await?;
        let after = self.state().await?;
        if after.terms.current != state.terms.current {
            return Err(FollowError::Changed);
        }
        Ok((tops, after.horizon))
    }

    /// Reads the followed channels that have got something above the place up to which this node has come.
    async fn read_missed(&self, missing: &MissedRange, state: &LogState) -> Result<Vec<MissedEvents>, FollowError> {
        let Some(from) = missing.from.filter(|_| !missing.channels.is_empty()) else { return Ok(Vec::new()) };
        let base = base(from.number, from.term, &state.terms);
        let (changed, horizon) = self.changed_since(base, state).await?;
        // Redis forgets when quiet channels got something last. Of those it can only be said that they may have.
        let is_forgotten = horizon > base;
        let tops: HashMap<_, _> = changed.iter().map(|(name, top)| (name.as_str(), *top)).collect();
        let to_read = missing.channels.iter().filter_map(|channel| {
            let top = tops.get(channel.as_str()).copied().max(is_forgotten.then_some(horizon))?;
            (top > base).then(|| (channel.clone(), top))
        });
        // Within a term time never falls, so nothing above the place has an earlier one.
        let above = (from.term == state.terms.current).then_some((from.ms, from.number));
        Ok(self.read_all(to_read.collect(), above).await?)
    }

    async fn read_all(
        &self,
        to_read: Vec<(ChannelName, u64)>,
        above: Option<StreamPlace>,
    ) -> RedisResult<Vec<MissedEvents>> {
        let mut missed = Vec::with_capacity(to_read.len());
        let mut reads = JoinSet::new();
        let mut budget = ReadBudget::new(REPAIR_EVENTS_MAX, REPAIR_BYTES_MAX);
        let share = ReadBudget::new(self.channel_events_max.min(REPAIR_EVENTS_MAX), CHANNEL_BYTES_MAX);
        let mut waiting = to_read.into_iter();
        loop {
            while waiting.len() > 0
                && reads.len() < READS_MAX
                && let Some(lent) = budget.lend(share, !reads.is_empty())
                && let Some((channel, top)) = waiting.next()
            {
                let read = read_newest(self.store.clone(), self.connection.clone(), channel, top, above, lent);
                reads.spawn(async move { read.await.map(|missed| (missed, lent)) });
            }
            let Some(read) = reads.join_next().await else { return Ok(missed) };
            if let Ok(read) = read {
                let (read, lent) = read?;
                budget.give_back(lent, &read.entries);
                missed.push(read);
            }
        }
    }
}

/// Reads a channel backwards until the budget is used up. Older events are declared missing, and all if the
/// channel cannot be read.
async fn read_newest(
    store: LogStore,
    mut connection: MultiplexedConnection,
    channel: ChannelName,
    top: u64,
    above: Option<StreamPlace>,
    mut budget: ReadBudget,
) -> RedisResult<MissedEvents> {
    let mut newest_first: Vec<LogEntry> = Vec::new();
    let mut up_to = None;
    while budget.page() > 0 {
        let page = budget.page();
        let read = match store.entries(&mut connection, &channel, above, up_to, page).await {
            Ok(read) => read,
            Err(error) if is_of_the_key(&error) => break,
            Err(error) => return Err(error),
        };
        let is_last = read.entries.len() + read.malformed.len() < page;
        let Some(oldest) = read.entries.first() else { break };
        up_to = Some((oldest.id.ms, oldest.id.number.saturating_sub(1)));
        newest_first.extend(read.entries.into_iter().rev().take_while(|entry| budget.take(entry)));
        if is_last {
            break;
        }
    }
    newest_first.reverse();
    Ok(MissedEvents { channel, top, entries: newest_first })
}

/// Whether the server is well and only the key is not: somebody else wrote it.
fn is_of_the_key(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}

/// The number above which this node may have missed something: where the term that it was in has ended, if that is
/// lower than where it came to. Zero if Redis knows nothing of that term.
fn base(number: u64, term: Term, terms: &Terms) -> u64 {
    if term == terms.current {
        return number;
    }
    terms.ended.iter().find(|ended| ended.term == term).map_or(0, |ended| ended.end.min(number))
}

/// Reads when a permit is free, and keeps it until the answer has gone down.
async fn read(
    permits: Arc<Semaphore>,
    store: LogStore,
    mut connection: MultiplexedConnection,
    terms: Terms,
    asked: RecallRequest,
) -> RedisResult<(RecallRequest, Option<crate::Recalled>, Option<OwnedSemaphorePermit>)> {
    let permit = permits.acquire_owned().await.ok();
    match recall::read(&store, &mut connection, &terms, &asked).await {
        Ok(recalled) => Ok((asked, recalled, permit)),
        // There is nothing to be had of it, however often one asks.
        Err(error) if is_of_the_key(&error) => {
            let nothing = crate::Recalled::nothing_up_to(asked.up_to);
            Ok((asked, Some(nothing), permit))
        }
        Err(error) => Err(error),
    }
}
