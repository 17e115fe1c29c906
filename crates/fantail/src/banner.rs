//! The text at the start: where events come from, where the node serves, and lines to paste.
//!
//! It is for the person who started the program. A log line says the same.

use fantail_config::{AccessMode, ClientAuth, Config, ListenAddress};
use fantail_feed::{NatsSettings, RedisSettings};
use tracing::{info, warn};

use crate::broker::Broker;

/// The words in a line to paste that stand for something of the reader's.
const PLACEHOLDERS: [&str; 4] = ["TOKEN", "COOKIE", "CLIENT.crt", "CLIENT.key"];

const CERTIFICATE: &str = " --cert CLIENT.crt --key CLIENT.key";

/// The feed, in the words of its mode.
pub(crate) struct FeedLine {
    name: String,
    /// A command that publishes past this node, where that is possible.
    publish: Option<String>,
}

/// An address where the node serves.
pub(crate) struct Served {
    pub(crate) address: ListenAddress,
    pub(crate) is_tls: bool,
}

pub(crate) struct Banner<'a> {
    pub(crate) shards: usize,
    pub(crate) config: &'a Config,
    pub(crate) feed: &'a FeedLine,
    /// The listeners for browsers, at least one.
    pub(crate) public: &'a [Served],
    pub(crate) internal: Served,
    pub(crate) health: Option<Served>,
}

impl Served {
    /// Its URL with this path. A unix socket stands in for the host.
    fn url(&self, path: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        match &self.address {
            ListenAddress::Ip(address) => format!("{scheme}://{address}{path}"),
            unix @ ListenAddress::Unix(_) => format!("{scheme}+{unix}{path}"),
        }
    }

    /// The arguments of curl that reach this path.
    fn curl(&self, path: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        match &self.address {
            ListenAddress::Ip(_) => self.url(path),
            ListenAddress::Unix(socket) => format!("--unix-socket {} {scheme}://localhost{path}", socket.display()),
        }
    }
}

impl FeedLine {
    pub(crate) fn of(broker: Option<&Broker>) -> Self {
        match broker {
            None => {
                let name = "memory: events are published to this node, and kept in it alone".to_owned();
                Self { name, publish: None }
            }
            Some(Broker::Redis(settings)) => Self::of_redis(settings),
            Some(Broker::Nats(settings)) => Self::of_nats(settings),
        }
    }

    fn of_nats(settings: &NatsSettings) -> Self {
        let address = settings.address();
        let name = match &settings.stream {
            Some(stream) => format!("the stream {stream} in nats at {address}"),
            None => format!("core nats at {address}"),
        };
        Self { name, publish: settings.nats_line() }
    }

    fn of_redis(settings: &RedisSettings) -> Self {
        let address = settings.address();
        let name = if settings.log.is_some() {
            let lanes: Vec<_> = settings.log_lanes.iter().map(|(_, name)| name.as_str().to_owned()).collect();
            let word = if lanes.len() == 1 { "lane" } else { "lanes" };
            format!("the log in redis at {address}, {word} {}", lanes.join(", "))
        } else {
            format!("redis pub/sub at {address}")
        };
        Self { name, publish: Some(settings.redis_cli_line()) }
    }
}

impl Banner<'_> {
    /// Writes the log's lines, and the others if they are to be shown.
    pub(crate) fn tell(&self, is_shown: bool) {
        if is_shown {
            println!("{}", self.text());
        }
        let is_open = self.mode() == AccessMode::Open;
        for Served { address, .. } in self.public.iter().filter(|served| is_open && !served.address.is_local()) {
            warn!(
                listen = %address,
                "everyone who reaches this address reads every channel; docs/access.md tells how to decide who may"
            );
        }
        if self.config.nats.nats_tls_insecure {
            warn!(
                "nats_tls_insecure: whoever is on the way to NATS can read every event; name its authority in nats_tls_ca"
            );
        }
        let urls = |is_tls| {
            let served = self.public.iter().filter(|served| served.is_tls == is_tls);
            let urls: Vec<_> = served.map(|served| served.url(&self.config.public.path)).collect();
            (!urls.is_empty()).then(|| urls.join(" "))
        };
        let (public, tls, internal) = (urls(false), urls(true), self.internal.url(""));
        let health = self.health.as_ref().map(|served| served.url(""));
        info!(public, tls, internal, health, feed = self.feed.name, shards = self.shards, "serving");
    }

    fn text(&self) -> String {
        let Self { shards, feed, internal, health, .. } = self;
        let mut lines = vec![
            format!("fantail {} serves with {shards} shards", env!("CARGO_PKG_VERSION")),
            format!("feed     {}", feed.name),
        ];
        for served in self.public {
            let word = if served.is_tls { "tls     " } else { "public  " };
            lines.push(format!("{word} {}", served.url(&self.config.public.path)));
        }
        lines.push(format!("internal {}", internal.url("")));
        lines.extend(health.as_ref().map(|health| format!("health   {}", health.url(""))));
        lines.push(String::new());
        let subscribe = self.subscribe_line();
        let publish = format!("curl{} -d hello {}", self.proof_of_publisher(), internal.curl("/publish/demo"));
        let stands_there = |word: &&str| subscribe.contains(word) || publish.contains(word);
        let placeholders: Vec<_> = PLACEHOLDERS.into_iter().filter(stands_there).collect();
        lines.push(format!("subscribe  {subscribe}"));
        lines.push(format!("publish    {publish}"));
        lines.extend(feed.publish.as_ref().map(|line| format!("or         {line}")));
        if !placeholders.is_empty() {
            lines.push(format!("           put your own in place of {}", placeholders.join(", ")));
        }
        lines.join("\n")
    }

    fn mode(&self) -> AccessMode {
        self.config.access.access.unwrap_or(AccessMode::Open)
    }

    /// A command that opens a stream, at the first listener where one can be opened.
    fn subscribe_line(&self) -> String {
        let (mode, path) = (self.mode(), &self.config.public.path);
        let serves = |served: &&Served| served.is_tls || mode != AccessMode::Certificate;
        let served = self.public.iter().find(serves).unwrap_or(&self.public[0]);
        let proof = match mode {
            AccessMode::Open | AccessMode::Certificate => "",
            AccessMode::Token | AccessMode::TokenThenOrigin => r#" -H "Authorization: Bearer TOKEN""#,
            AccessMode::Origin => r#" -H "Cookie: COOKIE""#,
            AccessMode::Proxy => r#" -H "Fantail-Channels: demo""#,
        };
        let tls = &self.config.tls;
        let must_show = tls.tls_client_auth == ClientAuth::Required || mode == AccessMode::Certificate;
        let certificate = if served.is_tls && tls.tls_client_ca.is_some() && must_show { CERTIFICATE } else { "" };
        let path = match mode {
            AccessMode::Open | AccessMode::Origin => format!("{path}/demo"),
            // Without a name the client gets every channel that it may read.
            _ => path.clone(),
        };
        format!("curl -N{proof}{certificate} {}", served.curl(&path))
    }

    fn proof_of_publisher(&self) -> String {
        let settings = &self.config.internal;
        let token = if settings.internal_tokens.is_empty() { "" } else { r#" -H "Authorization: Bearer TOKEN""# };
        let certificate = if settings.internal_tls_client_ca.is_some() { CERTIFICATE } else { "" };
        format!("{token}{certificate}")
    }
}
