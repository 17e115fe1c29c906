//! A real Redis Cluster of three masters, each with a third of the slots, and of the replicas that a test adds.
//!
//! It is made with our own commands: no other program is needed, and each step is waited for.

use std::time::Duration;

use crate::{
    PATIENCE,
    error::{Error, Result, within},
    port::free_port,
    redis_server::RedisServer,
    resp::Reply,
};

const SLOTS: u16 = 16_384;
const MASTERS: u16 = 3;
const STARTS_MAX: usize = 10;
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Nodes that know each other; killed on drop.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts one and waits until every node has seen all slots served.
    pub async fn start() -> Result<Self> {
        let mut nodes = Vec::new();
        for _ in 0..MASTERS {
            nodes.push(start_node().await?);
        }
        let cluster = Self { nodes };
        cluster.join().await?;
        Ok(cluster)
    }

    /// Starts one in which the master of `key` has a replica, and returns their places among the nodes.
    pub async fn start_with_replica_for(key: &str) -> Result<(Self, usize, usize)> {
        let mut cluster = Self::start().await?;
        let master = cluster.owner_of(cluster.slot_of(key).await?).await?;
        let replica = cluster.add_replica(master).await?;
        Ok((cluster, master, replica))
    }

    /// Its nodes. Node `n` of the masters begins with the `n`-th third of the slots; replicas stand behind.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// One of them, to be killed or started again.
    pub fn node(&mut self, node: usize) -> &mut RedisServer {
        &mut self.nodes[node]
    }

    /// Their addresses as an operator would list them.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.addr().to_string()).collect()
    }

    /// The slot of a key, as Redis computes it.
    pub async fn slot_of(&self, key: &str) -> Result<u16> {
        let reply = self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).await?;
        let slot = reply.integer().and_then(|slot| slot.try_into().ok());
        slot.ok_or_else(|| Error::Protocol(format!("redis answered CLUSTER KEYSLOT with {reply:?}")))
    }

    /// The node that itself claims to be the master of a slot.
    pub async fn owner_of(&self, slot: u16) -> Result<usize> {
        for (at, node) in self.nodes.iter().enumerate() {
            // A killed node owns nothing.
            let Ok(map) = map(node).await else { continue };
            if map.lines().any(|line| line.contains("myself,master") && serves(line, slot)) {
                return Ok(at);
            }
        }
        Err(Error::Protocol(format!("no node owns slot {slot}")))
    }

    /// Adds a replica of a master and waits until it has a copy and all nodes know it.
    pub async fn add_replica(&mut self, master: usize) -> Result<usize> {
        done(&self.nodes[master], &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await?;
        let replica = start_node().await?;
        for other in &self.nodes {
            meet(other, &replica).await?;
        }
        self.nodes.push(replica);
        let (at, master) = (self.nodes.len() - 1, id(&self.nodes[master]).await?);
        self.wait_until_all_know_all().await?;
        done(&self.nodes[at], &["CLUSTER", "REPLICATE", &master]).await?;
        self.nodes[at].wait_for_info("replication", "master_link_status:up").await?;
        let line = format!("slave {master}");
        self.wait_until_maps("the new replica", |map| map.contains(&line)).await?;
        Ok(at)
    }

    /// Makes a replica the master: with its master's help, or without it by `FORCE` or `TAKEOVER`. Waits until it is.
    pub async fn failover(&self, replica: usize, how: &[&str]) -> Result<()> {
        done(&self.nodes[replica], &[&["CLUSTER", "FAILOVER"], how].concat()).await?;
        self.nodes[replica].wait_for_info("replication", "role:master").await
    }

    /// Lets a node hear no other for a minute: it goes on alone, for the clients that still reach it.
    pub async fn cut_off(&self, node: usize) -> Result<()> {
        done(&self.nodes[node], &["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await?;
        for (at, other) in self.nodes.iter().enumerate() {
            if at != node {
                done(&self.nodes[node], &["CLUSTER", "FORGET", &id(other).await?]).await?;
            }
        }
        Ok(())
    }

    /// Waits until a node itself claims to be the master of a slot, and serves it.
    pub async fn wait_for_owner(&self, slot: u16, node: usize) -> Result<()> {
        within(PATIENCE, &format!("node {node} as the master of slot {slot}"), async {
            loop {
                let is_owner = map(&self.nodes[node])
                    .await?
                    .lines()
                    .any(|line| line.contains("myself,master") && serves(line, slot));
                if is_owner && holds(&self.nodes[node], "cluster_state:ok").await? {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        })
        .await
    }

    /// Moves a slot with all its keys from one node to another, as an operator's tool does.
    pub async fn move_slot(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        self.begin_move(slot, from, to).await?;
        loop {
            let keys = self.keys_in(slot, from).await?;
            if keys.is_empty() {
                break;
            }
            for key in &keys {
                self.move_key(key, from, to).await?;
            }
        }
        self.end_move(slot, from, to).await
    }

    /// Opens a slot at both ends of its move. Its keys are still at the source.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        let (source_id, target_id) = (id(&self.nodes[from]).await?, id(&self.nodes[to]).await?);
        let slot = slot.to_string();
        done(&self.nodes[to], &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]).await?;
        done(&self.nodes[from], &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]).await
    }

    /// Some of the keys that a node holds in a slot.
    pub async fn keys_in(&self, slot: u16, node: usize) -> Result<Vec<String>> {
        let keys = self.nodes[node].command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "100"]).await?;
        Ok(keys.array().unwrap_or_default().iter().filter_map(Reply::text).collect())
    }

    /// Moves one key of an open slot. A key that is gone meanwhile needs no move.
    pub async fn move_key(&self, key: &str, from: usize, to: usize) -> Result<()> {
        let port = self.nodes[to].addr().port().to_string();
        done(&self.nodes[from], &["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await
    }

    /// Tells both nodes that the slot has arrived, the target first, so that some node serves it at all times. Waits
    /// until they have told all others.
    pub async fn end_move(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        let target_id = id(&self.nodes[to]).await?;
        for node in [to, from] {
            done(&self.nodes[node], &["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &target_id]).await?;
        }
        // Another move before every node knows this one and its epoch could leave the slot without an owner.
        let epoch = epoch_in(&map(&self.nodes[to]).await?, &target_id);
        self.wait_until_maps("that the slot has moved", |map| {
            let knows = map.lines().any(|line| line.starts_with(&target_id) && serves(line, slot));
            knows && epoch_in(map, &target_id) == epoch
        })
        .await
    }

    async fn join(&self) -> Result<()> {
        for (node, first) in self.nodes.iter().zip((0..SLOTS).step_by(usize::from(SLOTS.div_ceil(MASTERS)))) {
            let last = (first + SLOTS.div_ceil(MASTERS)).min(SLOTS) - 1;
            let slots: Vec<_> = (first..=last).map(|slot| slot.to_string()).collect();
            let slots = slots.iter().map(String::as_str);
            done(node, &["CLUSTER", "ADDSLOTS"].into_iter().chain(slots).collect::<Vec<_>>()).await?;
            for other in &self.nodes {
                meet(other, node).await?;
            }
        }
        self.wait_until_all_know_all().await
    }

    async fn wait_until_all_know_all(&self) -> Result<()> {
        for node in &self.nodes {
            within(PATIENCE, "a cluster in which all nodes know all nodes and slots", async {
                while !knows(node, self.nodes.len()).await? {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until the map of each node passes a test.
    async fn wait_until_maps(&self, tell: &str, it: impl Fn(&str) -> bool) -> Result<()> {
        for node in &self.nodes {
            within(PATIENCE, &format!("a cluster in which all nodes know {tell}"), async {
                while !it(&map(node).await?) {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// The port of the bus is chosen apart where that is possible: by default it is ten thousand higher, and may be taken.
async fn start_node() -> Result<RedisServer> {
    let mut starts = 1;
    loop {
        let bus_port = free_port()?.to_string();
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus_port];
        // Before Redis 7 it could not.
        let known = if starts % 2 == 1 { arguments.len() } else { arguments.len() - 2 };
        match RedisServer::start_with(&arguments[..known]).await {
            Err(_) if starts < STARTS_MAX => starts += 1,
            result => return result,
        }
    }
}

async fn meet(node: &RedisServer, other: &RedisServer) -> Result<()> {
    let (port, bus_port) = (other.addr().port().to_string(), bus_port(other).await?);
    done(node, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]).await
}

async fn bus_port(node: &RedisServer) -> Result<String> {
    let reply = node.command(&["CONFIG", "GET", "cluster-port"]).await?;
    let port = reply.array().and_then(|pair| pair.get(1)).and_then(Reply::text);
    Ok(port.filter(|port| port != "0").unwrap_or_else(|| (u32::from(node.addr().port()) + 10_000).to_string()))
}

async fn map(node: &RedisServer) -> Result<String> {
    let reply = node.command(&["CLUSTER", "NODES"]).await?;
    reply.text().ok_or_else(|| Error::Protocol(format!("redis answered CLUSTER NODES with {reply:?}")))
}

/// The epoch of a node's configuration, as the map has it.
fn epoch_in(map: &str, id: &str) -> Option<u64> {
    map.lines().find(|line| line.starts_with(id))?.split(' ').nth(6)?.parse().ok()
}

/// Whether a line of the map names a slot as the node's own.
fn serves(line: &str, slot: u16) -> bool {
    line.split(' ').skip(8).any(|slots| {
        let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
        first.parse().is_ok_and(|first: u16| first <= slot) && last.parse().is_ok_and(|last: u16| slot <= last)
    })
}

async fn holds(node: &RedisServer, line: &str) -> Result<bool> {
    let info = node.command(&["CLUSTER", "INFO"]).await?.text().unwrap_or_default();
    Ok(info.lines().any(|found| found == line))
}

async fn knows(node: &RedisServer, count: usize) -> Result<bool> {
    let connected = map(node).await?.lines().filter(|line| line.contains(" connected")).count();
    Ok(connected == count
        && holds(node, "cluster_state:ok").await?
        && holds(node, &format!("cluster_known_nodes:{count}")).await?
        && holds(node, &format!("cluster_size:{MASTERS}")).await?)
}

async fn id(node: &RedisServer) -> Result<String> {
    let reply = node.command(&["CLUSTER", "MYID"]).await?;
    reply.text().ok_or_else(|| Error::Protocol(format!("redis answered CLUSTER MYID with {reply:?}")))
}

async fn done(node: &RedisServer, command: &[&str]) -> Result<()> {
    match node.command(command).await? {
        Reply::Simple(_) => Ok(()),
        other => Err(Error::Protocol(format!("redis answered {command:?} with {other:?}"))),
    }
}
