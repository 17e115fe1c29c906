//! One connection to Redis: it leads to the right server, and its end is noticed.
//!
//! The right server is the master. Sentinels, the Cluster and the name's addresses are asked anew: nothing is
//! remembered from the connection before. Each of several addresses is tried. After the connection is made, and then as
//! often as a probe is sent, this node checks that it still leads to the right server. If not, it is ended as if it had
//! been cut.

mod watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, ConnectionAddr, PushInfo};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use self::watch::{DiscoveredBy, Watch, WrongServer};
use super::cluster::{self, Cluster, ClusterQuery, SlotOwner};
use super::discovery::MasterClaim;
use super::link_error::LinkError;
use super::lookup::FixedAddress;
use super::server_info;
use super::server_role::{self, ServerRole};
use super::settings::{Credentials, RedisSettings};
use crate::turn::{TURN_BUDGET, spend};

/// Tries at servers that are replaced while they are connected to, before that is an error.
const CONNECTS_MAX: usize = 2;

/// Pushes after which the task that reads a connection lets others run. So many events wait for one another at most.
const PUSHES_PER_TURN: u32 = 32;

/// A connection that stands until [`ended`](Self::ended) returns. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: MultiplexedConnection,
    /// The server's role.
    pub(crate) role: ServerRole,
    /// The name of the server, if somebody told it.
    named: Option<String>,
    ended: Arc<Notify>,
    watch: JoinHandle<()>,
}

/// The use of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A message that it does not hear is missing: so it must lead to the right server at every moment.
    Subscribe,
    /// Each event is confirmed: it must lead there while one is sent.
    Publish,
}

/// Belongs to the connection's driver, which drops it however it ends: a closed socket, a reply that is no Redis
/// protocol, a panic.
struct Driver {
    ended: Arc<Notify>,
}

/// A connection to a server whose role is known. It may be the wrong one.
struct Candidate {
    location: ConnectionAddr,
    connection: MultiplexedConnection,
    role: ServerRole,
    ended: Arc<Notify>,
}

/// How a candidate is made.
struct Connector<'a, F> {
    settings: &'a RedisSettings,
    credentials: Arc<Credentials>,
    on_push: Arc<F>,
}

impl Link {
    /// Connects and logs in. `on_push` is called for each push in the order of the socket, and may refuse to go on by
    /// returning false.
    pub(crate) async fn open(
        settings: &RedisSettings,
        purpose: Purpose,
        on_push: impl Fn(PushInfo) -> bool + Send + Sync + 'static,
    ) -> Result<Self, LinkError> {
        let connector = Connector::new(settings, on_push).await?;
        let (candidate, discovered) = connector.connect_confirmed().await?;
        tell(candidate.role, &candidate.location.to_string(), settings);
        let Candidate { mut connection, role, ended, location } = candidate;
        let history = match (purpose, role) {
            (Purpose::Subscribe, ServerRole::Master) => history(&mut connection, &location).await?,
            _ => None,
        };
        let keeps_log = purpose == Purpose::Subscribe && settings.log.is_some();
        let named = discovered.as_ref().map(|discovered| discovered.answer().name.clone());
        let (settings, watched) = (settings.clone(), connection.clone());
        let watch = Watch { settings, discovered, location, connection: watched, history, keeps_log };
        let watch = tokio::spawn(watch.run(Arc::clone(&ended)));
        Ok(Self { connection, role, named, ended, watch })
    }

    /// The server that the Sentinels or the Cluster named for it.
    pub(crate) fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    /// Waits for the end. A connection that ended before the call is told at once: the end leaves a permit.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }
}

impl<'a, F: Fn(PushInfo) -> bool + Send + Sync + 'static> Connector<'a, F> {
    async fn new(settings: &'a RedisSettings, on_push: F) -> Result<Self, LinkError> {
        let credentials = in_time(settings.connect_deadline, settings.read_credentials()).await?;
        Ok(Self { settings, credentials: Arc::new(credentials), on_push: Arc::new(on_push) })
    }

    /// A server that stands still can be replaced while it is connected to, and does not know it when it goes on. So
    /// the server must still be named when the connection is there.
    async fn connect_confirmed(&self) -> Result<(Candidate, Option<DiscoveredBy>), LinkError> {
        let mut connects = 1;
        loop {
            let (candidate, discovered) = self.connect().await?;
            let Some(wrong_server) = self.replaced_meanwhile(discovered.as_ref()).await else {
                return Ok((candidate, discovered));
            };
            if connects == CONNECTS_MAX {
                let (address, why) = (candidate.location.to_string(), wrong_server.to_string());
                return Err(LinkError::Replaced { address, why });
            }
            connects += 1;
        }
    }

    /// An answer that does not come says nothing.
    async fn replaced_meanwhile(&self, discovered: Option<&DiscoveredBy>) -> Option<WrongServer> {
        timeout(self.settings.connect_deadline, discovered?.replaced(self.settings, &mut None)).await.ok()?
    }

    /// To the server that has the log, or without a log to any. The source of the address is asked again while the
    /// connection stands.
    async fn connect(&self) -> Result<(Candidate, Option<DiscoveredBy>), LinkError> {
        match (self.settings.sentinels.as_ref(), self.settings.cluster.as_ref()) {
            (Some(sentinels), _) => {
                let answer =
                    in_time(self.settings.connect_deadline, sentinels.master(self.settings, &self.credentials)).await?;
                let candidate = self.connect_named(&answer).await?;
                Ok((candidate, Some(DiscoveredBy::BySentinels { sentinels: sentinels.clone(), answer })))
            }
            (None, Some(cluster)) => self.connect_in(cluster).await,
            (None, None) => self.connect_at_url().await,
        }
    }

    /// To the server of the URL, or if that is a node of a Cluster and there is a log, to the one that owns its slot.
    async fn connect_at_url(&self) -> Result<(Candidate, Option<DiscoveredBy>), LinkError> {
        let mut candidate = self.connect_to(self.settings.location().clone()).await?;
        let Some(slot) = self.slot().filter(|_| candidate.role == ServerRole::ClusterNode) else {
            return Ok((candidate, None));
        };
        let cluster = Cluster::at(&candidate.location);
        let told = self.ask_here(&mut candidate, slot).await?;
        if told.is_here {
            return Ok((candidate, Some(DiscoveredBy::in_cluster(&cluster, slot, &told))));
        }
        self.connect_to_owner(&cluster, slot, &told.owner).await
    }

    /// To the node that owns the log's slot, or without a log to any.
    async fn connect_in(&self, cluster: &Cluster) -> Result<(Candidate, Option<DiscoveredBy>), LinkError> {
        if let Some(slot) = self.slot() {
            let owner = self.ask(cluster, ClusterQuery::Owner(slot)).await?;
            // A node that is named and is not the owner should know the owner.
            return match self.connect_to_owner(cluster, slot, &owner).await {
                Err(LinkError::NotOwner { owner, .. }) => self.connect_to_owner(cluster, slot, &owner).await,
                connected => connected,
            };
        }
        let master = self.ask(cluster, ClusterQuery::AnyMaster).await?;
        Ok((self.connect_named(&master).await?, None))
    }

    async fn ask(&self, cluster: &Cluster, question: ClusterQuery) -> Result<MasterClaim, LinkError> {
        in_time(self.settings.connect_deadline, cluster.ask(question, self.settings, &self.credentials)).await
    }

    /// It must say itself that it is the owner.
    async fn connect_to_owner(
        &self,
        cluster: &Cluster,
        slot: u16,
        owner: &MasterClaim,
    ) -> Result<(Candidate, Option<DiscoveredBy>), LinkError> {
        let mut candidate = self.connect_named(owner).await?;
        let told = self.ask_here(&mut candidate, slot).await?;
        if !told.is_here {
            return Err(LinkError::NotOwner { address: candidate.location.to_string(), owner: told.owner });
        }
        Ok((candidate, Some(DiscoveredBy::in_cluster(cluster, slot, &told))))
    }

    async fn ask_here(&self, candidate: &mut Candidate, slot: u16) -> Result<SlotOwner, LinkError> {
        let Candidate { location, connection, .. } = candidate;
        let told = cluster::ask_here(slot, self.settings, location, connection).await;
        told.map_err(|error| LinkError::Untold { address: location.to_string(), error })
    }

    async fn connect_named(&self, answer: &MasterClaim) -> Result<Candidate, LinkError> {
        let location = self.settings.location_at(answer.address.host.clone(), answer.address.port);
        let address = location.to_string();
        self.connect_to(location).await.map_err(|error| match error {
            LinkError::Redis(error) => LinkError::Named { address, error },
            error => error,
        })
    }

    /// Tries each of the name's addresses in turn. Each has its share of the time: one that takes connections and says
    /// nothing must not stand before the others.
    async fn connect_to(&self, location: ConnectionAddr) -> Result<Candidate, LinkError> {
        let deadline = self.settings.connect_deadline;
        let addresses = self.look_up(&location).await?;
        // Connecting has a deadline of its own. Example: a lookup takes 4.9 s of 5 s, and connecting needs 0.2 s.
        let until = Instant::now() + deadline;
        let [_, _, ..] = *addresses else {
            let connected = timeout_at(until, self.connect_at(location, addresses.first())).await;
            return connected.unwrap_or(Err(LinkError::Late(deadline)));
        };
        let mut failures = Vec::new();
        for (tried, address) in addresses.iter().enumerate() {
            let left = (addresses.len() - tried) as u32;
            let share = until.saturating_duration_since(Instant::now()) / left;
            match timeout(share, self.connect_at(location.clone(), Some(address))).await {
                Ok(Ok(candidate)) => return Ok(candidate),
                Ok(Err(error)) => failures.push((*address, error)),
                Err(_) => failures.push((*address, LinkError::LateAmongOthers(deadline))),
            }
        }
        Err(LinkError::Addresses(failures))
    }

    /// All addresses of a name now. None for a socket of this machine.
    async fn look_up(&self, location: &ConnectionAddr) -> Result<Vec<IpAddr>, LinkError> {
        let (ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) = location else {
            return Ok(Vec::new());
        };
        let deadline = self.settings.connect_deadline;
        let addresses = timeout(deadline, self.settings.lookups.addresses(host)).await;
        Ok(addresses.map_err(|_| LinkError::LateLookup { name: host.clone(), deadline })??)
    }

    async fn connect_at(&self, location: ConnectionAddr, address: Option<&IpAddr>) -> Result<Candidate, LinkError> {
        let ended = Arc::new(Notify::new());
        let (driver, on_push) = (Driver { ended: Arc::clone(&ended) }, Arc::clone(&self.on_push));
        let push_sender = move |push| {
            spend(TURN_BUDGET / PUSHES_PER_TURN);
            if on_push(push) { Ok(()) } else { driver.give_up() }
        };
        // The deadline for the whole is ours; a second one would tell the same in other words.
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(self.settings.response_deadline))
            .set_push_sender(push_sender);
        if let Some(address) = address {
            config = config.set_dns_resolver(FixedAddress(*address));
        }
        let client = self.credentials.of_server(location.clone())?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let role = server_role::ask(&mut connection).await?;
        match role {
            ServerRole::Replica => Err(LinkError::Replica(location.to_string())),
            ServerRole::Sentinel => Err(LinkError::Sentinel(location.to_string())),
            ServerRole::Master | ServerRole::ClusterNode => Ok(Candidate { location, connection, role, ended }),
        }
    }

    /// The slot in which the log is, if there is one.
    fn slot(&self) -> Option<u16> {
        self.settings.log.map(|_| cluster::log_slot(&self.settings.lane))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Driver {
    fn give_up(&self) -> Result<(), SendError> {
        self.ended.notify_one();
        Err(SendError)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.ended.notify_one();
    }
}

async fn in_time<T, E>(deadline: Duration, asked: impl Future<Output = Result<T, E>>) -> Result<T, LinkError>
where
    LinkError: From<E>,
{
    Ok(timeout(deadline, asked).await.map_err(|_| LinkError::Late(deadline))??)
}

/// Read before anything is subscribed to: a later change is noticed.
async fn history(
    connection: &mut MultiplexedConnection,
    location: &ConnectionAddr,
) -> Result<Option<String>, LinkError> {
    let history = server_info::replication_id(connection).await?;
    if history.is_none() {
        let address = location.to_string();
        tracing::warn!(
            address,
            "redis does not tell its replication id: if it becomes a replica and a master again between two \
            checks, that is not noticed; allow its user +info, see docs/redis.md"
        );
    }
    Ok(history)
}

fn tell(role: ServerRole, address: &str, settings: &RedisSettings) {
    match role {
        ServerRole::ClusterNode if settings.log.is_some() => {
            tracing::debug!(address, lane = %settings.lane, "redis is the node of a cluster that has the log");
        }
        ServerRole::ClusterNode => tracing::warn!(
            address,
            "redis is a node of a cluster: messages that its nodes lose between \
            each other are lost unnoticed, see docs/redis.md"
        ),
        _ => tracing::debug!(address, "redis is a master"),
    }
}
