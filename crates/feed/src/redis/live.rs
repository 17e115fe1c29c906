//! The connections at work: subscribing, taking what arrives, following the log, publishing.
//!
//! It drives the machines of `log` over the links of `reach`.

mod arrivals;
mod backoff;
mod follower;
mod library;
mod log_store;
mod publish_connection;
mod publisher;
mod recall;
mod recent_uids;
mod subscriber;
mod subscriptions;
mod trouble;

pub(super) use arrivals::{Arrivals, LaneStates};
pub(super) use follower::ReadPermits;
pub(super) use publish_connection::PublishConnection;
pub use publisher::RedisPublisher;
pub(super) use subscriber::Subscriber;
pub(super) use trouble::Trouble;
