//! A redis-server with a log in it, a store that publishes and reads, and a second connection that looks for itself.

use std::time::Duration;

use fantail_testkit::{RedisServer, Reply, RespConnection};
use fantail_wire::{ChannelName, Event, EventId, LaneName, Publication, Term};
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};

use super::LibraryForm;
use crate::RedisSettings;
use crate::redis::live::log_store::StreamPlace;
use crate::redis::live::log_store::{Entries, LogState, LogStore};
use crate::redis::log::LogEntry;
use crate::redis::reach::{Link, Purpose};
use crate::redis::retention::LogRetention;

pub(super) const STATE: &str = "fantail-log:{0}";
pub(super) const TOPS: &str = "fantail-tops:{0}";

/// A log and its server.
pub(super) struct TestLane {
    pub(super) server: RedisServer,
    pub(super) form: LibraryForm,
    /// Dropping it closes the connection.
    link: Link,
    pub(super) store: LogStore,
    judge: RespConnection,
}

impl TestLane {
    pub(super) async fn start(form: LibraryForm) -> Self {
        Self::over(RedisServer::start().await.unwrap(), form).await
    }

    pub(super) async fn over(server: RedisServer, form: LibraryForm) -> Self {
        let judge = server.connection().await.unwrap();
        let (link, store) = open(&server.url(), form).await.unwrap();
        Self { server, form, link, store, judge }
    }

    /// Connects anew, after a restart or a change of roles.
    pub(super) async fn reconnect(&mut self) {
        self.judge = self.server.connection().await.unwrap();
        (self.link, self.store) = open(&self.server.url(), self.form).await.unwrap();
    }

    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.link.connection.clone()
    }

    pub(super) async fn try_publish(&self, channels: &[&str], data: &str) -> RedisResult<(EventId, u64)> {
        self.store.publish(&mut self.connection(), &publication(channels, Event::text(data))).await
    }

    pub(super) async fn store_publish(&self, publication: &Publication) -> EventId {
        self.store.publish(&mut self.connection(), publication).await.unwrap().0
    }

    pub(super) async fn publish(&self, channels: &[&str], data: &str) -> EventId {
        self.try_publish(channels, data).await.unwrap().0
    }

    pub(super) async fn state(&self) -> LogState {
        self.state_seen(None).await
    }

    /// The state, as it is told to a node that has seen so much.
    pub(super) async fn state_seen(&self, seen: Option<(Term, u64)>) -> LogState {
        self.store.state(&mut self.connection(), seen).await.unwrap()
    }

    pub(super) async fn configure(&self, events_max: u64, age_max: Duration) {
        self.store.configure(&mut self.connection(), LogRetention { events_max, age_max }).await.unwrap();
    }

    pub(super) async fn entries(&self, name: &str) -> Vec<LogEntry> {
        self.entries_between(name, None, None, 1_000_000).await
    }

    pub(super) async fn entries_between(
        &self,
        name: &str,
        above: Option<StreamPlace>,
        up_to: Option<StreamPlace>,
        newest_max: usize,
    ) -> Vec<LogEntry> {
        let connection = &mut self.connection();
        let read = self.store.entries(connection, &channel(name), above, up_to, newest_max).await.unwrap();
        assert!(read.malformed.is_empty(), "{:?}", read.malformed);
        read.entries
    }

    /// All that is kept of a channel, malformed entries as well.
    pub(super) async fn read(&self, name: &str) -> Entries {
        self.store.entries(&mut self.connection(), &channel(name), None, None, 1_000_000).await.unwrap()
    }

    /// Number, previous number and data of all that is kept of a channel.
    pub(super) async fn chain(&self, name: &str) -> Vec<(u64, u64, String)> {
        let entries = self.entries(name).await.into_iter();
        entries.map(|entry| (entry.id.number, entry.previous, entry.event.data)).collect()
    }

    /// All channels of the newest event of one of them, if there are several.
    pub(super) async fn list(&mut self, name: &str) -> Option<String> {
        let newest = self.redis(&["XREVRANGE", &stream(name), "+", "-", "COUNT", "1"]).await;
        let fields = newest.array()?.first()?.array()?.get(1)?.array()?;
        fields.chunks(2).find(|field| field[0].text().as_deref() == Some("c")).and_then(|field| field[1].text())
    }

    pub(super) async fn tops(&self, names: &[&str]) -> Vec<Option<u64>> {
        let channels: Vec<_> = names.iter().map(|name| channel(name)).collect();
        self.store.tops(&mut self.connection(), &channels).await.unwrap()
    }

    pub(super) async fn changed_since(&self, number: u64) -> Vec<(String, u64)> {
        self.store.changed_since(&mut self.connection(), number).await.unwrap()
    }

    /// Any command, by a client that shares nothing with the store.
    pub(super) async fn redis(&mut self, arguments: &[&str]) -> Reply {
        self.judge.command(arguments).await.unwrap()
    }

    pub(super) async fn integer(&mut self, arguments: &[&str]) -> i64 {
        self.redis(arguments).await.integer().unwrap()
    }

    /// Everything that Redis holds, to tell whether anything changed.
    pub(super) async fn dump(&mut self) -> Vec<(String, Reply)> {
        let keys = self.redis(&["KEYS", "*"]).await;
        let mut keys: Vec<_> = keys.array().unwrap().iter().map(|key| key.text().unwrap()).collect();
        keys.sort();
        let mut dump = Vec::new();
        for key in keys {
            let value = self.redis(&["DUMP", &key]).await;
            dump.push((key, value));
        }
        dump
    }
}

pub(super) async fn open(url: &str, form: LibraryForm) -> RedisResult<(Link, LogStore)> {
    let mut link = Link::open(&RedisSettings::parse(url).unwrap(), Purpose::Publish, |_| true).await.unwrap();
    let store = match form {
        LibraryForm::Functions => LogStore::attach(&link, &LaneName::default()).await?,
        LibraryForm::Script => LogStore::attach_script(&mut link.connection, &LaneName::default()).await?,
    };
    Ok((link, store))
}

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub(super) fn publication(channels: &[&str], event: Event) -> Publication {
    Publication::new(channels.iter().map(|name| channel(name)), event)
}

pub(super) fn stream(name: &str) -> String {
    format!("fantail-stream:{{0}}:{name}")
}

/// The words of our text, without the client's around them.
pub(super) fn said(error: &RedisError) -> &str {
    error.detail().unwrap_or_default()
}
