//! Shared by all of Fantail's tests: real servers, raw clients, faults, and a judge.
//!
//! Nothing here knows a Fantail crate, hyper, a Redis or a NATS library. The kit speaks over plain sockets, or rustls on them, and judges
//! from bytes, so that a mistake in the tested code cannot hide in its test. A missing program is an error, never a skipped
//! test.

pub mod certificates;
pub mod channel_set;
pub mod child;
pub mod chromium;
pub mod client;
pub mod dns_server;
pub mod error;
pub mod faulty_server;
mod firefox;
pub mod front;
pub mod http;
pub mod http2_client;
mod http2_front;
pub mod ledger;
pub mod nats_cluster;
pub mod nats_connection;
pub mod nats_server;
pub mod nginx;
mod owncloud;
pub mod payload;
pub mod port;
pub mod program;
pub mod proxy;
pub mod random;
pub mod redis_cluster;
pub mod redis_sentinel;
pub mod redis_server;
pub mod resp;
pub mod response;
pub mod sse;
pub mod transport;
pub mod trial;
mod webkit;

pub use certificates::Certificates;
pub use channel_set::ChannelSet;
pub use child::Signal;
pub use chromium::{Browser, Page};
pub use client::{Close, SseClient};
pub use dns_server::DnsServer;
pub use error::{Error, Result};
pub use faulty_server::{Defect, FaultyServer};
pub use front::{Front, FrontProgram};
pub use http::{HttpConnection, Response, http};
pub use http2_client::{Http2Client, Tab};
pub use http2_front::Http2Front;
pub use ledger::{Composed, Ledger, LedgerPublisher, Mark, Reader, Start, Verdict};
pub use nats_cluster::NatsCluster;
pub use nats_connection::{NatsConnection, NatsMessage};
pub use nats_server::NatsServer;
pub use nginx::Nginx;
pub use owncloud::{OWNCLOUD_STREAM, owncloud_event, owncloud_message};
pub use payload::{Payload, payload};
pub use program::Fantail;
pub use proxy::{Direction, FaultProxy};
pub use random::Random;
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinel;
pub use redis_server::RedisServer;
pub use resp::{Reply, RespConnection};
pub use response::End;
pub use sse::Event;
pub use transport::TlsTrust;
pub use trial::{
    Broker, PublisherRules, PubsubForm, ReaderHabit, ReaderRules, Sender, TlsReaders, Trial, TrialPublisher,
    TrialReader, Way,
};

use std::time::Duration;

/// How long the kit waits for something that must happen before it calls the test failed.
///
/// This is a failure guard, not a measurement: a busy machine must never cause a false alarm.
pub const PATIENCE: Duration = Duration::from_secs(30);
