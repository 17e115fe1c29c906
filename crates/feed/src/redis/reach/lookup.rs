//! Looks a name up, anew for each connection, and once at a time.
//!
//! The system's resolver takes as long as it likes, half a minute with name servers that are gone, and keeps a thread
//! until it is done: it cannot be cancelled. So a caller whose name is being looked up already waits for that
//! answer, however many tries to connect were given up meanwhile. An answer that came too late for all callers
//! serves the next one. Example: the resolver takes 8 s and a connection may take 5 s; without this none would be made.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::RedisFuture;
use redis::io::AsyncDNSResolver;
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::Instant;

/// How old an answer may be that no caller has had yet: twice the longest pause between two tries.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(10);

/// All lookups of one feed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lookups {
    /// Under way, or answered and not taken.
    names: Arc<Mutex<HashMap<String, Lookup>>>,
}

type Lookup = watch::Receiver<Option<Resolved>>;

#[derive(Debug, Clone)]
struct Resolved {
    at: Instant,
    addresses: Result<Vec<IpAddr>, NoAddress>,
}

/// A name that leads nowhere.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the name {name} leads nowhere: {reason}; check how it is written, and that this machine's name servers know it"
)]
pub(crate) struct NoAddress {
    name: String,
    reason: String,
}

impl Lookups {
    /// All addresses that the name has now, in the order of the system's resolver; at least one. A number is its own
    /// address.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let owned = name.to_owned();
        let resolve = async move { Ok(lookup_host((owned, 0)).await?.map(|address| address.ip()).collect()) };
        self.ask(name, resolve).await
    }

    /// Waits for the lookup that is under way, or begins with `resolve`.
    async fn ask(
        &self,
        name: &str,
        resolve: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    ) -> Result<Vec<IpAddr>, NoAddress> {
        let mut lookup = self.join(name, resolve);
        let resolved = lookup.wait_for(Option::is_some).await.ok().and_then(|resolved| resolved.clone());
        self.taken(name, &lookup);
        // Without an answer the lookup's runtime has ended, and with it all callers.
        resolved.map_or_else(|| Err(no_address(name, "the lookup was broken off")), |resolved| resolved.addresses)
    }

    fn join(&self, name: &str, resolve: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static) -> Lookup {
        let mut names = self.names.lock();
        names.retain(|_, lookup| is_of_use(lookup));
        if let Some(lookup) = names.get(name) {
            return lookup.clone();
        }
        let (answer, lookup) = watch::channel(None);
        names.insert(name.to_owned(), lookup.clone());
        let name = name.to_owned();
        tokio::spawn(async move {
            let addresses = match resolve.await {
                Ok(addresses) if addresses.is_empty() => Err(no_address(&name, "it has no address")),
                Ok(addresses) => Ok(addresses),
                Err(error) => Err(no_address(&name, &error.to_string())),
            };
            answer.send_replace(Some(Resolved { at: Instant::now(), addresses }));
        });
        lookup
    }

    /// An answer that was taken is not given again: the next connection asks anew.
    fn taken(&self, name: &str, lookup: &Lookup) {
        let mut names = self.names.lock();
        if names.get(name).is_some_and(|other| other.same_channel(lookup)) {
            names.remove(name);
        }
    }
}

/// Leads a connection to this address, whatever its name. The server's certificate is checked
/// against the name.
pub(crate) struct FixedAddress(pub(crate) IpAddr);

impl AsyncDNSResolver for FixedAddress {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let address = SocketAddr::new(self.0, port);
        Box::pin(async move { Ok(Box::new([address].into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>) })
    }
}

fn is_of_use(lookup: &Lookup) -> bool {
    match &*lookup.borrow() {
        Some(resolved) => resolved.at.elapsed() < ANSWER_AGE_MAX,
        None => lookup.has_changed().is_ok(),
    }
}

fn no_address(name: &str, reason: &str) -> NoAddress {
    NoAddress { name: name.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use std::future::{pending, poll_fn, ready};

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    async fn answers(last: u8) -> io::Result<Vec<IpAddr>> {
        ready(Ok(vec![address(last)])).await
    }

    /// A resolver that must not be asked.
    fn unasked() -> impl Future<Output = io::Result<Vec<IpAddr>>> {
        poll_fn(|_| panic!("a second lookup was begun"))
    }

    /// Gives up as a connection does at its deadline. The clock stands still, and goes on when all else waits.
    async fn give_up(lookups: &Lookups, resolve: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static) {
        let asked = timeout(Duration::from_secs(5), lookups.ask("redis", resolve)).await;
        assert!(asked.is_err(), "{asked:?}");
    }

    #[tokio::test]
    async fn a_number_is_not_looked_up() {
        let lookups = Lookups::default();
        for number in ["127.0.0.1", "::1"] {
            assert_eq!(lookups.addresses(number).await.unwrap(), [number.parse::<IpAddr>().unwrap()]);
        }
    }

    #[tokio::test]
    async fn every_connection_has_its_name_looked_up_anew() {
        let lookups = Lookups::default();
        assert_eq!(lookups.ask("redis", answers(1)).await.unwrap(), [address(1)]);
        assert_eq!(lookups.ask("redis", answers(2)).await.unwrap(), [address(2)]);
        assert!(lookups.names.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_never_ends_is_one_however_often_it_is_given_up() {
        let lookups = Lookups::default();
        give_up(&lookups, pending()).await;
        for _ in 0..1_000 {
            give_up(&lookups, unasked()).await;
        }
        assert_eq!(lookups.ask("other", answers(1)).await.unwrap(), [address(1)], "nobody else waits for it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_slower_than_every_deadline_leads_to_redis_all_the_same() {
        let lookups = Lookups::default();
        let (answer, answered) = oneshot::channel();
        give_up(&lookups, async { answered.await.unwrap() }).await;
        give_up(&lookups, unasked()).await;
        answer.send(Ok(vec![address(1)])).unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(lookups.ask("redis", unasked()).await.unwrap(), [address(1)], "it came in the pause");
        assert_eq!(lookups.ask("redis", answers(2)).await.unwrap(), [address(2)], "and was had once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_waited_for_long_is_not_given() {
        let lookups = Lookups::default();
        let (answer, answered) = oneshot::channel();
        give_up(&lookups, async { answered.await.unwrap() }).await;
        answer.send(Ok(vec![address(1)])).unwrap();
        tokio::time::sleep(ANSWER_AGE_MAX * 2).await;
        assert_eq!(lookups.ask("redis", answers(2)).await.unwrap(), [address(2)]);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_told_with_what_to_do_and_asked_for_again() {
        let lookups = Lookups::default();
        for resolve in [Ok(vec![]), Err(io::Error::other("no such name"))] {
            let error = lookups.ask("redis", ready(resolve)).await.unwrap_err().to_string();
            assert!(error.starts_with("the name redis leads nowhere: ") && error.contains("; check"), "{error}");
        }
        assert_eq!(lookups.ask("redis", answers(1)).await.unwrap(), [address(1)]);
    }
}
