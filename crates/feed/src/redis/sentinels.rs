//! Who knows which Redis is the master: the Sentinels, asked anew for each connection and while it stands.
//!
//! They are asked all at once, so that one that is gone delays nobody, and the answer with the newest configuration
//! counts: a Sentinel that was cut off from the others still names the old master. As soon as more than half have
//! answered, the rest is not waited for.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, RedisError, cmd};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::link_error::Advised;
use super::login::{Login, Password};
use super::lookup::{Lookups, NoAddress, Only};
use super::reach::RedisReach;
use super::settings::{Papers, RedisSettings, SettingsError};

/// How long one Sentinel may take, connection included, and as long again before that to look up its name. Shorter than
/// the deadline for all that leads to the master, whose name may have to be looked up as well.
const ASK_DEADLINE: Duration = Duration::from_secs(2);

/// The Sentinels of one master.
#[derive(Debug, Clone)]
pub(super) struct Sentinels {
    addresses: Vec<Address>,
    master: String,
    login: Login,
}

/// A host, by name or number, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Nobody tells where the master is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no sentinel tells where the master {master} is: {}", .reasons.join("; "))]
pub(super) struct Unknown {
    master: String,
    reasons: Vec<String>,
}

/// What one Sentinel says. The epoch is that of its configuration, which every failover raises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) address: Address,
    pub(super) epoch: u64,
}

/// Where one Sentinel is, or several of one name.
struct Place {
    address: Address,
    location: ConnectionAddr,
    papers: Arc<Papers>,
}

#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Name(#[from] NoAddress),
    #[error("its name was looked up for {ASK_DEADLINE:?} without an answer, which is waited for")]
    Unfound,
    #[error("{}", Advised(.0))]
    Redis(#[from] RedisError),
    #[error("knows no such master")]
    NoSuchMaster,
    #[error("did not answer within {ASK_DEADLINE:?}")]
    Late,
}

impl Sentinels {
    /// The Sentinels of which the operator told, if there are any.
    pub(super) fn new(reach: &RedisReach) -> Result<Option<Self>, SettingsError> {
        let addresses: Result<Vec<_>, _> = reach.sentinels.iter().map(|text| Address::parse(text)).collect();
        let addresses = addresses?;
        let (file, given) = (reach.sentinel_password_file.clone(), reach.sentinel_password.clone());
        let password = Password::from("redis_sentinel_password_file", given, file);
        let login = Login { username: reach.sentinel_username.clone(), password };
        match (addresses.is_empty(), reach.sentinel_master.clone()) {
            (true, None) => Ok(None),
            (false, Some(master)) => Ok(Some(Self { addresses, master, login })),
            _ => Err(SettingsError::Incomplete("redis_sentinels and redis_sentinel_master go together")),
        }
    }

    pub(super) fn login(&self) -> &Login {
        &self.login
    }

    /// Asks where the master is now.
    pub(super) async fn master(&self, settings: &RedisSettings, papers: &Arc<Papers>) -> Result<Answer, Unknown> {
        let mut asked = JoinSet::new();
        for address in &self.addresses {
            let location = settings.location_at(address.host.clone(), address.port);
            let place = Place { address: address.clone(), location, papers: Arc::clone(papers) };
            asked.spawn(place.ask(settings.lookups().clone(), self.master.clone()));
        }
        let (mut answers, mut reasons) = (Vec::new(), Vec::new());
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(answer)) => answers.push(answer),
                Ok(Err(reason)) => reasons.push(reason),
                Err(error) => reasons.push(error.to_string()),
            }
            if answers.len() > self.addresses.len() / 2 {
                break;
            }
        }
        newest(answers).ok_or_else(|| Unknown { master: self.master.clone(), reasons })
    }
}

impl Address {
    fn parse(text: &str) -> Result<Self, SettingsError> {
        let unusable = || SettingsError::Sentinel(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(unusable)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().map_err(|_| unusable())?;
        if host.is_empty() { Err(unusable()) } else { Ok(Self { host: host.to_owned(), port }) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        write!(f, "the master {} of the sentinels {}", self.master, addresses.join(", "))
    }
}

impl Place {
    /// Asks everyone there, as the Sentinels are asked: all at once, and more than half are enough. Each may have an
    /// address of both families, so they are counted in one family.
    async fn ask(self, lookups: Lookups, master: String) -> Result<Answer, String> {
        let ips = self.look_up(&lookups).await.map_err(|error| format!("{}: {error}", self.address))?;
        let is_one = ips.len() == 1;
        let place = Arc::new(self);
        let mut asked = JoinSet::new();
        for ip in ips.iter().copied() {
            let (place, master) = (Arc::clone(&place), master.clone());
            asked.spawn(async move {
                let late = |_| Err(Unanswered::Late);
                let asking = ask(&place.papers, place.location.clone(), ip, &master);
                (ip, timeout(ASK_DEADLINE, asking).await.unwrap_or_else(late))
            });
        }
        let (mut answers, mut reasons, mut told_by) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(told) = asked.join_next().await {
            let Ok((ip, answer)) = told else { continue };
            match answer {
                Ok(answer) => {
                    answers.push(answer);
                    told_by.push(ip);
                }
                Err(error) if is_one => reasons.push(format!("{}: {error}", place.address)),
                Err(error) => reasons.push(format!("{} ({ip}): {error}", place.address)),
            }
            if is_most(&told_by, &ips) {
                break;
            }
        }
        newest(answers).ok_or_else(|| reasons.join("; "))
    }

    async fn look_up(&self, lookups: &Lookups) -> Result<Vec<IpAddr>, Unanswered> {
        let found = timeout(ASK_DEADLINE, lookups.addresses(&self.address.host)).await;
        Ok(found.map_err(|_| Unanswered::Unfound)??)
    }
}

/// Whether these are more than half of all addresses of one family.
fn is_most(some: &[IpAddr], all: &[IpAddr]) -> bool {
    [IpAddr::is_ipv4, IpAddr::is_ipv6].iter().any(|is_of_family| {
        let count = |ips: &[IpAddr]| ips.iter().filter(|ip| is_of_family(ip)).count();
        count(some) > count(all) / 2
    })
}

async fn ask(papers: &Papers, location: ConnectionAddr, ip: IpAddr, master: &str) -> Result<Answer, Unanswered> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let config = config.set_dns_resolver(Only(ip));
    let client = papers.of_sentinel(location)?;
    let mut sentinel = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut question = cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let told: Option<(String, u16)> = question.query_async(&mut sentinel).await?;
    let (host, port) = told.ok_or(Unanswered::NoSuchMaster)?;
    Ok(Answer { address: Address { host, port }, epoch: epoch(&mut sentinel, master).await })
}

/// The epoch of the Sentinel's configuration. Its user may be forbidden to ask for it: then every answer is as good as
/// the other.
async fn epoch(sentinel: &mut MultiplexedConnection, master: &str) -> u64 {
    let told = cmd("SENTINEL").arg("MASTER").arg(master).query_async(sentinel).await;
    let told: std::collections::HashMap<String, String> = told.unwrap_or_default();
    told.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
}

/// The first of those with the highest epoch.
fn newest(answers: Vec<Answer>) -> Option<Answer> {
    answers.into_iter().reduce(|one, other| if other.epoch > one.epoch { other } else { one })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for (text, host, port) in [("s1:26379", "s1", 26379), ("10.0.0.1:1", "10.0.0.1", 1), ("[::1]:2", "::1", 2)] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address, Address { host: host.into(), port });
            assert_eq!(address.to_string(), text);
        }
        for text in ["", "s1", ":26379", "s1:", "s1:x", "s1:65536", "[]:1"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    /// A Sentinel that was cut off from the others names the old master for as long as it is.
    #[test]
    fn the_newest_configuration_counts_whoever_answers_first() {
        let answer = |port, epoch| Answer { address: Address { host: "h".into(), port }, epoch };
        let port_of = |answers| newest(answers).map(|answer| answer.address.port);
        assert_eq!(port_of(vec![answer(1, 3), answer(2, 4)]), Some(2));
        assert_eq!(port_of(vec![answer(2, 4), answer(1, 3)]), Some(2));
        assert_eq!(port_of(vec![answer(1, 0), answer(2, 0)]), Some(1));
        assert_eq!(port_of(vec![]), None);
    }

    #[test]
    fn most_of_a_name_are_more_than_half_of_the_addresses_of_one_family() {
        let ips = |text: &str| text.split_whitespace().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        for (some, all, expected) in [
            ("", "10.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.1 ::1", true),
            ("10.0.0.1", "10.0.0.1 10.0.0.2", false),
            ("10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2 10.0.0.3", true),
            ("10.0.0.1 ::1", "10.0.0.1 10.0.0.2 10.0.0.3 ::1 ::2 ::3", false),
        ] {
            assert_eq!(is_most(&ips(some), &ips(all)), expected, "{some} of {all}");
        }
    }
}
