//! Which Redis, and how patient to be with it.

use std::fmt;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use super::log::LogRetention;

/// A silent peer is asked for a sign of life after this, and twice more often from then on.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// How long bytes may stay unacknowledged: as long as a silent peer lasts.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How to reach Redis. Make one with [`parse`](Self::parse), then change what should not be the default.
#[derive(Clone)]
pub struct RedisSettings {
    connection: ConnectionInfo,
    /// Bytes of one event after encoding, as on every other node: larger ones are refused to their publisher.
    pub event_bytes_max: usize,
    /// How often a probe is sent round, and how long it may take before the subscription counts as deaf.
    pub probe_interval: Duration,
    /// Longest time to connect, name lookup, TLS and login included.
    pub connect_deadline: Duration,
    /// Longest time for Redis to answer a command.
    pub response_deadline: Duration,
    /// Whether events are numbered and kept in Redis, and how many.
    pub log: Option<LogRetention>,
}

/// Why an address is none. It does not quote the address, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the redis url is not usable: {reason}; write redis://[user:password@]host[:port][/database], or rediss:// for TLS"
)]
pub struct SettingsError {
    reason: String,
}

impl RedisSettings {
    /// Checks `url` (`redis://`, `rediss://` or `unix://`) without connecting.
    pub fn parse(url: &str) -> Result<Self, SettingsError> {
        let connection = url.into_connection_info().map_err(|error| SettingsError { reason: error.to_string() })?;
        // Only RESP3 lets one connection take commands and messages, in the order in which Redis did them.
        let redis = connection
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("fantail", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            connection: connection.set_redis_settings(redis).set_tcp_settings(tcp_settings()),
            event_bytes_max: 256 * 1024,
            probe_interval: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(5),
            response_deadline: Duration::from_secs(5),
            log: None,
        })
    }

    pub(super) fn connection(&self) -> &ConnectionInfo {
        &self.connection
    }

    /// Host and port, or the socket's path: fit for a log line.
    pub(super) fn address(&self) -> String {
        self.connection.addr().to_string()
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("address", &self.address())
            .field("event_bytes_max", &self.event_bytes_max)
            .field("probe_interval", &self.probe_interval)
            .field("connect_deadline", &self.connect_deadline)
            .field("response_deadline", &self.response_deadline)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

fn tcp_settings() -> TcpSettings {
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(USER_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_form_of_address_is_taken_and_none_shows_its_password() {
        for url in [
            "redis://db",
            "redis://:hunter2@db:6380/3",
            "rediss://edge:hunter2@db",
            "redis://edge:hunter2%40x@[::1]:7000/0",
            "redis://db/0?protocol=resp2",
            "unix:///run/redis.sock?db=1&user=edge&pass=hunter2",
        ] {
            let settings = RedisSettings::parse(url).expect(url);
            assert_eq!(settings.connection().redis_settings().protocol(), ProtocolVersion::RESP3);
            assert!(!format!("{settings:?} {}", settings.address()).contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_quoted() {
        for url in ["", "db", "http://:hunter2@db", "redis://", "redis://:hunter2@db/x", "redis://:hunter2%ff@db"] {
            let error = RedisSettings::parse(url).expect_err(url);
            assert!(!error.to_string().contains("hunter2"), "{url}: {error}");
        }
    }
}
