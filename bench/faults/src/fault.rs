//! The table of faults.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;

use crate::conditions::Conditions;
use crate::faults::{cluster, failover, load, log, nats, network, node, redis};
use crate::mode::Mode;
use crate::trial_setup::{Servers, TrialSetup};

/// A fault being played: injected, held and healed.
pub type Play<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// The accepted events that the broker has afterwards. Plain pub/sub and core NATS keep none, so it counts with a log alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Not all of them, or not certainly.
    Loses,
    /// All of them, so that with the log nothing need be lost.
    Keeps,
    /// All of them, and it is promised that nothing is lost.
    Promises,
}

/// One row of the table.
pub struct Fault {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// Its description.
    pub what: &'static str,
    /// The modes in which it has a meaning.
    pub modes: &'static [Mode],
    /// The servers that it needs.
    pub servers: Servers,
    /// Its conditions before anything breaks.
    pub conditions: Conditions,
    /// Whether the broker still has every accepted event afterwards.
    pub after: After,
    /// Seconds for which it is held, and how many when time is short; none if it is not tried then.
    pub seconds: (u64, Option<u64>),
    /// Injects, holds and heals it.
    pub play: for<'a> fn(&'a mut TrialSetup, Duration) -> Play<'a>,
}

impl Fault {
    /// How long it is held.
    pub fn hold(&self, quick: bool) -> Duration {
        let (long, short) = self.seconds;
        Duration::from_secs(if quick { short.unwrap_or(long) } else { long })
    }

    /// All faults whose name begins with `name`.
    pub fn named(name: &str) -> impl Iterator<Item = &'static Self> {
        FAULTS.iter().filter(move |fault| fault.name.starts_with(name))
    }
}

const BOTH: &[Mode] = &[Mode::Pubsub, Mode::Log];
const LOG: &[Mode] = &[Mode::Log];
const REDIS: &[Mode] = &[Mode::Pubsub, Mode::Log, Mode::Lanes];
const ALL: &[Mode] = &Mode::WITH_BROKER;
const WITHOUT_LANES: &[Mode] = &[Mode::Pubsub, Mode::Log, Mode::Nats, Mode::Jetstream];
const NATS: &[Mode] = &[Mode::Nats, Mode::Jetstream];
const CORE_NATS: &[Mode] = &[Mode::Nats];
const STREAM: &[Mode] = &[Mode::Jetstream];
const LANES: &[Mode] = &[Mode::Lanes];
const LOSES: After = After::Loses;
const KEEPS: After = After::Keeps;
const PROMISES: After = After::Promises;

macro_rules! fault {
    ($name:literal, $what:literal, $modes:expr, $servers:ident, $after:ident, $seconds:expr, $play:path) => {
        fault!($name, $what, $modes, $servers in USUAL, $after, $seconds, $play)
    };
    ($name:literal, $what:literal, $modes:expr, $servers:ident in $conditions:ident, $after:ident, $seconds:expr, $play:path) => {
        Fault {
            name: $name,
            what: $what,
            modes: $modes,
            servers: Servers::$servers,
            conditions: Conditions::$conditions,
            after: $after,
            seconds: $seconds,
            play: |setup, hold| Box::pin($play(setup, hold)),
        }
    };
}

/// Every fault. Two lines each, which the formatter would make nine.
#[rustfmt::skip]
pub static FAULTS: [Fault; 55] = [
    fault!("calm", "nothing; readers come and go and move",
        ALL, Forgetful, KEEPS, (5, Some(2)), load::nothing),
    fault!("redis-killed-empty", "kill -9 of redis, which comes back empty",
        BOTH, Forgetful, LOSES, (3, Some(1)), redis::killed),
    fault!("redis-killed-durable", "kill -9 of redis, which comes back with its data",
        REDIS, Durable, KEEPS, (3, Some(1)), redis::killed),
    fault!("redis-stopped", "SIGSTOP of redis",
        BOTH, Forgetful, KEEPS, (30, Some(3)), redis::stopped),
    fault!("redis-loading", "redis answers LOADING while it comes back",
        BOTH, SlowToLoad, KEEPS, (6, None), redis::loading),
    fault!("partition-to-redis", "nothing of one node reaches redis",
        BOTH, Forgetful, KEEPS, (25, Some(3)), network::partition_to_broker),
    fault!("partition-from-redis", "nothing of redis reaches one node",
        BOTH, Forgetful, KEEPS, (25, Some(3)), network::partition_from_broker),
    fault!("partition-both-ways", "both nodes and the broker hear nothing of each other",
        WITHOUT_LANES, Forgetful, KEEPS, (25, Some(3)), network::partition_both_ways),
    fault!("connections-cut", "all connections of nodes to the broker are cut, and refused for a while",
        ALL, Forgetful, KEEPS, (3, Some(1)), network::connections_cut),
    fault!("subscribers-killed", "CLIENT KILL TYPE pubsub, over and over",
        BOTH, Forgetful, KEEPS, (5, Some(2)), redis::subscribers_killed),
    fault!("clients-killed", "CLIENT KILL of everyone, over and over",
        BOTH, Forgetful, KEEPS, (5, Some(2)), redis::clients_killed),
    fault!("output-buffer", "redis drops subscribers that are behind by more than their buffer",
        BOTH, Forgetful, KEEPS, (2, None), redis::output_buffer_overrun),
    fault!("password-changed", "the nodes' password is changed, and changed back",
        BOTH, Forgetful, KEEPS, (3, None), redis::password_changed),
    fault!("channels-forbidden", "the nodes may not follow their channels for a while",
        BOTH, Forgetful, KEEPS, (3, None), redis::channels_forbidden),
    fault!("out-of-memory", "redis refuses writes for want of memory",
        BOTH, Forgetful, KEEPS, (3, None), redis::out_of_memory),
    fault!("evicted", "redis evicts keys at random for want of memory",
        LOG, Forgetful, LOSES, (3, None), redis::evicting),
    fault!("evicted-oldest", "redis evicts what was not used for longest",
        LOG, Forgetful, LOSES, (6, None), redis::evicting_oldest),
    fault!("evicted-streams", "redis evicts events, and no other keys of the log",
        LOG, Forgetful, LOSES, (6, None), redis::evicting_streams),
    fault!("keys-set-back", "SWAPDB puts back all keys of the log",
        LOG, Forgetful, LOSES, (2, None), log::set_back),
    fault!("flushed", "FLUSHALL",
        BOTH, Forgetful, LOSES, (1, Some(1)), log::flushed),
    fault!("state-deleted", "DEL of the log's state",
        LOG, Forgetful, LOSES, (1, Some(1)), log::state_deleted),
    fault!("tops-deleted", "DEL of the log's tops",
        LOG, Forgetful, LOSES, (1, None), log::tops_deleted),
    fault!("stream-deleted", "DEL of one channel's stream",
        LOG, Forgetful, LOSES, (1, None), log::stream_deleted),
    fault!("failover", "the master dies, and its replica lacks the tail",
        BOTH, Pair, LOSES, (2, Some(1)), failover::tail_lost),
    fault!("failover-and-back", "another redis is master for less time than lies between two looks at the nodes' one",
        LOG, Pair, LOSES, (3, None), failover::there_and_back),
    fault!("replica-detached", "the nodes' master becomes a replica, detached for a while under open sockets",
        LOG, Pair, LOSES, (25, None), failover::detached),
    fault!("cluster-failover", "the master of the log's slot dies, and its replica, which lacks the tail, takes over",
        LOG, Cluster, LOSES, (1, None), cluster::failover),
    fault!("cluster-owner-frozen", "SIGSTOP of the master of the log's slot until long after a replica took over",
        LOG, Cluster, LOSES, (10, None), cluster::owner_frozen),
    fault!("cluster-slot-moved", "the log's slot moves to another master with all its keys",
        LOG, Cluster, PROMISES, (1, Some(1)), cluster::slot_moved),
    fault!("cluster-slot-back-and-forth", "the log's slot moves there and back twice",
        LOG, Cluster, PROMISES, (1, None), cluster::slot_back_and_forth),
    fault!("cluster-lane-failover", "the master of one lane's slot dies, and the other lane goes on",
        LANES, Cluster, LOSES, (1, None), cluster::failover),
    fault!("malformed", "redis speaks nonsense",
        BOTH, Forgetful, KEEPS, (8, None), network::malformed),
    fault!("endless", "redis never ends what it says",
        BOTH, Forgetful, KEEPS, (6, None), network::endless),
    fault!("node-killed", "kill -9 of a node",
        WITHOUT_LANES, Forgetful, KEEPS, (2, Some(1)), node::killed),
    fault!("node-killed-mid-frame", "kill -9 of either node while it sends large frames, over and over",
        WITHOUT_LANES, Forgetful, KEEPS, (6, None), node::killed_mid_frame),
    fault!("node-stopped", "SIGSTOP of a node",
        WITHOUT_LANES, Forgetful, KEEPS, (5, None), node::stopped),
    fault!("node-drained", "SIGTERM of a node",
        WITHOUT_LANES, Forgetful, KEEPS, (2, Some(1)), node::drained),
    fault!("nodes-killed", "kill -9 of both nodes at once",
        WITHOUT_LANES, Forgetful, KEEPS, (1, None), node::both_killed),
    fault!("nodes-in-turn", "one node or the other is killed, drained or frozen, over and over",
        WITHOUT_LANES, Forgetful, KEEPS, (30, Some(5)), node::in_turn),
    fault!("streams-moving", "every stream goes to the other node each second; channels are let go of at once, and keep 3 events",
        WITHOUT_LANES, Forgetful in RESTLESS, KEEPS, (20, Some(4)), load::nothing),
    fault!("channel-churn", "thousands of channels are followed, published to and left per second",
        WITHOUT_LANES, Forgetful, KEEPS, (8, Some(3)), load::churn),
    fault!("resubscribe", "10,000 followed channels when redis is killed",
        BOTH, Forgetful, LOSES, (1, None), load::resubscribe),
    fault!("nats-killed", "kill -9 of nats, which comes back with what it keeps",
        NATS, Nats, PROMISES, (3, Some(1)), nats::killed),
    fault!("nats-killed-empty", "kill -9 of nats, which comes back empty; the stream is made again",
        STREAM, Nats, LOSES, (3, None), nats::killed_empty),
    fault!("nats-stopped", "SIGSTOP of nats",
        NATS, Nats, PROMISES, (30, Some(3)), nats::stopped),
    fault!("partition-to-nats", "nothing of one node reaches nats",
        NATS, Nats, PROMISES, (25, None), network::partition_to_broker),
    fault!("partition-from-nats", "nothing of nats reaches one node",
        NATS, Nats, PROMISES, (25, Some(3)), network::partition_from_broker),
    fault!("nats-impatient", "nats drops clients that are behind by more than it keeps for one",
        CORE_NATS, ImpatientNats, KEEPS, (2, None), nats::fell_behind),
    fault!("headers-unreadable", "a message with headers that end each connection that brings it",
        NATS, Nats, LOSES, (12, None), nats::headers_unreadable),
    fault!("consumers-removed", "every consumer of the stream is removed, twice",
        STREAM, Nats, PROMISES, (24, None), nats::consumers_removed),
    fault!("stream-purged", "the stream is purged, twice",
        STREAM, Nats, LOSES, (2, None), nats::purged),
    fault!("stream-purged-unseen", "the stream is purged while no node is connected",
        STREAM, Nats, LOSES, (2, None), nats::purged_unseen),
    fault!("stream-made-anew", "the stream is deleted and made anew, at once and after a while",
        STREAM, Nats, LOSES, (12, Some(2)), nats::made_anew),
    fault!("stream-set-back", "a backup of the stream is put back under running nodes",
        STREAM, Nats, LOSES, (3, None), nats::set_back),
    fault!("messages-deleted", "one of the newest messages of the stream is deleted after the other",
        STREAM, Nats, LOSES, (5, None), nats::messages_deleted),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_fault_is_held_and_means_something_somewhere() {
        let names: BTreeSet<_> = FAULTS.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), FAULTS.len());
        assert!(FAULTS.iter().all(|fault| !fault.modes.is_empty() && !fault.hold(true).is_zero()));
        assert_eq!(Fault::named("partition").count(), 5);
    }
}
