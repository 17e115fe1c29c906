//! The connections at work: subscribing, taking what arrives, following the log, publishing.
//!
//! It drives the machines of `log` over the links of `reach`.

mod arrivals;
mod copies;
mod delivery;
mod follower;
mod lane_states;
mod library;
mod log_store;
mod publish_connection;
mod publisher;
mod recall;
mod recent_events;
mod subscriber;
mod subscriptions;
mod unnumbered;

pub(super) use arrivals::Arrivals;
pub(super) use follower::ReadPermits;
pub(super) use lane_states::LaneStates;
pub(super) use publish_connection::PublishConnection;
pub use publisher::RedisPublisher;
pub(super) use subscriber::Subscriber;
