//! The processes of a trial: NATS, or Redis, its replica if there is one, or a Cluster; two nodes, and a proxy on every way
//! to a broker that is no Cluster. Nodes of a Cluster are reached at the addresses that they announce.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use fantail_testkit::{
    Broker, Certificates, Defect, FaultProxy, FaultyServer, NatsServer, RedisServer, Reply, TlsReaders, TlsTrust,
};
use tokio::time::Instant;

use crate::clustered::Clustered;
use crate::fault::Fault;
use crate::mode::{Mode, STREAM};
use crate::trial_node::TrialNode;
use crate::trial_state::TrialState;

/// The login of nodes. Publishers and replicas need no name, so that taking rights from nodes hits nodes alone.
pub const LOGIN: (&str, &str) = ("app", "secret");

/// The configuration of a NATS that soon drops a client.
const IMPATIENT: &str = "max_pending: 2MB";

/// One connection of readers in so many is encrypted.
const TLS_ONE_IN: u64 = 3;

/// The servers that a fault needs. A mode with NATS has one server of that, for every fault.
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
    /// None of Redis.
    Nats,
    /// The same, and NATS keeps little for a client that does not read.
    ImpatientNats,
}

/// All processes of a trial.
#[derive(Debug)]
pub struct TrialSetup {
    /// The shared state of the trial.
    pub state: Arc<TrialState>,
    /// The first is the master at the beginning. None if there is a Cluster or NATS.
    pub redis: Vec<RedisServer>,
    /// NATS, in its modes.
    nats: Option<NatsServer>,
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
        let nats = if mode.is_nats() {
            Some(start_nats(mode, if servers == Servers::ImpatientNats { IMPATIENT } else { "" }).await?)
        } else {
            None
        };
        let has_redis = nats.is_none() && cluster.is_none();
        let (redis, replication) = if has_redis { start_redis(servers).await? } else { (Vec::new(), None) };
        let server = nats.as_ref().map(NatsServer::addr).or(redis.first().map(RedisServer::addr));
        let way = || server.map(FaultProxy::start).transpose();
        let (to_broker, publishers): (Vec<_>, _) = ([way()?, way()?].into_iter().flatten().collect(), way()?);
        let reaches: [[String; 2]; 2] = std::array::from_fn(|node| match &cluster {
            Some(cluster) => ["--redis-cluster-nodes".into(), cluster.servers.addresses().join(",")],
            None if mode.is_nats() => ["--nats-url".into(), format!("nats://{}", to_broker[node].addr())],
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
        let has_log = mode.has_log();
        let broker = match (&cluster, &publishers) {
            (Some(cluster), _) => {
                Broker::Redis { servers: cluster.servers.nodes().iter().map(RedisServer::addr).collect(), has_log }
            }
            (None, Some(way)) if mode.is_nats() => Broker::Nats { server: way.addr(), has_stream: has_log },
            (None, Some(way)) => Broker::Redis { servers: vec![way.addr()], has_log },
            (None, None) => Broker::None,
        };
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
            nats,
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

    /// NATS, in a mode that has it.
    pub fn nats(&mut self) -> Result<&mut NatsServer> {
        self.nats.as_mut().context("the mode has no nats")
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

/// Starts NATS with a configuration, and with the stream if the mode has one.
pub async fn start_nats(mode: Mode, config: &str) -> Result<NatsServer> {
    let arguments: &[&str] = if mode.has_log() { &["--jetstream"] } else { &[] };
    let nats = NatsServer::start_with_config(config, arguments).await?;
    if mode.has_log() {
        nats.make_stream(STREAM, "").await?;
    }
    Ok(nats)
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
        Servers::Forgetful | Servers::Cluster | Servers::Nats | Servers::ImpatientNats => &[],
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
