//! Faults in a Redis Cluster: the master of a lane's slot dies or is frozen, or the slot moves.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fantail_testkit::RedisServer;
use tokio::time::{Instant, sleep};

use crate::clustered::Clustered;
use crate::recovery;
use crate::trial_setup::{TrialSetup, ask, info, wait_until_linked};
use crate::trial_state::{Part, TrialState};
use fantail_testkit::TrialPublisher;
use fantail_testkit::trial::Way;

/// Every way of publishing to the lanes without a fault.
const WAYS: [Way; 3] = [Way::Node(0), Way::Node(1), Way::Broker];
const SMALL: usize = 64;
const SPARED_INTERVAL: Duration = Duration::from_millis(20);

/// Kills the slot's master after its replica has heard nothing of it for a while. The Cluster makes the replica the
/// master all the same, and the killed one comes back as its replica.
pub async fn failover(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let (state, cluster) = cluster_of(setup)?;
    state.spare(cluster.spared);
    let [owner, replica] = [cluster.owner, cluster.replica].map(|at| &cluster.servers.nodes()[at]);
    replica.stop_signal()?;
    // Bytes that are on their way to it would still be read.
    ask(owner, &["CLIENT", "KILL", "TYPE", "replica"]).await?;
    let from = written(owner).await?;
    sleep(hold).await;
    let unheard = written(owner).await? - from;
    cluster.servers.node(cluster.owner).kill();
    cluster.servers.nodes()[cluster.replica].cont()?;
    setup.remarks.push(format!("the replica lacked {unheard} bytes"));
    replaced(setup).await?;
    let (_, cluster) = cluster_of(setup)?;
    let owner = cluster.servers.node(cluster.owner);
    owner.restart().await?;
    wait_until_linked(owner).await
}

/// Freezes the slot's master until long after the Cluster has made its replica the master, and lets it go on.
pub async fn owner_frozen(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let (state, cluster) = cluster_of(setup)?;
    state.spare(cluster.spared);
    cluster.servers.nodes()[cluster.owner].stop_signal()?;
    replaced(setup).await?;
    sleep(hold).await;
    let (_, cluster) = cluster_of(setup)?;
    let owner = &cluster.servers.nodes()[cluster.owner];
    owner.cont()?;
    wait_until_linked(owner).await
}

/// Moves the slot with all its keys to another master.
pub async fn slot_moved(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    move_slot(setup, hold, 1).await
}

/// Moves the slot there and back, and once more.
pub async fn slot_back_and_forth(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    move_slot(setup, hold, 4).await
}

async fn move_slot(setup: &mut TrialSetup, hold: Duration, times: usize) -> Result<()> {
    let (state, cluster) = cluster_of(setup)?;
    state.spare(cluster.spared);
    let mut ends = [cluster.owner, cluster.other()];
    for _ in 0..times {
        sleep(hold).await;
        cluster.servers.move_slot(cluster.slot, ends[0], ends[1]).await?;
        ends.swap(0, 1);
    }
    Ok(())
}

/// Waits until the replica is the master, and then until all channels deliver. A later healing is measured again.
async fn replaced(setup: &mut TrialSetup) -> Result<()> {
    let (state, cluster) = cluster_of(setup)?;
    let accepted = until_replaced(state, cluster).await?;
    let mut publisher = TrialPublisher::new(state, state.random(Part::Fault, 2));
    let all = recovery::measure(state, &mut publisher, Instant::now()).await.all;
    let all = all.map(|all| format!("all channels {:.2} s after the replica was the master", all.as_secs_f64()));
    setup.remarks.extend(accepted.into_iter().chain(all));
    Ok(())
}

/// Waits until the replica is the master. Meanwhile every event for another lane must be accepted. Returns their
/// number.
async fn until_replaced(state: &Arc<TrialState>, cluster: &Clustered) -> Result<Option<String>> {
    let mut accepted = 0;
    let publish = async {
        if cluster.spared.is_empty() {
            return std::future::pending().await;
        }
        let mut publisher = TrialPublisher::new(state, state.random(Part::Fault, 0));
        let mut random = state.random(Part::Fault, 1);
        let spared = &state.channel_sets[..cluster.spared.len()];
        loop {
            for (channel_set, way) in spared.iter().flat_map(|channel_set| WAYS.map(|way| (channel_set, way))) {
                let channels = channel_set.choose_for_event(&mut random);
                if publisher.publish(way, &channels, SMALL).await {
                    accepted += 1;
                } else {
                    state
                        .trial
                        .offence(format!("an event for {channels:?} was refused while another lane had no master"));
                }
            }
            sleep(SPARED_INTERVAL).await;
        }
    };
    tokio::select! {
        replaced = cluster.servers.wait_for_owner(cluster.slot, cluster.replica) => replaced?,
        () = publish => {}
    }
    let told = || format!("{accepted} events for other lanes accepted while the slot had no master");
    Ok((!cluster.spared.is_empty()).then(told))
}

/// The bytes that a master has written for its replicas, whether or not one hears them.
async fn written(master: &RedisServer) -> Result<u64> {
    let replication = info(master, "replication").await?;
    let offset = replication.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
    Ok(offset.context("redis tells no offset")?.parse()?)
}

fn cluster_of(setup: &mut TrialSetup) -> Result<(&Arc<TrialState>, &mut Clustered)> {
    Ok((&setup.state, setup.cluster.as_mut().context("there is a cluster")?))
}
