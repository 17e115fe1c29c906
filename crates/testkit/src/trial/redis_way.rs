//! The publishers' way to Redis: to the one server, or to the node of a Cluster that takes the event.
//!
//! On a Cluster it works like every Cluster client: it asks any node, follows `MOVED` and `ASK`, and asks again while
//! the slot is on its way. It sends an event again only if it knows that the event was refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use crate::resp::{Reply, RespConnection};

/// The pause between two tries while no server takes the event.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Refusals that pass: the slot is on its way, nobody has it, its data is loading, or no Fantail node has been there
/// yet.
const PASSING: [&str; 4] = ["TRYAGAIN ", "CLUSTERDOWN ", "LOADING ", "ERR Function not found"];

/// Connections, made when they are needed.
#[derive(Debug)]
pub(super) struct RedisWay {
    /// The one server, or all nodes of the Cluster.
    servers: Vec<SocketAddr>,
    /// The server that is asked when nothing better is known.
    asked: usize,
    /// The last known place of a key's slot.
    owners: BTreeMap<String, SocketAddr>,
    connections: BTreeMap<SocketAddr, RespConnection>,
}

/// A Cluster's refusal.
#[derive(Debug, PartialEq, Eq)]
enum Redirection {
    Moved(SocketAddr),
    Ask(SocketAddr),
    Later,
}

impl RedisWay {
    /// To these servers. A single one is no Cluster.
    pub(super) const fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, asked: 0, owners: BTreeMap::new(), connections: BTreeMap::new() }
    }

    /// Connects ahead of the first call.
    pub(super) async fn prepare(&mut self) -> Result<()> {
        self.connection(self.next_server()?).await.map(drop)
    }

    /// The reply to a command that is for the slot of `key`. It asks a Cluster without a bound on time: the caller has
    /// one.
    pub(super) async fn call(&mut self, key: &str, words: &[String]) -> Result<Reply> {
        let mut asking = None;
        loop {
            let owner = self.owners.get(key).copied();
            let at = asking.or(owner).map_or_else(|| self.next_server(), Ok)?;
            if self.servers.len() > 1 && self.connection(at).await.is_err() {
                // Nothing was sent to it.
                self.look_elsewhere(key);
                asking = None;
                sleep(RETRY_PAUSE).await;
                continue;
            }
            let reply = self.call_at(at, asking.is_some(), words).await?;
            match redirection(&reply) {
                None => return Ok(reply),
                Some(_) if self.servers.len() == 1 => return Ok(reply),
                Some(Redirection::Moved(addr)) => {
                    self.owners.insert(key.to_owned(), addr);
                    asking = None;
                }
                Some(Redirection::Ask(addr)) => asking = Some(addr),
                Some(Redirection::Later) => {
                    asking = None;
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Drops all connections: an answer may still be outstanding on one. Another server is asked next.
    pub(super) fn forget(&mut self) {
        self.connections.clear();
        self.owners.clear();
        self.asked += 1;
    }

    fn look_elsewhere(&mut self, key: &str) {
        self.owners.remove(key);
        self.asked += 1;
    }

    fn next_server(&self) -> Result<SocketAddr> {
        let at = self.asked.checked_rem(self.servers.len()).context("there is no redis to publish to")?;
        Ok(self.servers[at])
    }

    async fn call_at(&mut self, at: SocketAddr, is_asking: bool, words: &[String]) -> Result<Reply> {
        let connection = self.connection(at).await?;
        if is_asking {
            connection.command(&["ASKING"]).await?;
        }
        Ok(connection.command(words).await?)
    }

    async fn connection(&mut self, at: SocketAddr) -> Result<&mut RespConnection> {
        use std::collections::btree_map::Entry;
        Ok(match self.connections.entry(at) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(RespConnection::connect(at).await?),
        })
    }
}

fn redirection(reply: &Reply) -> Option<Redirection> {
    let Reply::Error(error) = reply else { return None };
    let addr = || error.rsplit(' ').next()?.parse().ok();
    if error.starts_with("MOVED ") {
        addr().map(Redirection::Moved)
    } else if error.starts_with("ASK ") {
        addr().map(Redirection::Ask)
    } else {
        PASSING.iter().any(|beginning| error.starts_with(beginning)).then_some(Redirection::Later)
    }
}

#[cfg(test)]
mod tests {
    use crate::RedisCluster;

    use super::*;

    #[test]
    fn a_refusal_of_a_cluster_tells_where_to_go_or_to_wait() {
        let told = |error: &str| redirection(&Reply::Error(error.into()));
        let addr = SocketAddr::from(([127, 0, 0, 1], 7001));
        assert_eq!(told("MOVED 13907 127.0.0.1:7001"), Some(Redirection::Moved(addr)));
        assert_eq!(told("ASK 13907 127.0.0.1:7001"), Some(Redirection::Ask(addr)));
        assert_eq!(told("CLUSTERDOWN Hash slot not served"), Some(Redirection::Later));
        assert_eq!(told("ERR fantail: no"), None);
        assert_eq!(redirection(&Reply::Integer(1)), None);
    }

    #[tokio::test]
    #[allow(clippy::unwrap_used)] // a failed unwrap is the failed test
    async fn a_slot_is_found_from_every_node_of_a_cluster_on_its_way_and_where_it_has_moved() {
        let mut cluster = RedisCluster::start().await.unwrap();
        let slot = cluster.slot_of("key").await.unwrap();
        let (owner, other) = (cluster.owner_of(slot).await.unwrap(), 1);
        let other = if other == owner { 2 } else { other };
        let addrs: Vec<_> = cluster.nodes().iter().map(crate::RedisServer::addr).collect();
        let mut ways: Vec<_> = (0..3).map(|at| RedisWay { asked: at, ..RedisWay::new(addrs.clone()) }).collect();
        let mut count = 0;
        let words = ["INCR", "key"].map(ToOwned::to_owned);
        let mut call_by_all = async || {
            for way in &mut ways {
                count += 1;
                assert_eq!(way.call("key", &words).await.unwrap(), Reply::Integer(count));
            }
        };
        call_by_all().await;
        cluster.begin_move(slot, owner, other).await.unwrap();
        cluster.move_key("key", owner, other).await.unwrap();
        call_by_all().await;
        cluster.end_move(slot, owner, other).await.unwrap();
        call_by_all().await;
        let unasked = 3 - owner - other;
        cluster.node(unasked).kill();
        let mut lost = RedisWay { asked: unasked, ..RedisWay::new(addrs) };
        assert_eq!(lost.call("key", &words).await.unwrap(), Reply::Integer(10));
    }
}
