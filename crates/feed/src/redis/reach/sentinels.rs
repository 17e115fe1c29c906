//! The Sentinels know which Redis is the master. They are asked anew for each connection and while it stands.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, cmd};

use super::address::Address;
use super::discovery::{MasterClaim, Unanswered, ask_all};
use super::login::{Login, Password};
use super::lookup::FixedAddress;
use super::redis_reach::RedisReach;
use super::settings::{Credentials, RedisSettings, SettingsError};

/// The Sentinels of one master.
#[derive(Debug, Clone)]
pub(crate) struct Sentinels {
    addresses: Vec<Address>,
    master: String,
    login: Login,
}

/// No Sentinel tells where the master is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no sentinel tells where the master {master} is: {}", .reasons.join("; "))]
pub(crate) struct NoMasterKnown {
    master: String,
    reasons: Vec<String>,
}

impl Sentinels {
    /// The Sentinels of which the operator told, if there are any.
    pub(crate) fn new(reach: &RedisReach) -> Result<Option<Self>, SettingsError> {
        let parse = |text: &String| Address::parse(text).ok_or_else(|| SettingsError::Sentinel(text.clone()));
        let addresses: Vec<_> = reach.sentinels.iter().map(parse).collect::<Result<_, _>>()?;
        let (file, given) = (reach.sentinel_password_file.clone(), reach.sentinel_password.clone());
        let password = Password::from("redis_sentinel_password_file", given, file);
        let login = Login { username: reach.sentinel_username.clone(), password };
        match (addresses.is_empty(), reach.sentinel_master.clone()) {
            (true, None) => Ok(None),
            (false, Some(master)) => Ok(Some(Self { addresses, master, login })),
            _ => Err(SettingsError::Incomplete("redis_sentinels and redis_sentinel_master go together")),
        }
    }

    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// Asks where the master is now.
    pub(crate) async fn master(
        &self,
        settings: &RedisSettings,
        credentials: &Arc<Credentials>,
    ) -> Result<MasterClaim, NoMasterKnown> {
        let (settings_of, credentials, master) = (settings.clone(), Arc::clone(credentials), self.master.clone());
        let answer = ask_all(&self.addresses, &settings.lookups, move |sentinel, ip| {
            let location = settings_of.location_at(sentinel.host, sentinel.port);
            let (credentials, master) = (Arc::clone(&credentials), master.clone());
            async move { ask(&credentials, location, ip, &master).await }
        });
        answer.await.map_err(|reasons| NoMasterKnown { master: self.master.clone(), reasons })
    }
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        write!(f, "the master {} of the sentinels {}", self.master, addresses.join(", "))
    }
}

async fn ask(
    credentials: &Credentials,
    location: ConnectionAddr,
    ip: IpAddr,
    master: &str,
) -> Result<MasterClaim, Unanswered> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let config = config.set_dns_resolver(FixedAddress(ip));
    let client = credentials.of_sentinel(location)?;
    let mut sentinel = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut question = cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let told: Option<(String, u16)> = question.query_async(&mut sentinel).await?;
    let (host, port) = told.ok_or(Unanswered::NoSuchMaster)?;
    let address = Address { host, port };
    Ok(MasterClaim { name: address.to_string(), address, epoch: epoch(&mut sentinel, master).await })
}

/// The epoch of the Sentinel's configuration. Its user may be forbidden to ask for it: then every answer is as good as
/// the other.
async fn epoch(sentinel: &mut MultiplexedConnection, master: &str) -> u64 {
    let told = cmd("SENTINEL").arg("MASTER").arg(master).query_async(sentinel).await;
    let told: std::collections::HashMap<String, String> = told.unwrap_or_default();
    told.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
}
