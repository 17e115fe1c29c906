//! Faults between the nodes and their broker.

use std::time::Duration;

use anyhow::Result;
use fantail_testkit::proxy::Cut;
use fantail_testkit::{Direction, FaultProxy};
use tokio::time::sleep;

use crate::trial_node::TrialNode;
use crate::trial_setup::TrialSetup;

/// No byte of the first node reaches the broker.
pub async fn partition_to_broker(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    partition(setup, hold, &[0], &[Direction::ToTarget]).await
}

/// No byte of the broker reaches the first node.
pub async fn partition_from_broker(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    partition(setup, hold, &[0], &[Direction::FromTarget]).await
}

/// No byte passes between either node and the broker.
pub async fn partition_both_ways(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    partition(setup, hold, &[0, 1], &[Direction::ToTarget, Direction::FromTarget]).await
}

/// Bytes wait, as they do in the kernel of a sender behind a partition. They go through at the healing if the
/// connection was not given up.
async fn partition(setup: &TrialSetup, hold: Duration, nodes: &[usize], directions: &[Direction]) -> Result<()> {
    for node in nodes {
        for direction in directions {
            setup.to_broker[*node].pause_direction(*direction);
        }
    }
    sleep(hold).await;
    setup.to_broker.iter().for_each(FaultProxy::resume);
    Ok(())
}

/// Cuts all connections and refuses new ones.
pub async fn connections_cut(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    cut_and_refuse(setup).await?;
    sleep(hold).await;
    accept(setup).await
}

/// No node has a way to the broker from here on.
pub(super) async fn cut_and_refuse(setup: &TrialSetup) -> Result<()> {
    for (proxy, how) in setup.to_broker.iter().zip([Cut::Reset, Cut::Fin]) {
        proxy.refuse().await?;
        proxy.cut(how).await?;
    }
    Ok(())
}

/// Nodes may connect again.
pub(super) async fn accept(setup: &TrialSetup) -> Result<()> {
    for proxy in &setup.to_broker {
        proxy.accept().await?;
    }
    Ok(())
}

/// Bytes that no Redis sends, or not here, each in front of bytes that it does send.
const NONSENSE: [&[u8]; 12] = [
    b"\r\n",
    b"what?\r\n",
    b"$-2\r\n",
    b"$99999999999999999999\r\n",
    b"*-7\r\n",
    b"*1000000000\r\n",
    b">1000000000\r\n",
    b">3\r\n$7\r\nmessage\r\n$3\r\nabc\r\n:1\r\n",
    b">3\r\n$9\r\nsubscribe\r\n$14\r\nfantail:busy/0\r\n:1\r\n",
    b":1\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x00\xff\xfe\r\n",
];

/// Sends one piece of nonsense after the other, half of them to each node, and each to a sound connection.
pub async fn malformed(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let each = hold / NONSENSE.len() as u32;
    let (first, second) = NONSENSE.split_at(NONSENSE.len() / 2);
    let talk = |node: usize, pieces| talk_nonsense(&setup.nodes[node], &setup.to_broker[node], pieces, each);
    let (first, second) = tokio::try_join!(talk(0, first), talk(1, second))?;
    setup.remarks.push(format!("{} of {} pieces of nonsense ended a connection", first + second, NONSENSE.len()));
    remark_memory(setup)
}

/// The number of pieces because of which a node closed its connection.
async fn talk_nonsense(
    node: &TrialNode,
    proxy: &FaultProxy,
    pieces: &[&'static [u8]],
    each: Duration,
) -> Result<usize> {
    let mut ended = 0;
    for nonsense in pieces {
        node.wait_until_ready().await?;
        proxy.forge(*nonsense);
        ended += usize::from(node.loses_redis_within(each).await);
        proxy.pass();
    }
    Ok(ended)
}

/// Lines, strings, lists and messages that never end, at full speed.
pub async fn endless(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let message = b">3\r\n$7\r\nmessage\r\n$14\r\nfantail:nobody\r\n$1\r\nx\r\n";
    let pieces: [Vec<u8>; 4] = [
        vec![b'+'; 64 << 10],
        [b"$536870912\r\n".as_slice(), &vec![b'x'; 1 << 20]].concat(),
        b"*1\r\n".repeat(16 << 10),
        message.repeat(1_000),
    ];
    for piece in pieces {
        setup.nodes[0].wait_until_ready().await?;
        setup.to_broker[0].forge_endlessly(piece);
        sleep(hold / 4).await;
        remark_memory(setup)?;
        end_forgery(&setup.to_broker[0]).await?;
    }
    Ok(())
}

/// Bytes of Redis must not follow forged ones on a connection: a node could take the two for one message. So those
/// connections are cut first, and new ones come when the forging is over.
async fn end_forgery(proxy: &FaultProxy) -> Result<()> {
    proxy.refuse().await?;
    proxy.cut(Cut::Reset).await?;
    proxy.pass();
    Ok(proxy.accept().await?)
}

fn remark_memory(setup: &mut TrialSetup) -> Result<()> {
    let (now, most) = setup.nodes[0].resident_bytes()?;
    setup.remarks.push(format!("the node holds {} MiB, at most {}", now >> 20, most >> 20));
    Ok(())
}
