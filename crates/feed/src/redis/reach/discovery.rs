//! Finds the master: Sentinels, or the nodes of a Cluster, are asked where it is.
//!
//! All are asked at once, so that one that is gone delays nothing. The answer with the newest configuration counts: a
//! server that was cut off from the others still names the old master. As soon as more than half have answered, the
//! rest is not waited for. One name may have several addresses: then all of them are asked, in the same way.

use std::net::IpAddr;
use std::time::Duration;

use redis::RedisError;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::Address;
use super::link_error::Advised;
use super::lookup::{Lookups, NoAddress};

/// How long one of them may take, connection included, and as long again before that to look up its name. Shorter than
/// the deadline for finding the master.
const ASK_DEADLINE: Duration = Duration::from_secs(2);

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct MasterClaim {
    /// Where the master is reached.
    pub(crate) address: Address,
    /// Tells it apart from other masters.
    pub(crate) name: String,
    /// That of the configuration, which every failover raises.
    pub(crate) epoch: u64,
}

/// Why one of them is of no help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error(transparent)]
    Name(#[from] NoAddress),
    #[error("its name was looked up for {ASK_DEADLINE:?} without an answer, which is waited for")]
    Unfound,
    #[error("{}", Advised(.0))]
    Redis(#[from] RedisError),
    #[error("knows no such master")]
    NoSuchMaster,
    #[error("may not be asked by this user; allow it +cluster|nodes")]
    Forbidden,
    #[error("knows no master for the slot {0} of the log")]
    NoOwner(u16),
    #[error("says that {0}, the master for the slot of the log, has failed")]
    OwnerFailed(Address),
    #[error("did not answer within {ASK_DEADLINE:?}")]
    Late,
}

impl MasterClaim {
    /// Whether both tell the same.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.name == other.name && self.epoch == other.epoch
    }
}

/// Asks all, and returns the newest answer, or why there is none.
pub(crate) async fn ask_all<A, F>(servers: &[Address], lookups: &Lookups, ask: A) -> Result<MasterClaim, Vec<String>>
where
    A: Fn(Address, IpAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Result<MasterClaim, Unanswered>> + Send + 'static,
{
    let mut asked = JoinSet::new();
    for server in servers {
        asked.spawn(ask_each_of(server.clone(), lookups.clone(), ask.clone()));
    }
    let (mut claims, mut reasons) = (Vec::new(), Vec::new());
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(answer)) => claims.push(answer),
            Ok(Err(reason)) => reasons.push(reason),
            Err(error) => reasons.push(error.to_string()),
        }
        if claims.len() > servers.len() / 2 {
            break;
        }
    }
    newest(claims).ok_or(reasons)
}

/// Asks the servers at all addresses of one name. A server may have an address of each family, so the majority is
/// counted within one family.
async fn ask_each_of<A, F>(name: Address, lookups: Lookups, ask: A) -> Result<MasterClaim, String>
where
    A: Fn(Address, IpAddr) -> F,
    F: Future<Output = Result<MasterClaim, Unanswered>> + Send + 'static,
{
    let ips = look_up(&name, &lookups).await.map_err(|error| format!("{name}: {error}"))?;
    let mut asked = JoinSet::new();
    for ip in ips.iter().copied() {
        let answer = timeout(ASK_DEADLINE, ask(name.clone(), ip));
        asked.spawn(async move { (ip, answer.await.unwrap_or(Err(Unanswered::Late))) });
    }
    let (mut claims, mut reasons, mut told_by) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(told) = asked.join_next().await {
        let Ok((ip, answer)) = told else { continue };
        match answer {
            Ok(answer) => {
                claims.push(answer);
                told_by.push(ip);
            }
            Err(error) if ips.len() == 1 => reasons.push(format!("{name}: {error}")),
            Err(error) => reasons.push(format!("{name} ({ip}): {error}")),
        }
        if is_most(&told_by, &ips) {
            break;
        }
    }
    newest(claims).ok_or_else(|| reasons.join("; "))
}

async fn look_up(name: &Address, lookups: &Lookups) -> Result<Vec<IpAddr>, Unanswered> {
    let found = timeout(ASK_DEADLINE, lookups.addresses(&name.host)).await;
    Ok(found.map_err(|_| Unanswered::Unfound)??)
}

/// Whether these are more than half of all addresses of one family.
fn is_most(some: &[IpAddr], all: &[IpAddr]) -> bool {
    [IpAddr::is_ipv4, IpAddr::is_ipv6].iter().any(|is_of_family| {
        let count = |ips: &[IpAddr]| ips.iter().filter(|ip| is_of_family(ip)).count();
        count(some) > count(all) / 2
    })
}

/// The first of those with the highest epoch.
fn newest(claims: Vec<MasterClaim>) -> Option<MasterClaim> {
    claims.into_iter().reduce(|one, other| if other.epoch > one.epoch { other } else { one })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    /// One that was cut off from the others names the old master for as long as it is.
    #[test]
    fn the_newest_configuration_counts_whoever_answers_first() {
        let answer =
            |port, epoch| MasterClaim { address: Address { host: "h".into(), port }, name: String::new(), epoch };
        let port_of = |claims| newest(claims).map(|answer| answer.address.port);
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
