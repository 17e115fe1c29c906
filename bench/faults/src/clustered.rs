//! A Redis Cluster of a trial, and the nodes that a fault is about.

use anyhow::{Context, Result, bail};
use fantail_testkit::RedisCluster;

use crate::lane::key_of;
use crate::mode::Mode;

/// A Cluster with one lane that is hit.
#[derive(Debug)]
pub struct Clustered {
    /// Its nodes.
    pub servers: RedisCluster,
    /// The slot of the lane that is hit.
    pub slot: u16,
    /// The master of that slot at the beginning.
    pub owner: usize,
    /// The owner's replica.
    pub replica: usize,
    /// The other lanes. Nothing may be missing there.
    pub spared: &'static [&'static str],
}

impl Clustered {
    /// Starts one, with each lane at another master.
    pub async fn start(mode: Mode) -> Result<Self> {
        let (hit, spared) = mode.lanes().split_last().context("every mode has a lane")?;
        let key = key_of(hit);
        let (servers, owner, replica) = RedisCluster::start_with_replica_for(&key).await?;
        let slot = servers.slot_of(&key).await?;
        for lane in spared {
            let other = servers.owner_of(servers.slot_of(&key_of(lane)).await?).await?;
            if other == owner {
                bail!("the lanes {lane} and {hit} are at the same master");
            }
        }
        if !spared.is_empty() {
            // By default all masters refuse everything while one slot has no master.
            for server in servers.nodes() {
                crate::trial_setup::ask(server, &["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await?;
            }
        }
        Ok(Self { servers, slot, owner, replica, spared })
    }

    /// A master that is not the owner.
    pub const fn other(&self) -> usize {
        (self.owner + 1) % 3
    }
}
