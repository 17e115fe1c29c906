//! Faults of the data in Redis.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::trial_setup::TrialSetup;

/// Everything is deleted.
pub async fn flushed(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    delete(setup, hold, &["FLUSHALL"]).await
}

/// The numbering is deleted.
pub async fn state_deleted(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    delete(setup, hold, &["DEL", "fantail-log:{0}"]).await
}

/// The tops of the channels are deleted.
pub async fn tops_deleted(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    delete(setup, hold, &["DEL", "fantail-tops:{0}"]).await
}

/// The events of one channel are deleted.
pub async fn stream_deleted(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    delete(setup, hold, &["DEL", "fantail-stream:{0}:busy/0"]).await
}

/// Deletes, and does so a second time when new data has come.
async fn delete(setup: &mut TrialSetup, hold: Duration, command: &[&str]) -> Result<()> {
    for _ in 0..2 {
        let reply = setup.ask(command).await?;
        setup.remarks.push(format!("{}: {}", command.join(" "), reply.text().unwrap_or_default()));
        sleep(hold).await;
    }
    Ok(())
}

/// All keys go back to an earlier state, twice, while Redis goes on.
pub async fn set_back(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let keep = "for _, key in ipairs(redis.call('KEYS', 'fantail-*')) do \
        redis.call('COPY', key, key, 'DB', 1, 'REPLACE') end";
    for _ in 0..2 {
        setup.ask(&["EVAL", keep, "0"]).await?;
        sleep(hold).await;
        setup.ask(&["SWAPDB", "0", "1"]).await?;
        sleep(hold).await;
    }
    Ok(())
}
