//! Three real nats-servers with JetStream that form a cluster.

use std::time::Duration;

use crate::{
    PATIENCE,
    error::{Error, Result, within},
    nats_server::NatsServer,
    port::free_port,
};

const SERVERS: usize = 3;
/// The pause between two looks at a cluster that is not ready yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How long an answer of a cluster with a leader takes at most.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A running cluster; its servers are killed on drop.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers, those that were killed too.
    pub servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts three servers that know each other.
    pub async fn start() -> Result<Self> {
        let ports = (0..SERVERS).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
        let routes: Vec<_> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let routes = routes.join(",");
        let mut servers = Vec::new();
        for port in ports {
            let listen = format!("nats://127.0.0.1:{port}");
            let arguments = ["--jetstream", "--cluster_name", "fantail", "--cluster", &listen, "--routes", &routes];
            servers.push(NatsServer::start_with(&arguments).await?);
        }
        Ok(Self { servers })
    }

    /// Makes a stream of three replicas that keeps `fantail.>`. Waits until the cluster has a leader for that.
    pub async fn make_stream(&self, name: &str) -> Result<()> {
        within(PATIENCE, "a stream in the cluster of nats", async {
            loop {
                // Nobody answers before there is a leader.
                let made = self.servers[0].make_stream(name, ",\"num_replicas\":3");
                if matches!(tokio::time::timeout(ANSWER_MAX, made).await, Ok(Ok(()))) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        })
        .await
    }

    /// Kills the server that leads the stream, and returns its place.
    pub async fn kill_leader_of(&mut self, stream: &str) -> Result<usize> {
        let info = self.servers[0].ask(&format!("$JS.API.STREAM.INFO.{stream}"), "").await?;
        let leader = self.servers.iter().position(|server| info.contains(&format!("\"leader\":\"{}\"", server.name())));
        let leader = leader.ok_or_else(|| Error::Protocol(format!("nobody leads {stream}: {info}")))?;
        self.servers[leader].kill();
        Ok(leader)
    }
}
