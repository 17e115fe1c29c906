//! Finds the node of a Cluster that owns the slot of the log: the nodes are asked anew for each connection and while it
//! stands.
//!
//! Each node tells the owners of all slots as far as it knows, with the epoch of the owner's configuration. A failover
//! or a moved slot raises the epoch. Example: an owner that was cut off names itself with 7, and another node names the
//! new owner with 8: the new one counts.

mod map;

use std::fmt;
use std::sync::Arc;

use fantail_wire::LaneName;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, ErrorKind, RedisError, ServerErrorKind, cmd};

use self::map::ClusterMap;
use super::address::Address;
use super::discovery::{MasterClaim, Unanswered, ask_all};
use super::lookup::FixedAddress;
use super::redis_reach::RedisReach;
use super::settings::{Credentials, RedisSettings, SettingsError};
use super::slot;
use crate::random::random_below;
use crate::redis::names;

/// The most nodes that are asked besides those that the operator named.
const ASKED_MAX: usize = 8;

/// The nodes that may be asked.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    nodes: Vec<Address>,
}

/// A question to the nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ClusterQuery {
    /// The owner of a slot.
    Owner(u16),
    /// The same, if the node that is asked is the owner.
    Claim(u16),
    /// Any master: the bus of the Cluster carries messages to all nodes.
    AnyMaster,
}

/// No node tells where the slot is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no node of the cluster tells which of them to use: {}", .0.join("; "))]
pub(crate) struct NoOwnerKnown(Vec<String>);

/// The owner of a slot, as one node tells it.
#[derive(Debug)]
pub(crate) struct SlotOwner {
    /// The owner of the slot, as this node knows it.
    pub(crate) owner: MasterClaim,
    /// Whether it is this node itself.
    pub(crate) is_here: bool,
    others: Vec<Address>,
}

/// The slot in which a lane's log is: its keys and its sharded channels share a hash tag.
pub(crate) fn log_slot(lane: &LaneName) -> u16 {
    slot::of(&names::log_key(lane))
}

impl Cluster {
    /// The nodes of which the operator told, if there are any.
    pub(crate) fn new(reach: &RedisReach) -> Result<Option<Self>, SettingsError> {
        let parse = |text: &String| Address::parse(text).ok_or_else(|| SettingsError::ClusterNode(text.clone()));
        let nodes: Vec<_> = reach.cluster_nodes.iter().map(parse).collect::<Result<_, _>>()?;
        if nodes.is_empty() {
            return Ok(None);
        }
        if !reach.sentinels.is_empty() {
            return Err(SettingsError::Incomplete("redis_cluster_nodes and redis_sentinels exclude each other"));
        }
        Ok(Some(Self { nodes }))
    }

    /// One of those that may be asked.
    pub(crate) fn first(&self) -> &Address {
        &self.nodes[0]
    }

    /// A Cluster of which only one node is known.
    pub(crate) fn at(location: &ConnectionAddr) -> Self {
        Self { nodes: address_of(location).into_iter().collect() }
    }

    /// The same, with some of the nodes that an owner told of.
    pub(crate) fn with(&self, told: &SlotOwner) -> Self {
        let mut others: Vec<_> = told.others.iter().filter(|other| !self.nodes.contains(other)).cloned().collect();
        let mut nodes = self.nodes.clone();
        while !others.is_empty() && nodes.len() < self.nodes.len() + ASKED_MAX {
            nodes.push(others.swap_remove(below(others.len())));
        }
        Self { nodes }
    }

    /// Asks all of them.
    pub(crate) async fn ask(
        &self,
        question: ClusterQuery,
        settings: &RedisSettings,
        credentials: &Arc<Credentials>,
    ) -> Result<MasterClaim, NoOwnerKnown> {
        let (settings_of, credentials) = (settings.clone(), Arc::clone(credentials));
        let answer = ask_all(&self.nodes, &settings.lookups, move |asked, ip| {
            let (credentials, location) =
                (Arc::clone(&credentials), settings_of.location_at(asked.host.clone(), asked.port));
            let prefers_names = settings_of.is_tls();
            // A node that does not know its own host is at the address that answers.
            let asked = if prefers_names { asked } else { Address { host: ip.to_string(), ..asked } };
            async move {
                let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
                let client = credentials.of_server(location)?;
                let config = config.set_dns_resolver(FixedAddress(ip));
                let mut node = client.get_multiplexed_async_connection_with_config(&config).await?;
                question.answer(&ask(&mut node, prefers_names).await?, &asked)
            }
        });
        answer.await.map_err(NoOwnerKnown)
    }
}

impl ClusterQuery {
    fn answer(self, map: &ClusterMap, asked: &Address) -> Result<MasterClaim, Unanswered> {
        match self {
            Self::Claim(slot) if !map.is_here(slot) => Err(Unanswered::NoOwner(slot)),
            Self::Owner(slot) | Self::Claim(slot) => map.owner(slot, asked),
            Self::AnyMaster => {
                let mut masters = map.masters(asked);
                let chosen = (!masters.is_empty()).then(|| masters.swap_remove(below(masters.len())));
                chosen.ok_or(Unanswered::NoSuchMaster)
            }
        }
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = self.nodes.iter().map(ToString::to_string).collect();
        write!(f, "the cluster of {}", nodes.join(", "))
    }
}

/// Asks the node at the other end of a connection who owns a slot.
pub(crate) async fn ask_here(
    slot: u16,
    settings: &RedisSettings,
    location: &ConnectionAddr,
    connection: &mut MultiplexedConnection,
) -> Result<SlotOwner, Unanswered> {
    let asked = address_of(location).unwrap_or_else(|| Address { host: "localhost".into(), port: 0 });
    let map = ask(connection, settings.is_tls()).await?;
    Ok(SlotOwner { owner: map.owner(slot, &asked)?, is_here: map.is_here(slot), others: map.others(&asked) })
}

/// The claim of the node at this address to own a slot, if it makes one.
pub(crate) async fn claim(
    slot: u16,
    at: &Address,
    settings: &RedisSettings,
    credentials: &Arc<Credentials>,
) -> Option<MasterClaim> {
    Cluster { nodes: vec![at.clone()] }.ask(ClusterQuery::Claim(slot), settings, credentials).await.ok()
}

async fn ask(connection: &mut MultiplexedConnection, prefers_names: bool) -> Result<ClusterMap, Unanswered> {
    let told: Result<String, RedisError> = cmd("CLUSTER").arg("NODES").query_async(connection).await;
    match told {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Err(Unanswered::Forbidden),
        told => Ok(ClusterMap::read(&told?, prefers_names)),
    }
}

fn address_of(location: &ConnectionAddr) -> Option<Address> {
    match location {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some(Address { host: host.clone(), port: *port })
        }
        ConnectionAddr::Unix(_) | _ => None,
    }
}

fn below(length: usize) -> usize {
    usize::try_from(random_below(length as u64)).unwrap_or(0)
}
