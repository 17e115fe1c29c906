//! The log on a Redis Cluster: every node finds it and follows it to other masters, and its clients get the missed
//! events or a gap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fantail_testkit::{
    Fantail, HttpConnection, Ledger, PATIENCE, Random, RedisCluster, Reply, RespConnection, SseClient, Start, Verdict,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::broker::{LOG, call, come_back, id_of, up_to, words};
use crate::node::{FANTAIL, Metrics, node, publish, subscribe, until, until_ready};

/// How long a reader waits for an event before it checks whether it has all.
const A_WHILE: Duration = Duration::from_millis(200);
const CHANNELS: [&str; 2] = ["a", "b"];

/// A node that is told of some nodes of the cluster. Waits until it is connected.
async fn seeded(seeds: &[String]) -> Fantail {
    let node = node(&["--redis-cluster-nodes", &seeds.join(","), "--redis-log"]).await;
    until_ready(&node, true).await;
    node
}

#[tokio::test]
async fn events_of_the_log_reach_every_node_of_fantail_over_a_cluster() {
    let cluster = RedisCluster::start().await.unwrap();
    let owner = cluster.owner_of(cluster.slot_of(LOG).await.unwrap()).await.unwrap();
    let other = cluster.nodes()[(owner + 1) % 3].url();
    let by_url = node(&["--redis-url", &other, "--redis-log"]).await;
    until_ready(&by_url, true).await;
    let nodes = [by_url, seeded(&cluster.addresses()).await];
    let mut streams = [subscribe(&nodes[0], "/sse/c").await, subscribe(&nodes[1], "/sse/c").await];
    publish(&nodes[0], "c", "by one node").await;
    publish(&nodes[1], "c", "by the other").await;
    let seeds = cluster.addresses().join(",");
    let mut ids = Vec::new();
    for way in [["--redis-url", &other], ["--redis-cluster-nodes", &seeds]] {
        let arguments = [&["publish", "--redis-log"][..], &way, &["c", "by the program"]].concat();
        let (status, output) = Fantail::run_to_end(FANTAIL, &arguments, &[]).await.unwrap();
        assert!(status.success(), "{output:?}");
        let receipt: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(receipt["subscribers"], 2);
        ids.push(receipt["id"].as_str().unwrap().to_owned());
    }
    let mut redis = cluster.nodes()[owner].connection().await.unwrap();
    id_of(&call(&mut redis, &json!({ "data": "by a call" }), &["c"]).await);
    let all = ["by one node", "by the other", "by the program", "by the program", "by a call"];
    for stream in &mut streams {
        assert_eq!(words(&up_to(stream, "by a call").await), all);
    }
    for node in &nodes {
        let back = up_to(&mut come_back(node, "/sse/c", &ids[0]).await, "by a call").await;
        assert_eq!(words(&back), all[3..]);
    }
}

/// A lane whose log is at another master than that of the lane 0.
async fn lane_elsewhere(cluster: &RedisCluster) -> String {
    let owner = async |key: &str| cluster.owner_of(cluster.slot_of(key).await.unwrap()).await.unwrap();
    let here = owner(LOG).await;
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        if owner(&format!("fantail-log:{{{name}}}")).await != here {
            return name.to_owned();
        }
    }
    panic!("eight names are all in the slots of one master of three");
}

/// A move of one lane's slot does not disturb the other lane.
#[tokio::test]
async fn lanes_are_each_at_the_master_that_has_their_slot_and_move_apart() {
    let cluster = RedisCluster::start().await.unwrap();
    let lane = lane_elsewhere(&cluster).await;
    let slot = cluster.slot_of(&format!("fantail-log:{{{lane}}}")).await.unwrap();
    let seeds = cluster.addresses().join(",");
    let node = node(&["--redis-cluster-nodes", &seeds, "--redis-log", "--redis-log-lanes", &lane]).await;
    let is_connected = |metrics: &Metrics| metrics.count("fantail_feed_state{state=\"connected\"}") == 1;
    until(&node, "both lanes are connected", is_connected).await;
    let moving = format!("@{lane}/c");
    let mut streams = [subscribe(&node, "/sse/c").await, subscribe(&node, &format!("/sse/{moving}")).await];
    for channel in ["c", &moving] {
        publish(&node, channel, "before").await;
    }
    let from = cluster.owner_of(slot).await.unwrap();
    cluster.move_slot(slot, from, (from + 1) % 3).await.unwrap();
    until(&node, "the move is noticed", |metrics| metrics.count("fantail_outages_total") > 0).await;
    publish(&node, "c", "meanwhile").await;
    until(&node, "both lanes are connected", is_connected).await;
    for channel in ["c", &moving] {
        publish(&node, channel, "after").await;
    }
    assert_eq!(words(&up_to(&mut streams[0], "after").await), ["before", "meanwhile", "after"]);
    let told = format!("gap {moving} term-ended");
    assert_eq!(words(&up_to(&mut streams[1], "after").await), ["before", &told, "after"]);
}

/// Publishers over HTTP and through the cluster's nodes, and readers on two nodes.
struct ClusterLoad {
    nodes: Vec<Fantail>,
    ledger: Ledger,
    is_over: Arc<AtomicBool>,
    publishers: JoinSet<()>,
    readers: JoinSet<()>,
}

impl ClusterLoad {
    async fn start(cluster: &RedisCluster) -> Self {
        let nodes = vec![seeded(&cluster.addresses()).await, seeded(&cluster.addresses()).await];
        let (ledger, is_over) = (Ledger::new(), Arc::new(AtomicBool::new(false)));
        let (mut publishers, mut readers) = (JoinSet::new(), JoinSet::new());
        for (number, node) in (0_u64..).zip(&nodes) {
            let client = SseClient::connect(node.public(), "/sse?channel=a&channel=b").await.unwrap();
            readers.spawn(read(client, ledger.clone(), number, Arc::clone(&is_over)));
        }
        for (number, node) in (0_u64..).zip(&nodes) {
            let internal = node.internal();
            publishers.spawn(publish_all(ledger.clone(), number, Arc::clone(&is_over), async move |channel, text| {
                let mut connection = HttpConnection::connect(internal).await.unwrap();
                connection.post(&format!("/publish/{channel}"), text).await.is_ok_and(|answer| answer.status == 202)
            }));
        }
        let addresses: Vec<_> = cluster.nodes().iter().map(fantail_testkit::RedisServer::addr).collect();
        publishers.spawn(publish_all(ledger.clone(), 9, Arc::clone(&is_over), async move |channel, text| {
            for addr in &addresses {
                let Ok(mut redis) = RespConnection::connect(*addr).await else { continue };
                let envelope = json!({ "data": text }).to_string();
                let reply = redis.command(&["FCALL", "fantail_publish", "1", LOG, &envelope, channel]).await;
                match reply {
                    Ok(Reply::Array(_)) => return true,
                    Ok(Reply::Error(_)) => {}
                    // It may have been accepted, so it is not sent again.
                    _ => return false,
                }
            }
            false
        }));
        Self { nodes, ledger, is_over, publishers, readers }
    }

    /// Waits until publishing works again on each node, then until every reader has the last events.
    async fn end(mut self) -> Verdict {
        for node in &self.nodes {
            until_ready(node, true).await;
        }
        self.is_over.store(true, Ordering::SeqCst);
        let all = async {
            while let Some(ended) = self.publishers.join_next().await {
                ended.unwrap();
            }
            while let Some(ended) = self.readers.join_next().await {
                ended.unwrap();
            }
        };
        tokio::time::timeout(2 * PATIENCE, all).await.expect("everyone gets to the end");
        self.ledger.judge()
    }
}

/// Publishes until the end, and then until one more event was accepted for each channel.
async fn publish_all(ledger: Ledger, number: u64, is_over: Arc<AtomicBool>, accepts: impl AsyncFn(&str, &str) -> bool) {
    let mut publisher = ledger.publisher(Random::from_seed(number));
    let mut last = 0;
    for round in 0_usize.. {
        let channel = CHANNELS[round % CHANNELS.len()];
        let event = publisher.compose(channel, 100);
        if accepts(channel, &event.text).await {
            publisher.confirm(&event);
            last += usize::from(is_over.load(Ordering::SeqCst));
        }
        if last >= 2 * CHANNELS.len() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Reads over one connection until the end and a while without events.
async fn read(mut client: SseClient, ledger: Ledger, number: u64, is_over: Arc<AtomicBool>) {
    let reader = ledger.reader(format!("reader {number}"), &CHANNELS, Start::Live(ledger.mark()));
    let mut quiet = 0;
    while quiet < 10 {
        match client.next_event(A_WHILE).await {
            Ok(event) => {
                reader.record(&event);
                quiet = 0;
            }
            Err(_) => quiet += usize::from(is_over.load(Ordering::SeqCst)),
        }
    }
    reader.stopped(ledger.mark());
}

#[tokio::test]
async fn a_slot_that_moves_under_load_loses_nothing() {
    let cluster = RedisCluster::start().await.unwrap();
    let slot = cluster.slot_of(LOG).await.unwrap();
    let load = ClusterLoad::start(&cluster).await;
    for _ in 0..3 {
        tokio::time::sleep(A_WHILE).await;
        let from = cluster.owner_of(slot).await.unwrap();
        cluster.move_slot(slot, from, (from + 1) % 3).await.unwrap();
        for node in &load.nodes {
            until_ready(node, true).await;
        }
    }
    let verdict = load.end().await;
    verdict.assert_whole();
    assert!(verdict.delivered > 100 && verdict.gaps >= 3, "a new term is told each time: {verdict}");
}

/// The replica may lack the newest events of the master. A stream that missed them is told that the term has ended.
#[tokio::test]
async fn a_failover_in_a_cluster_under_load_is_declared() {
    let (mut cluster, master, replica) = RedisCluster::start_with_replica_for(LOG).await.unwrap();
    let slot = cluster.slot_of(LOG).await.unwrap();
    let load = ClusterLoad::start(&cluster).await;
    tokio::time::sleep(A_WHILE).await;
    cluster.node(master).kill();
    cluster.wait_for_owner(slot, replica).await.unwrap();
    let verdict = load.end().await;
    verdict.assert_clean();
    assert!(verdict.delivered > 100 && verdict.gaps > 0, "{verdict}");
}
