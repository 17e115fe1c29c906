//! One connection to Redis: where it leads, and how it is known that it ended.
//!
//! It leads to the master, to where the Sentinels and the name's addresses are now: nothing is remembered from the
//! connection before. Of several addresses each is tried. While it stands it is asked as often as a probe is sent whether
//! it still leads there; one that does not is ended, as if it had been cut.

use std::net::IpAddr;
use std::sync::Arc;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, ConnectionAddr, PushInfo};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::files::FileError;
use super::hello::{self, Nature};
use super::link_error::LinkError;
use super::lookup::Only;
use super::sentinels::{Address, Answer};
use super::settings::{Papers, RedisSettings};

/// A connection that stands until [`ended`](Self::ended) returns. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    ended: Arc<Notify>,
    watch: JoinHandle<()>,
}

/// Belongs to the connection's driver, whose every way to end drops it: a closed socket, a reply that is no Redis
/// protocol, a panic.
struct Driver {
    ended: Arc<Notify>,
}

/// Why a connection that stands must not be used any more.
#[derive(Debug, thiserror::Error)]
enum Astray {
    #[error("this server is a replica now")]
    Demoted,
    #[error("the sentinels name another master, {0}")]
    Replaced(Address),
}

/// Where to connect to, found anew for each connection.
struct Way {
    papers: Arc<Papers>,
    /// What the Sentinels said, if there are any.
    found: Option<Answer>,
    location: ConnectionAddr,
    /// All that the name stands for now. None for a socket of this machine.
    addresses: Vec<IpAddr>,
}

impl Link {
    /// Connects and logs in. `on_push` is called for each push in the order of the socket, and may refuse to go on by
    /// returning false.
    pub(super) async fn open(
        settings: &RedisSettings,
        on_push: impl Fn(PushInfo) -> bool + Send + Sync + 'static,
    ) -> Result<Self, LinkError> {
        let deadline = settings.connect_deadline;
        let until = Instant::now() + deadline;
        let way = timeout_at(until, Way::find(settings, until)).await.unwrap_or(Err(LinkError::Late(deadline)))?;
        let on_push = Arc::new(on_push);
        // Time of its own: a lookup that takes nearly all of it each time would else lead nowhere.
        let until = Instant::now() + deadline;
        let [_, _, ..] = *way.addresses else {
            let connected = timeout_at(until, Self::connect(settings, &way, way.addresses.first(), on_push)).await;
            return connected.unwrap_or(Err(LinkError::Late(deadline)));
        };
        // In turn, and each has its share of the time: one that takes connections and says nothing must not stand
        // before the others.
        let mut failures = Vec::new();
        for (tried, address) in way.addresses.iter().enumerate() {
            let left = (way.addresses.len() - tried) as u32;
            let share = until.saturating_duration_since(Instant::now()) / left;
            match timeout(share, Self::connect(settings, &way, Some(address), Arc::clone(&on_push))).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => failures.push((*address, error)),
                Err(_) => failures.push((*address, LinkError::LateAmongOthers(deadline))),
            }
        }
        Err(LinkError::Addresses(failures))
    }

    /// Waits for the end. A connection that ended before the call is told at once: the end leaves a permit.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    async fn connect(
        settings: &RedisSettings,
        way: &Way,
        address: Option<&IpAddr>,
        on_push: Arc<impl Fn(PushInfo) -> bool + Send + Sync + 'static>,
    ) -> Result<Self, LinkError> {
        let ended = Arc::new(Notify::new());
        let driver = Driver { ended: Arc::clone(&ended) };
        let push_sender = move |push| if on_push(push) { Ok(()) } else { driver.give_up() };
        // The deadline for the whole is ours; another beside it would tell the same in other words.
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(settings.response_deadline))
            .set_push_sender(push_sender);
        if let Some(address) = address {
            config = config.set_dns_resolver(Only(*address));
        }
        let named = way.location.to_string();
        let told = |error| match &way.found {
            Some(_) => LinkError::Named { address: named.clone(), error },
            None => LinkError::Redis(error),
        };
        let client = way.papers.of_server(way.location.clone())?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(told)?;
        check(hello::ask(&mut connection).await.map_err(told)?, named.clone())?;
        let watch = tokio::spawn(watch(settings.clone(), way.found.clone(), connection.clone(), Arc::clone(&ended)));
        Ok(Self { connection, ended, watch })
    }
}

impl Way {
    async fn find(settings: &RedisSettings, until: Instant) -> Result<Self, LinkError> {
        let papers = Arc::new(read_papers(settings).await?);
        let found = match settings.sentinels() {
            Some(sentinels) => Some(sentinels.master(settings, &papers).await?),
            None => None,
        };
        let location = match &found {
            Some(Answer { address: Address { host, port }, .. }) => settings.location_at(host.clone(), *port),
            None => settings.location().clone(),
        };
        let addresses = match &location {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => {
                let late = |_| Err(LinkError::LateLookup { name: host.clone(), deadline: settings.connect_deadline });
                let addresses = timeout_at(until, async { Ok(settings.lookups().addresses(host).await?) }).await;
                addresses.unwrap_or_else(late)?
            }
            ConnectionAddr::Unix(_) | _ => Vec::new(),
        };
        Ok(Self { papers, found, location, addresses })
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

/// A slow disk must not hold up the thread.
async fn read_papers(settings: &RedisSettings) -> Result<Papers, FileError> {
    let settings = settings.clone();
    spawn_blocking(move || settings.papers()).await.expect("reading files does not panic")
}

fn check(nature: Nature, address: String) -> Result<(), LinkError> {
    match nature {
        Nature::Master => tracing::debug!(address, "redis is a master"),
        Nature::ClusterNode => tracing::warn!(
            address,
            "redis is a node of a cluster: messages that its nodes lose between \
            each other are lost unnoticed, see docs/redis.md"
        ),
        Nature::Replica => return Err(LinkError::Replica(address)),
        Nature::Sentinel => return Err(LinkError::Sentinel(address)),
    }
    Ok(())
}

/// Asks again and again whether the connection leads to the master, until it does not. An answer that does not come says
/// nothing: silence is found out by the probe.
async fn watch(
    settings: RedisSettings,
    found: Option<Answer>,
    mut connection: MultiplexedConnection,
    ended: Arc<Notify>,
) {
    let mut doubt = None;
    loop {
        sleep(settings.probe_interval).await;
        let replaced = match &found {
            Some(found) => replaced(&settings, found, &mut doubt).await,
            None => None,
        };
        let astray = match replaced {
            Some(other) => Astray::Replaced(other),
            None if is_replica(&mut connection).await => Astray::Demoted,
            None => continue,
        };
        tracing::warn!(address = settings.address(), %astray, "a connection to redis is given up");
        return ended.notify_one();
    }
}

/// The master that the Sentinels name instead of the one that was found. Right after a failover some of them still name
/// the old one: an older configuration counts only when it is told twice, as when an operator begins a new one.
async fn replaced(settings: &RedisSettings, found: &Answer, doubt: &mut Option<Answer>) -> Option<Address> {
    let papers = Arc::new(read_papers(settings).await.ok()?);
    let answer = settings.sentinels()?.master(settings, &papers).await.ok()?;
    let is_other = answer.address != found.address;
    let is_certain = answer.epoch >= found.epoch || doubt.as_ref() == Some(&answer);
    *doubt = is_other.then(|| answer.clone());
    (is_other && is_certain).then_some(answer.address)
}

async fn is_replica(connection: &mut MultiplexedConnection) -> bool {
    hello::ask(connection).await.is_ok_and(|nature| nature == Nature::Replica)
}
