//! A node is killed (SIGKILL) when a client has got so many bytes of a response, for every byte of the head, the
//! opening and the first event. The client has seen whole events only, goes on at another node with its last id and
//! misses none. The node comes back without its memory.
//!
//! Bytes that the kernel has taken from a dying process arrive all the same, so a proxy holds the rest back.

use std::path::Path;

use anyhow::{Context, Result};
use fantail_testkit::FaultProxy;
use fantail_testkit::proxy::Cut;
use tokio::task::JoinSet;

use crate::at_every_byte::{CutResults, Form, PublishedResponse};
use crate::mode::Mode;
use crate::quiet_setup::QuietSetup;

/// The number of clients at a time, each with nodes and a broker of its own, and every so many bytes.
const ACTORS: u64 = 4;

/// Kills at every byte, in a mode with a log: other ids are of no use on another node.
pub async fn run(fantail: &Path, mode: Mode, seed: u64) -> Result<Vec<CutResults>> {
    let mut actors = JoinSet::new();
    for number in 0..ACTORS {
        let fantail = fantail.to_owned();
        actors.spawn(async move { kill_everywhere(&fantail, mode, number, seed).await });
    }
    actors.join_all().await.into_iter().collect()
}

/// Every so many bytes, up to where the first event comes whole.
async fn kill_everywhere(fantail: &Path, mode: Mode, number: u64, seed: u64) -> Result<CutResults> {
    let mut setup = QuietSetup::start(fantail, mode, &[]).await?;
    let (response, follower) = PublishedResponse::publish(&setup, seed).await?;
    drop(follower);
    let proxy = FaultProxy::start(setup.nodes[0].public())?;
    let mut cuts = 0;
    loop {
        let bytes = number + cuts * ACTORS;
        proxy.cut_after(bytes, Cut::Reset);
        let begun = response.begin(proxy.addr(), format!("killed behind byte {bytes}"), &Form::Http11).await?;
        setup.nodes[0].kill();
        let came = begun.came;
        begun.go_on().await.with_context(|| format!("after the node was killed behind byte {bytes}"))?;
        cuts += 1;
        if came > 0 {
            return Ok(CutResults { cuts, bytes, verdict: response.judge() });
        }
        setup.nodes[0].restart().await?;
        setup.nodes[0].wait_until_ready().await?;
    }
}
