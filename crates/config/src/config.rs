//! The checked settings, grouped by the part of the program that takes them.
//!
//! Plain data: whoever holds a [`Config`] holds values that passed every check. A field has the
//! name of its setting, so one word finds the flag, the variable, the key and the code.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::channel_rule::ChannelRule;
use crate::layers::Source;
use crate::redis_url::RedisUrl;
use crate::secret::Secret;

/// Everything the operator decided. `app.rs` takes it apart by name, so that a new group does not
/// compile until it is wired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The listener for browsers.
    pub public: Public,
    /// The listener for publishers and operators.
    pub internal: Internal,
    /// The threads.
    pub engine: Engine,
    /// Where events come from.
    pub feed: Feed,
    /// How Redis is reached, beside its address.
    pub redis: Redis,
    /// How an open stream is treated.
    pub streams: Streams,
    /// What is kept of each channel for slow and returning clients.
    pub logs: Logs,
    /// Channels that are treated otherwise.
    pub channels: Channels,
    /// What one client or one publisher may ask for.
    pub limits: Limits,
    /// How the program ends.
    pub drain: Drain,
    /// Which web pages may read.
    pub cors: Cors,
    /// What is written about the program's life.
    pub logging: Logging,
    /// Which file was read, and where each value came from.
    pub sources: Sources,
}

/// The listener for browsers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// Address and port.
    pub listen: SocketAddr,
    /// Share the port with other processes that do the same.
    pub listen_shared: bool,
    /// Path prefix of the streams, with a leading and without a final slash.
    pub path: String,
    /// Proxies that are believed when they say where a request comes from.
    pub trusted_proxies: Vec<IpNet>,
}

/// The listener for publishers and operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Internal {
    /// Address and port.
    pub internal_listen: SocketAddr,
    /// Names that it answers to beside addresses and `localhost`, in lower case, or a single `*`.
    pub internal_hosts: Vec<String>,
    /// Address and port of the listener for health alone, if there is one.
    pub health_listen: Option<SocketAddr>,
}

/// The threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Number of shards, at least 1; the operator's `0` is already the number of cores here.
    pub workers: usize,
}

/// Where events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The Redis server, or none for the memory feed.
    pub redis_url: Option<RedisUrl>,
    /// Whether Redis numbers the events and keeps them; never without a Redis server.
    pub redis_log: bool,
    /// Events that Redis keeps per channel.
    pub redis_log_events_max: usize,
    /// Age up to which Redis keeps an event.
    pub redis_log_age_max: Duration,
    /// The lanes beside the first, each a name of letters and digits; never without `redis_log`.
    pub redis_log_lanes: Vec<String>,
    /// Longest wait for the feed's confirmation before a new stream is shed.
    pub follow_deadline: Duration,
    /// How long a channel without subscribers stays followed.
    pub linger: Duration,
}

/// How Redis is reached, beside its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redis {
    /// The ACL user, if the URL names none.
    pub redis_username: Option<String>,
    /// Its password, if the URL holds none.
    pub redis_password: Option<Secret>,
    /// A file with the password, read for each connection.
    pub redis_password_file: Option<PathBuf>,
    /// Who signs the server's certificate, or the system's authorities.
    pub redis_tls_ca: Option<PathBuf>,
    /// The certificate to show.
    pub redis_tls_cert: Option<PathBuf>,
    /// Its key.
    pub redis_tls_key: Option<PathBuf>,
    /// Nodes of a Cluster, each as `host:port`.
    pub redis_cluster_nodes: Vec<String>,
    /// Sentinels, each as `host:port`.
    pub redis_sentinels: Vec<String>,
    /// The name by which they know the master.
    pub redis_sentinel_master: Option<String>,
    /// The Sentinels' own ACL user.
    pub redis_sentinel_username: Option<String>,
    /// Its password.
    pub redis_sentinel_password: Option<Secret>,
    /// A file with that password, read each time.
    pub redis_sentinel_password_file: Option<PathBuf>,
}

/// How an open stream is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Silence after which a stream gets a comment.
    pub keepalive_interval: Duration,
    /// Base of the `retry:` hint; each stream is told between this and twice this.
    pub retry: Duration,
    /// Longest time a stream may accept no byte while data is pending.
    pub progress_deadline: Duration,
    /// `SO_SNDBUF` of a stream's socket.
    pub send_buffer_bytes: usize,
    /// Channels that one stream may follow.
    pub channels_per_stream_max: usize,
    /// What becomes of a stream that is slower than its channel's log is long.
    pub slow_policy: SlowPolicy,
    /// Whether each outage is a gap for channels in which no plain event was seen.
    pub plain_events_expected: bool,
    /// Events that follow the gap of a stream whose client's id is unknown.
    pub unknown_id_replay_max: usize,
    /// Whether streams get events of the program's own about gaps and their end.
    pub control_events: bool,
    /// Whether streams get an event when the feed is lost or back.
    pub feed_state_events: bool,
}

/// What is kept of each channel for slow and returning clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// Events kept per channel.
    pub log_events_max: usize,
    /// Frame bytes kept per channel.
    pub log_bytes_max: usize,
    /// Age up to which an event is kept.
    pub log_age_max: Duration,
    /// Frame bytes kept in all channels together.
    pub logs_bytes_max: usize,
}

/// Channels that are treated otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    /// In the order in which they are tried; the first that fits holds.
    pub channel: Vec<ChannelRule>,
}

/// What one client or one publisher may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; 0 stands for the descriptor limit minus a reserve of 128.
    pub connections_max: usize,
    /// Channels that may exist at once.
    pub channels_max: usize,
    /// Those that one address may make; 0 stands for a number for public addresses and none for others.
    pub channels_per_address_max: usize,
    /// Longest time from accept to the first complete request head.
    pub request_deadline: Duration,
    /// Bytes of a request head.
    pub head_bytes_max: usize,
    /// Bytes of a request target.
    pub uri_bytes_max: usize,
    /// Bytes of a publish request's body.
    pub publish_body_bytes_max: usize,
    /// Bytes of one event after encoding.
    pub event_bytes_max: usize,
}

/// How the program ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Time between the end of readiness and the end of accepting.
    pub drain_delay: Duration,
    /// Time over which open streams are ended, spread evenly.
    pub drain_window: Duration,
    /// Time after which the program exits whatever is still open; never below the window.
    pub drain_deadline: Duration,
}

/// Which web pages may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Exact origins, or a single `*`.
    pub cors_origin: Vec<String>,
    /// Whether their pages may send cookies along; only with exact origins.
    pub cors_credentials: bool,
}

/// What is written about the program's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// A filter in the syntax of tracing's `EnvFilter`.
    pub log_level: String,
    /// Lines for people or for machines.
    pub log_format: LogFormat,
}

/// Which file was read, and where each value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The file that was read.
    pub config: Option<PathBuf>,
    /// One source per declared setting, in the order of the table.
    pub(crate) of_settings: Vec<Source>,
}

/// What becomes of a stream that is slower than its channel's log is long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowPolicy {
    /// It is ended; the client comes back and is told of the gap.
    #[default]
    Disconnect,
    /// It is told of the gap and goes on with what is still there.
    Skip,
    /// It is told of the gap and goes on with the newest event.
    Latest,
}

impl SlowPolicy {
    /// The words an operator writes.
    pub const WORDS: [&str; 3] = ["disconnect", "skip", "latest"];
}

impl FromStr for SlowPolicy {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "disconnect" => Ok(Self::Disconnect),
            "skip" => Ok(Self::Skip),
            "latest" => Ok(Self::Latest),
            _ => Err(()),
        }
    }
}

impl fmt::Display for SlowPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::WORDS[*self as usize])
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// The words an operator writes.
    pub const WORDS: [&str; 2] = ["text", "json"];
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl Config {
    /// The state before any layer: the defaults of the table are applied to it like any other
    /// layer, so no value in here is ever seen by anyone.
    pub(crate) fn blank() -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            public: Public { listen: nowhere, listen_shared: false, path: String::new(), trusted_proxies: Vec::new() },
            internal: Internal { internal_listen: nowhere, internal_hosts: Vec::new(), health_listen: None },
            engine: Engine { workers: 0 },
            feed: Feed {
                redis_url: None,
                redis_log: false,
                redis_log_events_max: 0,
                redis_log_age_max: Duration::ZERO,
                redis_log_lanes: Vec::new(),
                follow_deadline: Duration::ZERO,
                linger: Duration::ZERO,
            },
            redis: Redis::default(),
            streams: Streams {
                keepalive_interval: Duration::ZERO,
                retry: Duration::ZERO,
                progress_deadline: Duration::ZERO,
                send_buffer_bytes: 0,
                channels_per_stream_max: 0,
                slow_policy: SlowPolicy::Disconnect,
                plain_events_expected: false,
                unknown_id_replay_max: 0,
                control_events: false,
                feed_state_events: false,
            },
            logs: Logs { log_events_max: 0, log_bytes_max: 0, log_age_max: Duration::ZERO, logs_bytes_max: 0 },
            channels: Channels { channel: Vec::new() },
            limits: Limits {
                connections_max: 0,
                channels_max: 0,
                channels_per_address_max: 0,
                request_deadline: Duration::ZERO,
                head_bytes_max: 0,
                uri_bytes_max: 0,
                publish_body_bytes_max: 0,
                event_bytes_max: 0,
            },
            drain: Drain { drain_delay: Duration::ZERO, drain_window: Duration::ZERO, drain_deadline: Duration::ZERO },
            cors: Cors { cors_origin: Vec::new(), cors_credentials: false },
            logging: Logging { log_level: String::new(), log_format: LogFormat::Text },
            sources: Sources { config: None, of_settings: Vec::new() },
        }
    }
}
