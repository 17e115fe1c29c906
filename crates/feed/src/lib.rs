//! Where events come from.
//!
//! A feed takes publications from this node's entrances to all nodes, and brings every event of the followed channels
//! down through [`Intake`]. It knows nothing of logs, streams or HTTP. Redis is named in `redis.rs` and below only, NATS in
//! `nats.rs` and below.

#![forbid(unsafe_code)]

mod backoff;
mod counters;
mod event_json;
mod feed;
mod files;
mod intake;
mod log_gate;
mod memory;
mod nats;
mod publish;
mod random;
mod recall_queue;
#[cfg(test)]
mod recorder;
mod redis;
mod shared_read;
mod trouble;
mod turn;

pub use counters::{FeedCounters, Refusal};
pub use event_json::{EventJson, EventJsonError, ReadEvent};
pub use fantail_wire::FeedState;
pub use feed::Feed;
pub use files::FileError;
pub use intake::{Intake, Placement, Recalled};
pub use memory::MemoryFeed;
pub use nats::{NatsEventForm, NatsFeed, NatsPublisher, NatsReach, NatsSettings, NatsSettingsError};
pub use publish::{CHANNELS_PER_EVENT_MAX, PublishError, Receipt};
pub use redis::{LogRetention, RedisFeed, RedisPublisher, RedisReach, RedisSettings, SettingsError};
