//! A real Redis Cluster of three masters, each with a third of the slots.
//!
//! Made by our own commands: no other program is needed, and each step is waited for.

use std::time::Duration;

use crate::{
    PATIENCE,
    error::{Error, Result, within},
    port::free_port,
    redis_server::RedisServer,
    resp::Reply,
};

const SLOTS: u16 = 16_384;
const NODES: u16 = 3;
const STARTS_MAX: usize = 10;
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Three masters that know each other; killed on drop.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts one and waits until every node has seen all slots served.
    pub async fn start() -> Result<Self> {
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            nodes.push(start_node().await?);
        }
        let cluster = Self { nodes };
        cluster.join().await?;
        Ok(cluster)
    }

    /// Its nodes. Node `n` begins with the `n`-th third of the slots.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Moves a slot with all its keys from one node to another, as an operator's tool does.
    pub async fn move_slot(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let (source_id, target_id) = (id(source).await?, id(target).await?);
        let slot_text = slot.to_string();
        done(target, &["CLUSTER", "SETSLOT", &slot_text, "IMPORTING", &source_id]).await?;
        done(source, &["CLUSTER", "SETSLOT", &slot_text, "MIGRATING", &target_id]).await?;
        let port = target.addr().port().to_string();
        loop {
            let keys = source.command(&["CLUSTER", "GETKEYSINSLOT", &slot_text, "100"]).await?;
            let keys: Vec<_> = keys.array().unwrap_or_default().iter().filter_map(Reply::text).collect();
            if keys.is_empty() {
                break;
            }
            for key in &keys {
                done(source, &["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await?;
            }
        }
        // The target first, so that at no time nobody serves the slot.
        for node in [target, source].into_iter().chain(&self.nodes) {
            done(node, &["CLUSTER", "SETSLOT", &slot_text, "NODE", &target_id]).await?;
        }
        Ok(())
    }

    async fn join(&self) -> Result<()> {
        for (node, first) in self.nodes.iter().zip((0..SLOTS).step_by(usize::from(SLOTS.div_ceil(NODES)))) {
            let last = (first + SLOTS.div_ceil(NODES)).min(SLOTS) - 1;
            done(node, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await?;
            let (port, bus_port) = (node.addr().port().to_string(), bus_port(node).await?);
            for other in &self.nodes {
                done(other, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]).await?;
            }
        }
        for node in &self.nodes {
            within(PATIENCE, "a cluster in which every node knows all slots", async {
                while !knows_all(node).await? {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// The port of the bus is chosen apart: by default it is ten thousand higher, which may be anybody's.
async fn start_node() -> Result<RedisServer> {
    let mut starts = 1;
    loop {
        let bus_port = free_port()?.to_string();
        let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus_port, "--cluster-node-timeout", "2000"];
        match RedisServer::start_with(&arguments).await {
            Err(_) if starts < STARTS_MAX => starts += 1,
            result => return result,
        }
    }
}

async fn bus_port(node: &RedisServer) -> Result<String> {
    let reply = node.command(&["CONFIG", "GET", "cluster-port"]).await?;
    let port = reply.array().and_then(|pair| pair.get(1)).and_then(Reply::text);
    port.ok_or_else(|| Error::Protocol(format!("redis answered CONFIG GET with {reply:?}")))
}

async fn knows_all(node: &RedisServer) -> Result<bool> {
    let info = node.command(&["CLUSTER", "INFO"]).await?.text().unwrap_or_default();
    let holds = |line: &str| info.lines().any(|found| found == line);
    let links = node.command(&["CLUSTER", "NODES"]).await?.text().unwrap_or_default();
    let connected = links.lines().filter(|line| line.contains(" connected ")).count();
    Ok(holds("cluster_state:ok")
        && holds(&format!("cluster_known_nodes:{NODES}"))
        && holds(&format!("cluster_size:{NODES}"))
        && connected == usize::from(NODES))
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
