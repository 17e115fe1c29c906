//! Faults of Fantail itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fantail_testkit::Signal;
use tokio::time::{Instant, sleep};

use crate::trial_setup::TrialSetup;
use crate::trial_state::{Part, TrialState};
use fantail_testkit::TrialPublisher;
use fantail_testkit::trial::Way;

const LARGE_BYTES: usize = 100_000;
const LARGE_PAUSE: Duration = Duration::from_millis(30);

/// Kills one node.
pub async fn killed(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.nodes[1].kill();
    sleep(hold).await;
    setup.heal();
    setup.nodes[1].restart().await
}

/// Kills both.
pub async fn both_killed(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.nodes.iter_mut().for_each(crate::trial_node::TrialNode::kill);
    sleep(hold).await;
    setup.heal();
    for node in &mut setup.nodes {
        node.restart().await?;
    }
    Ok(())
}

/// Kills one node or the other at moments of the seed's choice while all streams are full of large frames.
pub async fn killed_mid_frame(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let until = Instant::now() + hold;
    let flood = tokio::spawn(flood(Arc::clone(&setup.state), until));
    let mut random = setup.state.random(Part::Fault, 0);
    let mut kills = 0;
    while Instant::now() < until {
        sleep(Duration::from_millis(100 + random.below(600))).await;
        let node = &mut setup.nodes[random.below(2) as usize];
        node.kill();
        node.restart().await?;
        kills += 1;
    }
    setup.heal();
    setup.remarks.push(format!("{kills} kills"));
    Ok(flood.await?)
}

async fn flood(state: Arc<TrialState>, until: Instant) {
    let mut publisher = TrialPublisher::new(&state, state.random(Part::Fault, 1));
    while Instant::now() < until {
        publisher.publish(Way::Broker, &["busy/0"], LARGE_BYTES).await;
        sleep(LARGE_PAUSE).await;
    }
}

/// The longest time, in milliseconds, that a node is away or frozen, and the longest until the next fault.
const AWAY_MS_MAX: u64 = 1_500;
const FROZEN_MS_MAX: u64 = 4_000;
const BETWEEN_MS_MAX: u64 = 1_000;

/// Kills, drains or freezes one node or the other, each as the seed chooses, over and over.
pub async fn in_turn(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let until = Instant::now() + hold;
    let mut random = setup.state.random(Part::Fault, 0);
    let mut counts = [0; 3];
    while Instant::now() < until {
        let node = &mut setup.nodes[random.below(2) as usize];
        let how = random.below(3) as usize;
        counts[how] += 1;
        match how {
            0 => node.kill(),
            1 => node.drain().await?,
            _ => node.signal(Signal::STOP)?,
        }
        if how == 2 {
            sleep(Duration::from_millis(random.below(FROZEN_MS_MAX))).await;
            node.signal(Signal::CONT)?;
        } else {
            sleep(Duration::from_millis(random.below(AWAY_MS_MAX))).await;
            node.restart().await?;
        }
        node.wait_until_ready().await?;
        sleep(Duration::from_millis(random.below(BETWEEN_MS_MAX))).await;
    }
    setup.heal();
    let [kills, drains, freezes] = counts;
    setup.remarks.push(format!("{kills} kills, {drains} drains, {freezes} freezes"));
    Ok(())
}

/// Freezes one node.
pub async fn stopped(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.nodes[1].signal(Signal::STOP)?;
    sleep(hold).await;
    setup.nodes[1].signal(Signal::CONT)
}

/// Ends one node as an operator would.
pub async fn drained(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let began = Instant::now();
    setup.nodes[1].drain().await?;
    setup.remarks.push(format!("the drain took {:.1} s", began.elapsed().as_secs_f64()));
    sleep(hold).await;
    setup.heal();
    setup.nodes[1].restart().await
}
