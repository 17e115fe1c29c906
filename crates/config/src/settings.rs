//! The table of settings: each is declared here and nowhere else.
//!
//! A row names the field of [`Config`](crate::Config) that it fills, and its key is that field's
//! name; variable and flag follow from the key. Help, reference, example file, parsing and the
//! list of effective values are all made from these rows.

use std::time::Duration;

use crate::value::{Field, Kind};

/// One row of the table.
pub struct Setting {
    /// The key in the file, which is also the name of the field.
    pub key: &'static str,
    /// The group of [`Config`](crate::Config) that holds the field.
    pub group: &'static str,
    /// The default as an operator would write it; empty stands for none.
    pub default: &'static str,
    /// What the example file shows where there is no default.
    pub example: &'static str,
    /// What it does, and why one would change it, in a sentence or two.
    pub doc: &'static str,
    /// Whether a running program takes up a change.
    pub reloadable: bool,
    pub(crate) kind: Kind,
}

/// Headings of the groups, in the order of help and reference.
pub(crate) const GROUPS: [(&str, &str); 13] = [
    ("public", "Public listener"),
    ("internal", "Internal listener"),
    ("engine", "Threads"),
    ("feed", "Feed"),
    ("redis", "Redis"),
    ("streams", "Streams"),
    ("logs", "Channel logs"),
    ("channels", "Channels of their own kind"),
    ("limits", "Limits"),
    ("drain", "Drain"),
    ("cors", "Web pages"),
    ("logging", "Logging"),
    ("sources", "Configuration file"),
];

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("FANTAIL_{}", self.key.to_ascii_uppercase())
    }

    /// The flag, with its dashes.
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// What may be written.
    pub fn allowed(&self) -> String {
        self.kind.describe()
    }

    /// Whether it may be given more than once, as a list.
    pub fn is_repeatable(&self) -> bool {
        matches!(
            self.kind,
            Kind::Origins(_)
                | Kind::Hosts(_)
                | Kind::Networks(_)
                | Kind::Servers { .. }
                | Kind::Lanes(_)
                | Kind::Channels(_)
        )
    }

    /// Whether its value may hold a password, and so is never shown whole.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::RedisUrl(_) | Kind::Secret(_))
    }

    /// Whether the file may hold it: every setting but the one that names the file.
    pub fn belongs_in_file(&self) -> bool {
        !matches!(self.kind, Kind::File(_))
    }

    pub(crate) fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Durations go down to this, far below what anyone should run with, so that tests need not wait.
const SHORTEST: Duration = millis(10);
/// In the length that is shown as a year.
const YEAR: Duration = seconds(31_557_600);

macro_rules! field {
    ($group:ident.$field:ident) => {
        Field { get: |config| &config.$group.$field, set: |config, value| config.$group.$field = value }
    };
}

/// A row. Which settings a running program takes up is part of the row, because both the reference
/// and the program go by it; the program reads everything at start, so no row says so yet.
macro_rules! setting {
    ($group:ident.$field:ident: $kind:ident($($bound:ident: $value:expr),*) = $default:literal $(or $example:literal)?,
     $doc:literal) => {
        Setting {
            key: stringify!($field),
            group: stringify!($group),
            default: $default,
            example: concat!($default $(, $example)?),
            doc: $doc,
            reloadable: false,
            kind: setting!(@kind $kind, field!($group.$field) $(, $bound: $value)*),
        }
    };
    (@kind $kind:ident, $field:expr) => { Kind::$kind($field) };
    (@kind $kind:ident, $field:expr, port: $port:expr) => { Kind::$kind { port: $port, field: $field } };
    (@kind $kind:ident, $field:expr, min: $min:expr, max: $max:expr) => {
        Kind::$kind { min: $min, max: $max, field: $field }
    };
}

/// Every setting, grouped as in [`Config`](crate::Config).
pub static SETTINGS: [Setting; 58] = [
    setting!(public.listen: Address() = "127.0.0.1:8080",
        "Where browsers connect. Reachable from this machine only, until set otherwise."),
    setting!(public.listen_shared: Switch() = "false",
        "Share the port with other processes of this user, as while one replaces another; all of them should say so. Otherwise a port in use is an error."),
    setting!(public.path: Path() = "/sse",
        "Path prefix of the streams: GET {path}/{channel}."),
    setting!(public.trusted_proxies: Networks() = "" or "10.0.0.0/8",
        "Proxies, each as an address or a network, whose X-Forwarded-For is believed, from its right end: /connections and the log at debug show the client that they name. It costs 16 bytes per stream that comes through one. Without one the field is not read."),
    setting!(internal.internal_listen: Address() = "127.0.0.1:8081",
        "Where publishers and operators connect. It asks for no credentials, so keep it off public networks."),
    setting!(internal.internal_hosts: Hosts() = "" or "fantail.example.internal",
        "Name by which internal_listen is reached, such as that of a service in Docker Compose or Kubernetes. A request to another name is refused with 421, since a web page can make any name of its own lead here. Addresses and localhost are always accepted; a single * accepts every name."),
    setting!(internal.health_listen: AddressOrNone() = "" or "0.0.0.0:8082",
        "Where /livez, /readyz and /metrics are answered and nothing else, for kubelets, balancers and Prometheus. They are answered at internal_listen as well, where one may also publish."),
    setting!(engine.workers: Count(min: 0, max: 256) = "0",
        "Shards, each one thread that serves its own streams. 0 stands for one per core."),
    setting!(feed.redis_url: RedisUrl() = "" or "redis://127.0.0.1:6379",
        "Redis server that carries the events. A node without one has only those that are published to it over HTTP. A password is hidden in every output; still, prefer file or variable to the flag, which other users can see. With redis_sentinels or redis_cluster_nodes it has no host: redis:/// or rediss:///."),
    setting!(feed.redis_log: Switch() = "false",
        "Number events in Redis and keep them there, so that clients can resume on any node and after a restart. All nodes and publishers of one Redis must agree. Needs redis_url."),
    setting!(feed.redis_log_events_max: Count(min: 1, max: 10_000_000) = "10000",
        "With redis_log: events kept in Redis per channel. The node that connected last decides for all."),
    setting!(feed.redis_log_age_max: Duration(min: SHORTEST, max: YEAR) = "24h",
        "With redis_log: age up to which an event is kept in Redis. The node that connected last decides for all."),
    setting!(feed.redis_log_lanes: Lanes() = "",
        "With redis_log: lanes that are served beside the lane 0. A channel whose name begins with @name/ is in the lane of that name, which has a log, an order and, in a Cluster, a place of its own. A stream follows channels of one lane."),
    setting!(feed.follow_deadline: Duration(min: SHORTEST, max: seconds(5 * MINUTE)) = "5s",
        "Longest wait of a new stream for the feed: to confirm its channels, and with redis_log to bring what its client missed. Past it the client is told to come back later."),
    setting!(feed.linger: Duration(min: Duration::ZERO, max: seconds(HOUR)) = "10s",
        "How long a channel without subscribers stays followed, so that a page reload costs the feed nothing."),
    setting!(redis.redis_username: Text() = "" or "fantail",
        "ACL user of Redis, if redis_url names none. It needs a password beside it."),
    setting!(redis.redis_password: Secret() = "",
        "Password for Redis, if redis_url holds none. Prefer redis_password_file, which can be changed without a restart; a flag can be seen by other users."),
    setting!(redis.redis_password_file: Readable() = "" or "/run/secrets/redis-password",
        "File with the password for Redis as its only line. It is read again for each connection."),
    setting!(redis.redis_tls_ca: Readable() = "",
        "PEM file with the authorities that may sign the certificate of Redis, instead of the system's. For rediss://; a server that signed its own certificate is named by that. Read again for each connection, as are the next two."),
    setting!(redis.redis_tls_cert: Readable() = "",
        "PEM file with the certificate that Fantail shows to Redis, and to Sentinels. Together with redis_tls_key."),
    setting!(redis.redis_tls_key: Readable() = "",
        "PEM file with the key of redis_tls_cert."),
    setting!(redis.redis_cluster_nodes: Servers(port: 6_379) = "",
        "Nodes of a Redis Cluster, each as host or host:port, that are asked for the node with the log before each connection and while it stands. A few are enough, they know the others. They are reached with TLS if redis_url begins with rediss:."),
    setting!(redis.redis_sentinels: Servers(port: 26_379) = "",
        "Sentinels, each as host or host:port, that are asked for the master before each connection and while it stands. They are reached with TLS if redis_url begins with rediss:."),
    setting!(redis.redis_sentinel_master: Text() = "",
        "Name by which the Sentinels know the master, often mymaster. Together with redis_sentinels."),
    setting!(redis.redis_sentinel_username: Text() = "",
        "ACL user of the Sentinels, which have users of their own. It needs a password beside it."),
    setting!(redis.redis_sentinel_password: Secret() = "",
        "Password for the Sentinels, if they ask for one."),
    setting!(redis.redis_sentinel_password_file: Readable() = "",
        "File with the password for the Sentinels as its only line. It is read again each time."),
    setting!(streams.keepalive_interval: Duration(min: SHORTEST, max: seconds(HOUR)) = "15s",
        "A stream that was silent this long gets a comment, which keeps proxies from cutting it and finds dead clients. Below 1s is for tests."),
    setting!(streams.retry: Duration(min: SHORTEST, max: seconds(HOUR)) = "2s",
        "Base of the reconnect hint; each stream is told a random time between this and twice this, so that clients do not return all at once."),
    setting!(streams.progress_deadline: Duration(min: SHORTEST, max: seconds(HOUR)) = "10s",
        "A stream that accepts no byte for this long while data waits for it is ended."),
    setting!(streams.send_buffer_bytes: Size(min: 4 * KIB, max: 16 * MIB) = "32KiB",
        "Kernel send buffer of a stream. Larger hides slow clients and costs memory; smaller costs wake-ups."),
    setting!(streams.channels_per_stream_max: Count(min: 1, max: 512) = "32",
        "Channels that one stream may follow."),
    setting!(streams.slow_policy: SlowPolicy() = "disconnect",
        "What becomes of a stream whose client is slower than its channel's log is long. disconnect ends it, and the client comes back with its last id; skip sends a gap and goes on with what is still kept; latest sends a gap and only the newest event of the channel. If several channels of one stream are concerned, the strictest decides; a stream of several channels skips where the policy is latest."),
    setting!(streams.plain_events_expected: Switch() = "false",
        "With redis_log: what becomes of plain events, which the log does not number, when the connection to Redis was lost. false tells a gap after each loss in channels in which this node has seen a plain event since it follows them, so a first one that falls into a loss vanishes untold. true tells it in all, and costs channels that only the log serves a gap at each loss; set it for the channels that plain events are published to. Without redis_log all channels are told anyway."),
    setting!(streams.unknown_id_replay_max: Count(min: 0, max: 1_000_000) = "256",
        "Events that follow the gap when a client's id is not known here, as after a move to another node without redis_log: the newest of all its channels together, and none that came more than 2s before the time in the id. 0 stands for none."),
    setting!(streams.control_events: Switch() = "true",
        "Tell streams of gaps (fantail.gap) and of their end (fantail.close) with events. Without them a gap is a bare id and an end a bare retry: nothing is sent that a client would hand to its program, and losses are told to nobody."),
    setting!(streams.feed_state_events: Switch() = "false",
        "Tell open streams with an event (fantail.feed) when the feed is lost and when it is back. A client that takes nothing at that moment may miss it."),
    setting!(logs.log_events_max: Count(min: 1, max: 1_000_000) = "4096",
        "Events kept per channel in this process, for slow and returning clients."),
    setting!(logs.log_bytes_max: Size(min: 4 * KIB, max: 4 * GIB) = "4MiB",
        "Bytes of events kept per channel. At least event_bytes_max."),
    setting!(logs.log_age_max: Duration(min: SHORTEST, max: seconds(7 * 24 * HOUR)) = "5m",
        "Age up to which an event is kept."),
    setting!(logs.logs_bytes_max: Size(min: 4 * KIB, max: 1024 * GIB) = "256MiB",
        "Bytes of events kept in all channels together. At least log_bytes_max."),
    setting!(channels.channel: Channels() = "" or "{ pattern = \"news.*\", slow_policy = \"skip\", log_events_max = 100 }",
        "Settings for the channels that fit a pattern: slow_policy, plain_events_expected, log_events_max, log_bytes_max, log_age_max, each as above where it is left out. In a pattern * stands for any characters, and the whole name must fit; of several the first that fits holds. In the file a table [[channel]] for each, at its end, or an array of inline tables; elsewhere pattern=news.*,slow_policy=skip,log_events_max=100, several separated by semicolons."),
    setting!(limits.connections_max: Count(min: 0, max: 10_000_000) = "0",
        "Open connections; beyond it newcomers are told to come back later. 0 stands for the descriptor limit less 128, one per worker, an eighth, at most 1024, for the internal listener, 32 for health_listen, and a thirty-second, from 8 to 512, to turn newcomers away."),
    setting!(limits.channels_max: Count(min: 1, max: 100_000_000) = "1048576",
        "Channels that may exist on this node at once: those that streams follow or have followed a short while ago, and without Redis those that have events. Beyond it a stream that asks for another channel is told to come back later. A channel costs at most 600 bytes here, beside its log, and in Redis about 440 for the first node that follows it and 260 for each other."),
    setting!(limits.channels_per_address_max: Count(min: 0, max: 100_000_000) = "0",
        "Channels that may exist because one client address asked for them first; for IPv6 one /64 network. They count until they are forgotten: without Redis log_age_max, with it linger, after the last stream has left. 0 stands for 65536, and lets addresses of this machine and of private networks alone, which are proxies' mostly; another number holds for every address. The address that one of the trusted_proxies forwards counts in place of the proxy's."),
    setting!(limits.request_deadline: Duration(min: SHORTEST, max: seconds(5 * MINUTE)) = "10s",
        "Longest time from accept to the first complete request head."),
    setting!(limits.head_bytes_max: Size(min: 8 * KIB, max: MIB) = "16KiB",
        "Bytes of a request head."),
    setting!(limits.uri_bytes_max: Size(min: 256, max: 64 * KIB) = "8KiB",
        "Bytes of a request target. At most head_bytes_max."),
    setting!(limits.publish_body_bytes_max: Size(min: KIB, max: 64 * MIB) = "1MiB",
        "Bytes of a publish request's body."),
    setting!(limits.event_bytes_max: Size(min: KIB, max: 16 * MIB) = "256KiB",
        "Bytes of one event after encoding, where many short lines take more room than in the body."),
    setting!(drain.drain_delay: Duration(min: Duration::ZERO, max: seconds(HOUR)) = "3s",
        "Time after SIGTERM in which the node is not ready any more but serves and accepts as before, so that balancers stop sending clients before the port closes. It should be longer than they need to notice; 0s where there is none. SIGINT, as from a terminal, skips it."),
    setting!(drain.drain_window: Duration(min: Duration::ZERO, max: seconds(HOUR)) = "10s",
        "Time behind drain_delay over which open streams are ended, spread evenly so that other nodes can take them."),
    setting!(drain.drain_deadline: Duration(min: Duration::ZERO, max: seconds(2 * HOUR)) = "20s",
        "Time behind drain_delay at which the program exits whatever is still open. At least drain_window; with drain_delay it must stay below the supervisor's own patience."),
    setting!(cors.cors_origin: Origins() = "" or "https://app.example.com",
        "Origin whose pages may read streams, compared exactly. Without one only pages of the same origin may; a single * stands for all."),
    setting!(cors.cors_credentials: Switch() = "false",
        "Let those pages send cookies along (withCredentials), as a proxy in front may ask for. Fantail itself looks at no cookie. Needs exact origins, since with * every page on the web could read as the person who has it open."),
    setting!(logging.log_level: LogFilter() = "info",
        "Which log lines are written: a level, or a level per module."),
    setting!(logging.log_format: LogFormat() = "text",
        "Shape of a log line: text for people, json for machines."),
    setting!(sources.config: File() = "" or "/etc/fantail/fantail.toml",
        "TOML file with settings. Variables and flags win over it."),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_unique_lower_case_words_in_a_known_group() {
        let mut keys = HashSet::new();
        for Setting { key, group, .. } in &SETTINGS {
            assert!(keys.insert(key), "{key} is declared twice");
            assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{key}");
            assert!(GROUPS.iter().any(|(name, _)| name == group), "{key}: no heading for {group}");
        }
    }

    #[test]
    fn settings_stand_in_the_order_of_their_groups() {
        let place = |group| GROUPS.iter().position(|(name, _)| *name == group);
        assert!(SETTINGS.is_sorted_by_key(|setting| place(setting.group)));
    }

    #[test]
    fn a_doc_is_whole_sentences() {
        for Setting { key, doc, .. } in &SETTINGS {
            assert!(doc.starts_with(char::is_uppercase) && doc.ends_with('.'), "{key}");
        }
    }

    #[test]
    fn names_follow_from_the_key() {
        let setting = &SETTINGS[0];
        assert_eq!((setting.variable().as_str(), setting.flag().as_str()), ("FANTAIL_LISTEN", "--listen"));
        assert_eq!(Setting::find("log_age_max").map(Setting::flag).as_deref(), Some("--log-age-max"));
    }
}
