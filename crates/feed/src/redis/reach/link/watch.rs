//! Checks again and again that a connection still leads to the right server, until it does not.
//!
//! A missing answer says nothing: the probe notices silence.

use std::sync::Arc;

use redis::ConnectionAddr;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::redis::reach::address::Address;
use crate::redis::reach::cluster::{self, Cluster, ClusterQuery, SlotOwner};
use crate::redis::reach::discovery::MasterClaim;
use crate::redis::reach::sentinels::Sentinels;
use crate::redis::reach::server_info::{self, Eviction};
use crate::redis::reach::server_role::{self, ServerRole};
use crate::redis::reach::settings::RedisSettings;

/// One connection, as it was when it was made.
pub(super) struct Watch {
    pub(super) settings: RedisSettings,
    pub(super) discovered: Option<DiscoveredBy>,
    pub(super) location: ConnectionAddr,
    pub(super) connection: MultiplexedConnection,
    /// The server's replication id, if it is to stay the same and was told.
    pub(super) history: Option<String>,
    /// Whether the server keeps a log, and must tell if it may evict it.
    pub(super) keeps_log: bool,
}

/// The Sentinels or the Cluster that told where the connection is to lead, and their answer.
pub(super) enum DiscoveredBy {
    BySentinels { sentinels: Sentinels, answer: MasterClaim },
    InCluster { cluster: Cluster, slot: u16, answer: MasterClaim },
}

/// Why a connection that stands must not be used any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WrongServer {
    #[error("this server is a replica now")]
    Demoted,
    #[error("this server was a replica for a while")]
    Returned,
    #[error("the sentinels name another master, {0}")]
    Replaced(Address),
    #[error("the cluster names another node for the slot of the log, {0}")]
    Moved(Address),
    #[error("this node does not have the slot of the log any more")]
    Left,
}

impl DiscoveredBy {
    /// The owner of a slot tells this, and which other nodes may be asked.
    pub(super) fn in_cluster(cluster: &Cluster, slot: u16, told: &SlotOwner) -> Self {
        Self::InCluster { cluster: cluster.with(told), slot, answer: told.owner.clone() }
    }

    pub(super) const fn answer(&self) -> &MasterClaim {
        match self {
            Self::BySentinels { answer, .. } | Self::InCluster { answer, .. } => answer,
        }
    }

    /// The master that is named instead of the discovered one. Right after a failover some Sentinels still name the old
    /// one. So an answer with an older configuration counts only when it comes twice. Example: the master was
    /// discovered at epoch 7. An answer of epoch 6 is doubted, and believed if the next one is the same: an operator began
    /// anew.
    pub(super) async fn replaced(
        &self,
        settings: &RedisSettings,
        doubt: &mut Option<MasterClaim>,
    ) -> Option<WrongServer> {
        let credentials = Arc::new(settings.read_credentials().await.ok()?);
        let discovered = self.answer();
        let told = match self {
            Self::BySentinels { sentinels, .. } => sentinels.master(settings, &credentials).await.ok()?,
            Self::InCluster { cluster, slot, .. } => {
                cluster.ask(ClusterQuery::Owner(*slot), settings, &credentials).await.ok()?
            }
        };
        let is_other = told.name != discovered.name;
        let is_certain = told.epoch >= discovered.epoch || doubt.as_ref().is_some_and(|doubt| doubt.agrees_with(&told));
        *doubt = is_other.then(|| told.clone());
        if !is_other || !is_certain {
            return None;
        }
        let Self::InCluster { slot, .. } = *self else { return Some(WrongServer::Replaced(told.address)) };
        // The epoch in the map is the node's and not that of its claim to the slot. A node that missed the move of a
        // slot may tell a higher epoch of the former owner than the nodes that know. So the named owner must say so
        // itself.
        let owner = cluster::claim(slot, &told.address, settings, &credentials).await?;
        (owner.name != discovered.name).then_some(WrongServer::Moved(owner.address))
    }
}

impl Watch {
    pub(super) async fn run(mut self, ended: Arc<Notify>) {
        let (mut doubt, mut eviction) = (None, None);
        loop {
            if self.keeps_log {
                self.look_at_eviction(&mut eviction).await;
            }
            sleep(self.settings.probe_interval).await;
            let replaced = match &self.discovered {
                Some(discovered) => discovered.replaced(&self.settings, &mut doubt).await,
                None => None,
            };
            let wrong_server = match replaced {
                None => self.wrong_server_here().await,
                wrong_server => wrong_server,
            };
            if let Some(wrong_server) = wrong_server {
                tracing::warn!(address = self.settings.address(), %wrong_server, "a connection to redis is given up");
                return ended.notify_one();
            }
        }
    }

    /// Asks the server itself, over the connection.
    async fn wrong_server_here(&mut self) -> Option<WrongServer> {
        if let Some(DiscoveredBy::InCluster { slot, .. }) = self.discovered {
            let told = cluster::ask_here(slot, &self.settings, &self.location, &mut self.connection).await.ok()?;
            return (!told.is_here).then_some(WrongServer::Left);
        }
        let role = server_role::ask(&mut self.connection).await.ok()?;
        if role == ServerRole::Replica {
            return Some(WrongServer::Demoted);
        }
        let history = self.history.as_ref()?;
        let now = server_info::replication_id(&mut self.connection).await.ok()??;
        (now != *history).then_some(WrongServer::Returned)
    }

    /// Each eviction is declared like any other loss. But an operator who set a bound for a cache should know its cost
    /// here.
    async fn look_at_eviction(&mut self, told: &mut Option<Eviction>) {
        let Ok(found) = server_info::eviction(&mut self.connection).await else { return };
        if let Some(Eviction { maxmemory, policy }) = found.as_ref().filter(|found| told.as_ref() != Some(found)) {
            let address = self.location.to_string();
            tracing::warn!(
                address,
                maxmemory,
                policy,
                "redis may evict the numbering of the log, and each time all streams are told that events may be missing; \
                set maxmemory-policy to noeviction, or to volatile-ttl"
            );
        }
        *told = found;
    }
}
