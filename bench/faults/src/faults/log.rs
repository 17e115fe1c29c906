//! What goes wrong with what Redis keeps.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::stage::Stage;

/// Everything is deleted.
pub async fn flushed(stage: &mut Stage, hold: Duration) -> Result<()> {
    delete(stage, hold, &["FLUSHALL"]).await
}

/// The numbering is deleted.
pub async fn state_deleted(stage: &mut Stage, hold: Duration) -> Result<()> {
    delete(stage, hold, &["DEL", "fantail-log:{0}"]).await
}

/// What is known of channels is deleted.
pub async fn tops_deleted(stage: &mut Stage, hold: Duration) -> Result<()> {
    delete(stage, hold, &["DEL", "fantail-tops:{0}"]).await
}

/// The events of one channel are deleted.
pub async fn stream_deleted(stage: &mut Stage, hold: Duration) -> Result<()> {
    delete(stage, hold, &["DEL", "fantail-stream:{0}:busy/0"]).await
}

/// Deletes, and a second time under what came anew meanwhile.
async fn delete(stage: &mut Stage, hold: Duration, command: &[&str]) -> Result<()> {
    for _ in 0..2 {
        let reply = stage.ask(command).await?;
        stage.remarks.push(format!("{}: {}", command.join(" "), reply.text().unwrap_or_default()));
        sleep(hold).await;
    }
    Ok(())
}

/// All keys go back to what they were, twice, under a Redis that goes on.
pub async fn set_back(stage: &mut Stage, hold: Duration) -> Result<()> {
    let keep = "for _, key in ipairs(redis.call('KEYS', 'fantail-*')) do \
        redis.call('COPY', key, key, 'DB', 1, 'REPLACE') end";
    for _ in 0..2 {
        stage.ask(&["EVAL", keep, "0"]).await?;
        sleep(hold).await;
        stage.ask(&["SWAPDB", "0", "1"]).await?;
        sleep(hold).await;
    }
    Ok(())
}
