//! Which Redis, and its deadlines.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use fantail_wire::{LaneName, Lanes};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisResult,
    TlsCertificates,
};

use super::cluster::Cluster;
use super::login::{Login, Password};
use super::lookup::Lookups;
use super::redis_reach::RedisReach;
use super::sentinels::Sentinels;
use super::tls::TlsFiles;

use crate::files::FileError;
use crate::redis::retention::LogRetention;
use crate::shared_read::SharedRead;

/// A silent peer is asked for a sign of life after this, and twice more often from then on.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// How long bytes may stay unacknowledged: as long as a silent peer lasts.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Stands for a host that is not known yet.
const NO_HOST: &str = "untold.invalid";

/// How to reach Redis. Make one with [`parse`](Self::parse) or [`new`](Self::new), then change what should not be the
/// default.
#[derive(Clone)]
pub struct RedisSettings {
    connection: ConnectionInfo,
    /// The lane of the log, if there is a log.
    pub(crate) lane: LaneName,
    login: Login,
    pub(super) tls: TlsFiles,
    pub(super) sentinels: Option<Sentinels>,
    /// Shared by all clones, and so by all connections of a feed.
    pub(super) lookups: Lookups,
    /// So is this.
    reading: SharedRead<Result<Credentials, FileError>>,
    pub(super) cluster: Option<Cluster>,
    /// Bytes of one event after encoding, as on every other node: larger ones are refused to their publisher.
    pub event_bytes_max: usize,
    /// How often a probe is sent round, and how long it may take before the subscription counts as deaf. As often each
    /// connection is asked whether it still leads to the master.
    pub probe_interval: Duration,
    /// Longest time for each step of the way: to find out where Redis is, reading files and asking Sentinels or a
    /// Cluster included; to look up the name; to connect, TLS and login included.
    pub connect_deadline: Duration,
    /// Longest time for Redis to answer a command.
    pub response_deadline: Duration,
    /// Whether events are numbered and kept in Redis, and how many.
    pub log: Option<LogRetention>,
    /// The numberings among which the log's channels are divided; without a log there is one.
    pub log_lanes: Lanes,
    /// Whether an envelope reaches all channels that it names, and not only those that its copies came by.
    pub publishers_trusted: bool,
    /// Events of one channel that the node keeps: more than these are not read from the log.
    pub log_events_max: usize,
}

/// Why settings cannot be used. It does not quote the address, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The address cannot be used.
    #[error(
        "the redis url is not usable: {reason}; write redis://[user:password@]host[:port][/database], or rediss:// for TLS"
    )]
    Url {
        /// The fault.
        reason: String,
    },
    /// A Sentinel's address cannot be used.
    #[error("{0:?} is no address of a sentinel; write host:port")]
    Sentinel(String),
    /// The address of a node of a Cluster cannot be used.
    #[error("{0:?} is no address of a node of a cluster; write host:port")]
    ClusterNode(String),
    /// Sentinels without a master, or certificates without TLS.
    #[error("{0}")]
    Incomplete(&'static str),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Unusable certificates or keys.
    #[error("the certificates for redis cannot be used: {0}")]
    Certificates(String),
}

/// Everything secret that one connection needs, freshly read.
pub(crate) struct Credentials {
    server: RedisConnectionInfo,
    sentinel: RedisConnectionInfo,
    tls: Option<TlsCertificates>,
}

impl RedisSettings {
    /// Checks `url` (`redis://`, `rediss://` or `unix://`) without connecting.
    pub fn parse(url: &str) -> Result<Self, SettingsError> {
        Self::new(RedisReach { url: url.to_owned(), ..RedisReach::default() })
    }

    /// Checks all that can be checked without a look at files or the network.
    pub fn new(reach: RedisReach) -> Result<Self, SettingsError> {
        let sentinels = Sentinels::new(&reach)?;
        let cluster = Cluster::new(&reach)?;
        let is_told = sentinels.is_some() || cluster.is_some();
        let url = if is_told { with_host(&reach.url) } else { reach.url };
        let unusable = |reason| SettingsError::Url { reason };
        let connection = url.as_str().into_connection_info().map_err(|error| unusable(error.to_string()))?;
        let host = match connection.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Some(host.as_str()),
            ConnectionAddr::Unix(_) | _ => None,
        };
        if is_told && host != Some(NO_HOST) {
            return Err(SettingsError::Incomplete(
                "with sentinels or cluster nodes the redis url has no host; write redis:/// or rediss:///",
            ));
        }
        match connection.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(unusable("certificates are always checked; name yours in redis_tls_ca".into()));
            }
            ConnectionAddr::TcpTls { .. } => {}
            _ if reach.tls_ca.is_some() || reach.tls_cert.is_some() => {
                return Err(SettingsError::Incomplete("certificates take effect only with a rediss:// url"));
            }
            _ => {}
        }
        // Only RESP3 lets one connection take commands and messages, in the order in which Redis did them.
        let redis = connection
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("fantail", env!("CARGO_PKG_VERSION"));
        let password = Password::from("redis_password_file", reach.password, reach.password_file);
        Ok(Self {
            connection: connection.set_redis_settings(redis).set_tcp_settings(tcp_settings()),
            lane: LaneName::default(),
            login: Login { username: reach.username, password },
            tls: TlsFiles { ca: reach.tls_ca, client: client_files(reach.tls_cert, reach.tls_key)? },
            sentinels,
            lookups: Lookups::default(),
            reading: SharedRead::default(),
            cluster,
            event_bytes_max: 256 * 1024,
            probe_interval: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(5),
            response_deadline: Duration::from_secs(5),
            log: None,
            log_lanes: Lanes::named([]).expect("one is not too many"),
            publishers_trusted: false,
            log_events_max: 1_000,
        })
    }

    /// Reads every file once, to tell at start what would fail at the first connection.
    pub fn check_files(&self) -> Result<(), SettingsError> {
        let credentials = self.credentials()?;
        let checked = credentials.client(self.connection.addr().clone(), &credentials.server);
        checked.map(drop).map_err(|error| SettingsError::Certificates(error.to_string()))
    }

    /// The lanes of all channels, with or without a log.
    pub fn lanes(&self) -> Lanes {
        if self.log.is_some() { self.log_lanes.clone() } else { Lanes::default() }
    }

    /// The same Redis, for one of its lanes.
    pub(crate) fn for_lane(&self, lane: &LaneName) -> Self {
        Self { lane: lane.clone(), ..self.clone() }
    }

    /// Reads the files, which may have changed since the last connection.
    pub(crate) async fn read_credentials(&self) -> Result<Credentials, FileError> {
        let settings = self.clone();
        self.reading.read(move || settings.credentials()).await
    }

    /// Touches the disk.
    fn credentials(&self) -> Result<Credentials, FileError> {
        let server = self.login.apply(self.connection.redis_settings().clone())?;
        let sentinel = self.sentinels.as_ref().map(Sentinels::login).cloned().unwrap_or_default();
        let sentinel = sentinel.apply(RedisConnectionInfo::default().set_skip_set_lib_name())?;
        Ok(Credentials { server, sentinel, tls: self.is_tls().then(|| self.tls.read()).transpose()? })
    }

    /// Where Redis is, unless Sentinels or a Cluster tell it.
    pub(crate) fn location(&self) -> &ConnectionAddr {
        self.connection.addr()
    }

    pub(crate) fn username(&self) -> Option<&str> {
        self.login.username.as_deref().or_else(|| self.connection.redis_settings().username())
    }

    /// Whether there is a password, here or in a file.
    pub(crate) fn has_password(&self) -> bool {
        self.login.password.is_some() || self.connection.redis_settings().password().is_some()
    }

    pub(crate) fn database(&self) -> i64 {
        self.connection.redis_settings().db()
    }

    /// Host and port as they are reached from here: with TLS or without.
    pub(crate) fn location_at(&self, host: String, port: u16) -> ConnectionAddr {
        if self.is_tls() {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    }

    /// Host and port, the socket's path, the Sentinels' master or the Cluster, for a log line.
    pub fn address(&self) -> String {
        match (&self.sentinels, &self.cluster) {
            (Some(sentinels), _) => sentinels.to_string(),
            (None, Some(cluster)) => cluster.to_string(),
            (None, None) => self.connection.addr().to_string(),
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.connection.addr(), ConnectionAddr::TcpTls { .. })
    }
}

impl Credentials {
    /// A client of Redis itself.
    pub(crate) fn of_server(&self, location: ConnectionAddr) -> RedisResult<Client> {
        self.client(location, &self.server)
    }

    /// A client of a Sentinel, reached in the same way.
    pub(crate) fn of_sentinel(&self, location: ConnectionAddr) -> RedisResult<Client> {
        self.client(location, &self.sentinel)
    }

    fn client(&self, location: ConnectionAddr, login: &RedisConnectionInfo) -> RedisResult<Client> {
        let info = location.into_connection_info()?;
        let info = info.set_redis_settings(login.clone()).set_tcp_settings(tcp_settings());
        match &self.tls {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
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

/// With Sentinels or nodes of a Cluster the URL has no host: the library wants one all the same.
fn with_host(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) if rest.is_empty() || rest.starts_with('/') => format!("{scheme}://{NO_HOST}{rest}"),
        Some(_) => url.to_owned(),
        None => format!("redis://{NO_HOST}"),
    }
}

fn client_files(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<(PathBuf, PathBuf)>, SettingsError> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        _ => Err(SettingsError::Incomplete("redis_tls_cert and redis_tls_key go together")),
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
            "valkeys://:hunter2@db",
            "unix:///run/redis.sock?db=1&user=edge&pass=hunter2",
        ] {
            let settings = RedisSettings::parse(url).expect(url);
            assert_eq!(settings.connection.redis_settings().protocol(), ProtocolVersion::RESP3);
            assert!(!format!("{settings:?} {}", settings.address()).contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn an_unusable_address_is_refused_without_being_quoted() {
        for url in [
            "",
            "db",
            "http://:hunter2@db",
            "redis://",
            "redis://:hunter2@db/x",
            "redis://:hunter2%ff@db",
            "rediss://:hunter2@db#insecure",
        ] {
            let error = RedisSettings::parse(url).expect_err(url);
            assert!(!error.to_string().contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn user_and_password_come_from_where_they_were_given() {
        let whole = RedisReach { url: "redis://edge:hunter2@db/3".into(), ..RedisReach::default() };
        let apart = RedisReach {
            url: "redis://db/3".into(),
            username: Some("edge".into()),
            password: Some("hunter2".into()),
            ..RedisReach::default()
        };
        for reach in [whole, apart] {
            let settings = RedisSettings::new(reach).expect("settings");
            let server = settings.credentials().expect("no files are needed").server;
            assert_eq!((server.username(), server.password(), server.db()), (Some("edge"), Some("hunter2"), 3));
        }
    }

    #[test]
    fn with_sentinels_the_url_tells_everything_but_the_host() {
        for (url, is_tls, database) in [("", false, 0), ("redis:///2", false, 2), ("rediss://", true, 0)] {
            let reach = RedisReach {
                url: url.into(),
                sentinels: vec!["s1:26379".into(), "[::1]:26380".into()],
                sentinel_master: Some("main".into()),
                ..RedisReach::default()
            };
            let settings = RedisSettings::new(reach).expect(url);
            assert_eq!((settings.is_tls(), settings.connection.redis_settings().db()), (is_tls, database), "{url}");
            assert_eq!(settings.address(), "the master main of the sentinels s1:26379, [::1]:26380");
        }
    }

    #[test]
    fn nodes_of_a_cluster_stand_for_the_host_of_the_url() {
        let cluster_nodes = vec!["n1:6379".into(), "[::1]:6380".into()];
        let reach = RedisReach { url: "rediss:///".into(), cluster_nodes, ..RedisReach::default() };
        let settings = RedisSettings::new(reach).expect("settings");
        assert!(settings.is_tls());
        assert_eq!(settings.address(), "the cluster of n1:6379, [::1]:6380");
    }

    #[test]
    fn settings_without_effect_are_refused() {
        let plain = || RedisReach { url: "redis://db".into(), ..RedisReach::default() };
        let path = || Some("/x".into());
        let refused = [
            RedisReach { tls_ca: path(), ..plain() },
            RedisReach { tls_cert: path(), tls_key: path(), ..plain() },
            RedisReach { url: "rediss://db".into(), tls_cert: path(), ..plain() },
            RedisReach { url: "rediss://db".into(), tls_key: path(), ..plain() },
            RedisReach { sentinels: vec!["s1:26379".into()], ..plain() },
            RedisReach { cluster_nodes: vec!["n1:6379".into()], ..plain() },
            RedisReach { cluster_nodes: vec!["n1".into()], ..RedisReach::default() },
            RedisReach {
                cluster_nodes: vec!["n1:6379".into()],
                sentinels: vec!["s1:26379".into()],
                sentinel_master: Some("main".into()),
                ..RedisReach::default()
            },
            RedisReach { sentinels: vec!["s1:26379".into()], sentinel_master: Some("main".into()), ..plain() },
            RedisReach {
                sentinels: vec!["s1".into()],
                url: String::new(),
                sentinel_master: Some("main".into()),
                ..plain()
            },
        ];
        for reach in refused {
            assert!(RedisSettings::new(reach).is_err());
        }
    }
}
