//! The processes of a trial: Redis, its replica if there is one, or a Cluster; two nodes, and a proxy on every way to a
//! Redis that is no Cluster. Nodes of a Cluster are reached at the addresses that they announce.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use fantail_testkit::{
    Broker, Certificates, Defect, FaultProxy, FaultyServer, RedisServer, Reply, TlsReaders, TlsTrust,
};
use tokio::time::Instant;

use crate::clustered::Clustered;
use crate::fault::Fault;
use crate::mode::Mode;
use crate::trial_node::TrialNode;
use crate::trial_state::TrialState;

/// The login of nodes. Publishers and replicas need no name, so that taking rights from nodes hits nodes alone.
pub const LOGIN: (&str, &str) = ("app", "secret");

/// One connection of readers in so many is encrypted.
const TLS_ONE_IN: u64 = 3;

/// The Redis servers that a fault needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Servers {
    /// One that forgets everything when it ends.
    Forgetful,
    /// One that has every write on disk before it answers.
    Durable,
    /// A durable one that takes a millisecond per command to load its data.
    SlowToLoad,
    /// A master and a replica of it.
    Pair,
    /// Three masters, and a replica of the one with the lane that a fault hits.
    Cluster,
}

/// All processes of a trial.
#[derive(Debug)]
pub struct TrialSetup {
    /// The shared state of the trial.
    pub state: Arc<TrialState>,
    /// The first is the master at the beginning. None if there is a Cluster.
    pub redis: Vec<RedisServer>,
    /// The Cluster, if there is one.
    pub cluster: Option<Clustered>,
    /// The nodes.
    pub nodes: [TrialNode; 2],
    /// Each node's way to the broker, unless that is a Cluster.
    pub to_broker: Vec<FaultProxy>,
    /// The publishers' way to the broker, unless that is a Cluster.
    pub publishers: Option<FaultProxy>,
    /// The replica's way to its master.
    pub replication: Option<FaultProxy>,
    /// The nodes' certificates, which they read again when they start again.
    pub certificates: Certificates,
    /// Faulty servers in front of the nodes, for trials of the judge.
    pub spoilers: Vec<FaultyServer>,
    /// The time of the healing, if that was before its function ended.
    pub healed: Option<Instant>,
    /// Remarks besides the verdict.
    pub remarks: Vec<String>,
}

impl TrialSetup {
    /// Starts everything and waits until the nodes are ready.
    pub async fn start(fantail: &Path, mode: Mode, fault: &Fault, defect: Defect, seed: u64) -> Result<Self> {
        let Fault { servers, conditions, .. } = *fault;
        let conditions = if defect == Defect::None { conditions } else { conditions.with_some_who_stay() };
        let cluster = if servers == Servers::Cluster { Some(Clustered::start(mode).await?) } else { None };
        let (redis, replication) = if cluster.is_some() { (Vec::new(), None) } else { start_redis(servers).await? };
        let way = || redis.first().map(|redis| FaultProxy::start(redis.addr())).transpose();
        let (to_broker, publishers): (Vec<_>, _) = ([way()?, way()?].into_iter().flatten().collect(), way()?);
        let reaches: [[String; 2]; 2] = std::array::from_fn(|node| match &cluster {
            Some(cluster) => ["--redis-cluster-nodes".into(), cluster.servers.addresses().join(",")],
            None => ["--redis-url".into(), format!("redis://{}:{}@{}", LOGIN.0, LOGIN.1, to_broker[node].addr())],
        });
        let certificates = Certificates::make()?;
        let (cert, key) = (certificates.server(), certificates.server_key());
        let tls = ["--tls-cert", cert.to_str().context("a path")?, "--tls-key", key.to_str().context("a path")?];
        let mut nodes = Vec::new();
        for reach in reaches {
            let flags = [&reach.each_ref().map(String::as_str), &tls[..], mode.flags(), conditions.node_flags].concat();
            nodes.push(TrialNode::start(fantail, &flags).await?);
        }
        let Ok(nodes): Result<[TrialNode; 2], _> = nodes.try_into() else { bail!("there are two nodes") };
        let mut public = nodes.each_ref().map(TrialNode::public);
        let mut spoilers = Vec::new();
        if defect != Defect::None {
            for addr in &mut public {
                let spoiler = FaultyServer::start(*addr, defect, seed).await?;
                *addr = spoiler.addr();
                spoilers.push(spoiler);
            }
        }
        let servers = match &cluster {
            Some(cluster) => cluster.servers.nodes().iter().map(RedisServer::addr).collect(),
            None => publishers.iter().map(FaultProxy::addr).collect(),
        };
        let broker = Broker::Redis { servers, has_log: mode.has_log() };
        let internal = nodes.each_ref().map(TrialNode::internal);
        let mut state = TrialState::new((mode, conditions), public, internal, broker, seed);
        // Faulty servers understand no TLS.
        if defect == Defect::None {
            let addresses = nodes.iter().filter_map(TrialNode::tls).collect();
            let trust = TlsTrust::new(&certificates.ca())?;
            state.tls = Some(TlsReaders { addresses, trust, one_in: TLS_ONE_IN });
        }
        let state = Arc::new(state);
        let setup = Self {
            state,
            redis,
            cluster,
            nodes,
            to_broker,
            publishers,
            replication,
            certificates,
            spoilers,
            healed: None,
            remarks: Vec::new(),
        };
        for node in &setup.nodes {
            node.wait_until_ready().await.with_context(|| format!("the node said:\n{}", node.last_words()))?;
        }
        Ok(setup)
    }

    /// The Redis that is master at the beginning.
    pub fn master(&mut self) -> &mut RedisServer {
        &mut self.redis[0]
    }

    /// The time of recovery counts from here on.
    pub fn heal(&mut self) {
        self.healed = Some(Instant::now());
    }

    /// Asks the first Redis, which must not refuse.
    pub async fn ask(&self, words: &[&str]) -> Result<Reply> {
        ask(&self.redis[0], words).await
    }
}

/// Asks a Redis, which must not refuse.
pub async fn ask(redis: &RedisServer, words: &[&str]) -> Result<Reply> {
    match redis.command(words).await.with_context(|| format!("asking redis {words:?}"))? {
        Reply::Error(error) => bail!("redis refused {words:?}: {error}"),
        reply => Ok(reply),
    }
}

/// Waits until a replica has its master's data and hears it.
pub async fn wait_until_linked(replica: &RedisServer) -> Result<()> {
    Ok(replica.wait_for_info("replication", "master_link_status:up").await?)
}

/// One section of INFO.
pub async fn info(redis: &RedisServer, section: &str) -> Result<String> {
    ask(redis, &["INFO", section]).await?.text().context("INFO is a text")
}

/// Servers that are no Cluster.
async fn start_redis(servers: Servers) -> Result<(Vec<RedisServer>, Option<FaultProxy>)> {
    let password = format!(">{}", LOGIN.1);
    let login = ["--user", LOGIN.0, "on", &password, "~*", "&*", "+@all"];
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let more: &[&str] = match servers {
        Servers::Forgetful | Servers::Cluster => &[],
        Servers::Durable => &durable,
        Servers::SlowToLoad => &[&durable[..], &["--key-load-delay", "1000"]].concat(),
        Servers::Pair => &["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "16mb"],
    };
    let arguments = [&login[..], more].concat();
    let mut redis = vec![RedisServer::start_with(&arguments).await?];
    let mut replication = None;
    if servers == Servers::Pair {
        let proxy = FaultProxy::start(redis[0].addr())?;
        let port = proxy.addr().port().to_string();
        let replica = [&arguments[..], &["--replicaof", "127.0.0.1", &port]].concat();
        redis.push(RedisServer::start_with(&replica).await?);
        wait_until_linked(&redis[1]).await?;
        replication = Some(proxy);
    }
    Ok((redis, replication))
}
