//! Reaching a server: which one, by which credentials, and whether it is still the right one.
//!
//! Nothing here knows a channel or an event: it makes a [`Link`], and ends it when it leads to a wrong server.

mod address;
mod cluster;
mod discovery;
mod link;
mod link_error;
mod login;
mod lookup;
mod redis_cli;
mod redis_reach;
mod sentinels;
mod server_info;
mod server_role;
mod settings;
mod slot;
mod tls;

pub(super) use link::{Link, Purpose};
pub(super) use link_error::{Advised, LinkError, is_elsewhere};
pub use redis_reach::RedisReach;
pub(super) use server_role::ServerRole;
pub use settings::{RedisSettings, SettingsError};
