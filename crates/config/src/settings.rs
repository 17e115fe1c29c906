//! The table of settings: each is declared here and nowhere else.
//!
//! A row names the field of [`Config`] that it fills, its type, the form of its text, its default and its explanation.
//! Its key is the field's name, and variable and flag follow from the key. The fields themselves, help, reference,
//! example file, parsing and the list of effective values are all made from these rows.

// The explanations of fields are written for operators, in whose files `[[channel]]` is a table.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags, clippy::doc_markdown)]

use std::path::PathBuf;
use std::time::Duration;

use fantail_access::{ChannelTemplate, ForwardedField, RequiredClaim};
use fantail_wire::LaneName;
use ipnet::IpNet;

use crate::channel_rule::{self, ChannelRule, ChannelRules};
use crate::choices::{
    AccessMode, BareBlocks, ClientAuth, ControlThread, LogFormat, NatsEvents, Preset, RevokedAnswer, SlowPolicy,
    TlsStreamState,
};
use crate::fault::Location;
use crate::form::{AnyForm, Form, List, Optional};
use crate::forms::access::{InternalToken, InternalTokens, KeyFile, KeyFiles, RequiredClaims, Templates};
use crate::forms::networks::{Address, ListenAddress, NatsServers, Network, RedisAddress, Servers};
use crate::forms::numbers::{Count, FileMode, Size, Time};
use crate::forms::texts::{FilePath, LogFilter, SecretText, Text, TextList};
use crate::forms::web::{FieldName, FieldNames, FileOrUrl, HostNames, HttpUrl, Origins, UrlPath};
use crate::forms::words::{Switch, Word};
use crate::lane_names::LaneNames;
use crate::layers::Source;
use crate::redis_url::RedisUrl;
use crate::secret::Secret;

/// The setting that names the file.
pub(crate) const FILE_KEY: &str = "config";
/// The setting that names a program whose settings lie under all others.
pub(crate) const PRESET_KEY: &str = "preset";

/// One row of the table.
pub struct Setting {
    /// The key in the file, which is also the name of the field.
    pub key: &'static str,
    /// The group of [`Config`] that holds the field.
    pub group: &'static str,
    /// The default as an operator would write it; empty stands for none.
    pub default: &'static str,
    /// A value for the example file: the default, or another one where there is none.
    pub example: &'static str,
    /// Its effect, and the reason to change it, in a sentence or two.
    pub doc: &'static str,
    pub(crate) form: &'static dyn AnyForm,
    pub(crate) read: fn(&mut Config, &str) -> Result<(), String>,
    pub(crate) show: fn(&Config) -> String,
}

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("FANTAIL_{}", self.key.to_ascii_uppercase())
    }

    /// The flag, with its dashes.
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// The accepted texts.
    pub fn allowed(&self) -> String {
        self.form.describe()
    }

    /// Whether it may be given more than once, as a list.
    pub fn is_repeatable(&self) -> bool {
        self.form.shape().separator().is_some()
    }

    /// Whether its value may hold a password, and so is never shown whole.
    pub fn is_secret(&self) -> bool {
        self.form.is_secret()
    }

    /// Whether the file may hold it: every setting but those that say what is read at all.
    pub fn belongs_in_file(&self) -> bool {
        !matches!(self.key, FILE_KEY | PRESET_KEY)
    }

    /// Reads the texts of one layer into the field. Several texts come from a repeated flag or from a list in the file.
    pub(crate) fn apply(&self, config: &mut Config, texts: &[String]) -> Result<(), String> {
        (self.read)(config, &texts.join(self.form.shape().separator().unwrap_or_default()))
    }

    pub(crate) fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

/// Declares the groups: for each a struct with a field per row, its place in [`Config`], and the rows themselves. A row is
/// `key: type = form, "default" or "example", "explanation";`, the example only where there is no default.
macro_rules! settings {
    ($($(#[doc = $about:literal])* $group:ident: $Group:ident, $heading:literal {
        $($key:ident: $value:ty = $form:expr, $default:literal $(or $example:literal)?, $doc:literal;)*
    })*) => {
        /// All settings of the operator, grouped by subject. All values have passed every check.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $about])* pub $group: $Group,)*
            /// The source of each value and its place there, in the order of the table.
            pub(crate) sources: Vec<(Source, Option<Location>)>,
        }

        $(
            $(#[doc = $about])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Group {
                $(#[doc = $doc] pub $key: $value,)*
            }
        )*

        /// The groups with their headings, in the order of help and reference.
        pub(crate) static GROUPS: &[(&str, &str)] = &[$((stringify!($group), $heading)),*];

        /// Every setting, in the order of its group in [`Config`].
        pub static SETTINGS: &[Setting] = &[$($(
            Setting {
                key: stringify!($key),
                group: stringify!($group),
                default: $default,
                example: concat!($default $(, $example)?),
                doc: $doc,
                form: &$form,
                read: |config, text| Ok(config.$group.$key = Form::parse(&$form, text)?),
                show: |config| Form::show(&$form, &config.$group.$key),
            },
        )*)*];

        impl Config {
            /// The settings without any layer.
            pub(crate) fn defaults() -> Self {
                Self {
                    $($group: $Group { $($key: default(&$form, $default),)* },)*
                    sources: vec![(Source::Default, None); SETTINGS.len()],
                }
            }
        }
    };
}

fn default<F: Form>(form: &F, text: &str) -> F::Value {
    form.parse(text).expect("a default of the table is accepted by its own form")
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
pub(crate) const GIB: usize = 1 << 30;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The least duration, far below any sensible one, so that tests need not wait.
pub(crate) const SHORTEST: Duration = millis(10);
/// In the length that is shown as a year.
const YEAR: Duration = seconds(31_557_600);

const ADDRESSES: &str = "IP addresses with a port, or `unix:` and the path of a socket";
const PEM_FILES: &str = "paths of PEM files";

settings! {
    /// The listener for browsers.
    public: Public, "Public listener" {
        listen: Vec<ListenAddress> = List { of: Address, described: ADDRESSES }, "127.0.0.1:8080",
            "Address for browsers and for a proxy in front of them; there may be several. The default is reachable from this machine only. A client of a unix socket counts as 127.0.0.1.";
        unix_socket_mode: u32 = FileMode, "660",
            "Permissions of the unix sockets that listen, tls_listen, internal_listen and health_listen name. Only users who may write to a socket can connect to it.";
        listen_shared: bool = Switch, "false",
            "Share the port with other processes of this user, for example while one replaces another; all of them must set it. A unix socket is taken over: new connections come to the newest process. Otherwise an address in use is an error.";
        path: String = UrlPath, "/sse",
            "Path prefix of the streams: GET {path}/{channel}.";
        public_hosts: Vec<String> = HostNames, "" or "events.example.com",
            "Name under which clients ask for streams. With one or more of them a request to another name is answered with 421: it was meant for another server, or a web page has made a name of its own lead here. Addresses and localhost are always accepted. Without any, every name is.";
        trusted_proxies: Vec<IpNet> = List { of: Network, described: "IP addresses, or networks such as `10.0.0.0/8`" }, "" or "10.0.0.0/8",
            "Proxies, each as an address or a network, whose forwarded_header is believed, from its right end: /connections and the log at debug show the client that they name. It costs 16 bytes per stream that comes through one. Without one the field is not read.";
        forwarded_header: ForwardedField = Word::<ForwardedField>::new(), "x-forwarded-for",
            "The header in which the trusted_proxies tell the client's address. Only this one is read: a proxy that writes one passes the other on as the client sent it.";
        proxy_protocol: bool = Switch, "false",
            "Every connection to listen and tls_listen begins with a header of the PROXY protocol, version 1 or 2, as balancers of TCP connections write it. It gives the peer's address for everything behind it. A connection without one within request_deadline is closed, and so is one that does not come from one of the trusted_proxies.";
    }
    /// The listener for publishers and operators.
    internal: Internal, "Internal listener" {
        internal_listen: ListenAddress = Address, "127.0.0.1:8081",
            "Address for publishers and operators. Any address but this machine's own needs internal_tokens.";
        internal_tls_cert: Option<PathBuf> = Optional(FilePath), "" or "/etc/fantail/internal.crt",
            "PEM file with a certificate; with it internal_listen speaks TLS alone. Together with internal_tls_key. The files are read again every 10s.";
        internal_tls_key: Option<PathBuf> = Optional(FilePath), "" or "/etc/fantail/internal.key",
            "PEM file with the private key of internal_tls_cert.";
        internal_tls_client_ca: Option<PathBuf> = Optional(FilePath), "" or "/etc/fantail/publishers-ca.crt",
            "PEM file with the authorities of which one must have signed the certificate that each client of internal_listen then shows. It comes beside internal_tokens and does not replace them.";
        internal_tokens: Vec<InternalToken> = InternalTokens, "" or "/run/secrets/publisher=publish:orders.*+read",
            "File with a token, as path=rights, that a request to internal_listen must show as Authorization: Bearer. The rights are publish (or publish:PATTERN for the channels that fit), read and operate. Without any, every client of internal_listen has all rights. Health needs no token. The files are read again every 10s.";
        internal_hosts: Vec<String> = HostNames, "" or "fantail.example.internal",
            "Name by which internal_listen is reached, such as that of a service in Docker Compose or Kubernetes. A request to another name is refused with 421, since a web page can make any name of its own lead here. Addresses and localhost are always accepted; a single * accepts every name.";
        health_listen: Option<ListenAddress> = Optional(Address), "" or "0.0.0.0:8082",
            "Address that answers /livez, /readyz and /metrics and nothing else, for kubelets, balancers and Prometheus. internal_listen answers them as well, but also publishes.";
        health_token: Option<Secret> = Optional(SecretText), "",
            "Token that a request of /metrics on health_listen must show as Authorization: Bearer. With it health_listen also answers /config, with all settings and no secret. /livez and /readyz never need one.";
    }
    /// The encrypted listener.
    tls: Tls, "TLS" {
        tls_listen: Vec<ListenAddress> = List { of: Address, described: ADDRESSES }, "" or "0.0.0.0:8443",
            "Where browsers connect with TLS, beside listen. It needs certificates: tls_cert with tls_key, or tls_directory.";
        tls_cert: Vec<PathBuf> = List { of: FilePath, described: PEM_FILES }, "" or "/etc/fantail/tls.crt",
            "PEM file with a certificate and those that lead to its authority. Of several the one for the name that a client asks for is shown, or else the first. The files are read again every 10s; while one is faulty the last good ones stay.";
        tls_key: Vec<PathBuf> = List { of: FilePath, described: PEM_FILES }, "" or "/etc/fantail/tls.key",
            "PEM file with the private key of a certificate, in the order of tls_cert.";
        tls_directory: Option<PathBuf> = Optional(FilePath), "" or "/etc/fantail/certificates",
            "Directory with more certificates, there or one directory deeper: NAME.crt or NAME.pem with NAME.key, or fullchain.pem with privkey.pem. It is read again every 10s, so certificates may come and go. A secret of Kubernetes and the live directory of certbot have this form.";
        tls_client_ca: Option<PathBuf> = Optional(FilePath), "" or "/etc/fantail/clients-ca.crt",
            "PEM file with the authorities that may sign the certificate of a client. Without it clients are asked for none. Read again every 10s.";
        tls_client_auth: ClientAuth = Word::<ClientAuth>::new(), "required",
            "With tls_client_ca: whether a client must show a certificate. optional lets those without one in, as far as access allows.";
        tls_ticket_keys: Vec<PathBuf> = List { of: FilePath, described: "paths of files with 48 to 80 random bytes" }, "" or "/etc/fantail/ticket.key",
            "File with 48 to 80 random bytes (openssl rand 80), by which a client's short handshake works on every node that has it. The first seals new tickets, all of them open old ones; change them in turn, at least daily. Read again every 10s. Without one each node makes its own key anew every 6h.";
        tls_stream_state: TlsStreamState = Word::<TlsStreamState>::new(), "dissolved",
            "What a stream keeps of its TLS connection. dissolved: a key and a counter, 64 bytes; whatever its client sends ends it. kept: the whole connection of the library, some 9 KiB, which answers to a client's change of keys. kernel: nothing, the kernel seals (kTLS); if it cannot, dissolved.";
        tls_handshakes_max: usize = Count { min: 1, max: 65_536 }, "256",
            "Handshakes of TLS that each worker has under way at once. When there are as many, the oldest is cut off for the next: it had the longest time.";
    }
    /// HTTP/2.
    http2: Http2, "HTTP/2" {
        http2: bool = Switch, "true",
            "Offer HTTP/2 on tls_listen, beside HTTP/1.1. All streams of a browser then share one connection; over HTTP/1.1 it opens six at most. Clients of a tls_stream_state other than dissolved are offered HTTP/1.1 alone.";
        http2_plain: bool = Switch, "false",
            "Let clients of listen speak HTTP/2 without TLS, if their first bytes are those of HTTP/2. For proxies and meshes; browsers do not.";
        streams_per_connection_max: usize = Count { min: 1, max: 1_000 }, "100",
            "Streams that one HTTP/2 connection may have open. The client is told so and waits; one that does not wait is refused.";
    }
    /// The right to read.
    access: Access, "Access" {
        access: Option<AccessMode> = Optional(Word::<AccessMode>::new()), "" or "token+origin",
            "Right to read. open: every client that reaches the port reads every channel. token: a JSON Web Token names the channels. origin: origin_url is asked about each stream. token+origin: both must agree. proxy: one of the trusted_proxies has decided and says so in header fields. certificate: the certificate of the client names the channels by channel_templates. Without it listen must be an address of this machine alone, and every client on this machine may read. docs/access.md has a recipe for each.";
        token_secret: Option<Secret> = Optional(SecretText), "",
            "Secret of HS256 tokens, at least 32 bytes. White space at its ends counts. Prefer token_keys, which names a file: other users can see a flag, and a file can be changed without a restart.";
        token_keys: Vec<KeyFile> = KeyFiles, "" or "ES256:/etc/fantail/token-key.pem",
            "File with a key that tokens may be signed with: a secret for HS256, HS384 and HS512, a public key in PEM form for RS, PS, ES and EdDSA. A directory stands for all files in it, and the name of each without its extension is the kid of its key. The files are read again every 10s; streams of a key that is gone end.";
        token_jwks: Option<String> = Optional(FileOrUrl), "" or "https://id.example.com/.well-known/jwks.json",
            "JSON Web Key Set with keys that tokens may be signed with: a file, or an https URL, which is asked again every 5m and, at most every 30s, when a token names an unknown key. If it cannot be had, the last good set stays.";
        token_jwks_ca: Option<PathBuf> = Optional(FilePath), "",
            "PEM file with the authorities that may sign the certificate of token_jwks and origin_url, instead of the system's.";
        token_issuers: Vec<String> = TextList, "" or "https://id.example.com",
            "Issuer (iss) that a token must have, one of these. Without one the issuer does not matter.";
        token_audiences: Vec<String> = TextList, "" or "fantail",
            "Audience (aud) for which a token must be made, one of these. Without one the audience does not matter.";
        token_claims_required: Vec<RequiredClaim> = RequiredClaims, "" or "email,scope.user*",
            "Claim that a token must have, with a value that is not empty; all of these. Otherwise it is refused with 401.";
        token_leeway: Duration = Time { min: Duration::ZERO, max: seconds(MINUTE) }, "30s",
            "Difference of clocks that is forgiven when exp and nbf are judged.";
        token_header: Option<String> = Optional(FieldName), "" or "x-access-token",
            "Header with the token. It comes before Authorization: Bearer, in which a client behind a proxy may show the proxy something else.";
        token_cookie: Option<String> = Optional(FieldName), "" or "session",
            "Cookie with the token. A request with it whose Origin is another site and not in cors_origin is refused, since any page could send it.";
        token_query: Option<String> = Optional(FieldName), "" or "access_token",
            "Query parameter with the token, for browsers without cookies. Proxies write queries to their logs, so give such tokens a short life.";
        token_channels_claim: String = Text, "channels",
            "Claim with the list of channels and * patterns that a token allows. A dot leads into an object: fantail.channels.";
        channel_templates: Vec<ChannelTemplate> = Templates, "" or "user:{sub}",
            "Channel that is made of a token's claims, or with access = certificate of cn, dns, email and uri, and of sub, which is the first of cn, uri, email and dns that there is. A client that asks for no channel gets all channels that its token names and that templates make. Other characters than letters, digits, - _ . in a claim are written as ~ and two hexadecimal digits.";
        stream_lifetime_max: Option<Duration> = Optional(Time { min: SHORTEST, max: YEAR }), "" or "1h",
            "Longest life of a stream, less a random part of up to a tenth. The client comes back, is judged anew and loses nothing. A token's end is a stream's end anyway.";
        revoked_answer: RevokedAnswer = Word::<RevokedAnswer>::new(), "403",
            "Status for a client whose right was taken back with /revoke. A browser's EventSource gives up by either; 204 tells clients that this is meant, and 403 tells why.";
        origin_url: Option<String> = Optional(HttpUrl), "" or "http://127.0.0.1:3000/fantail/authorize",
            "URL that is asked whether a stream may be opened. A 2xx allows, and may name channels, subject and expiry; 401 and 403 deny; anything else, and no answer, is a reason to come back later.";
        origin_headers: Vec<String> = FieldNames, "authorization,cookie",
            "Header of the client's request that is passed on to origin_url, as token_header always is.";
        origin_deadline: Duration = Time { min: SHORTEST, max: seconds(MINUTE) }, "2s",
            "Longest wait for the answer of origin_url, or for token_jwks.";
        origin_questions_max: usize = Count { min: 1, max: 65_536 }, "256",
            "Questions to origin_url or token_jwks that may wait at once. Each holds 24 KiB here while it waits. Beyond it a client is told to come back later.";
        origin_cache: Duration = Time { min: Duration::ZERO, max: seconds(HOUR) }, "5s",
            "Time for which an answer of origin_url holds for equal questions: the same path, channels, address of the client and passed headers. 0s asks each time.";
    }
    /// The threads.
    engine: Engine, "Threads" {
        workers: usize = Count { min: 0, max: 256 }, "0",
            "Shards, each one thread that serves its own streams. 0 stands for one per core.";
        control_thread: ControlThread = Word::<ControlThread>::new(), "auto",
            "Thread that takes events in and numbers them. own: one beside the shards. shared: that of the first shard, so that neither waits for a core that the other holds. auto: own if there are more cores than workers.";
    }
    /// The source of events.
    feed: Feed, "Feed" {
        redis_url: Option<RedisUrl> = Optional(RedisAddress), "" or "redis://127.0.0.1:6379",
            "Redis server that carries the events. A node without one has only those that are published to it over HTTP. A password is hidden in every output; still, prefer file or variable to the flag, which other users can see. With redis_sentinels or redis_cluster_nodes it has no host: redis:/// or rediss:///.";
        redis_log: bool = Switch, "false",
            "Number events in Redis and keep them there, so that clients can resume on any node and after a restart. All nodes and publishers of one Redis must agree. Needs redis_url.";
        redis_log_events_max: usize = Count { min: 1, max: 10_000_000 }, "10000",
            "With redis_log: events kept in Redis per channel. The node that connected last decides for all.";
        redis_log_age_max: Duration = Time { min: SHORTEST, max: YEAR }, "24h",
            "With redis_log: age up to which an event is kept in Redis. The node that connected last decides for all.";
        redis_log_lanes: Vec<LaneName> = LaneNames, "",
            "With redis_log: lanes that are served beside the lane 0. A channel whose name begins with @name/ is in the lane of that name, which has a log, an order and, in a Cluster, a place of its own. A stream follows channels of one lane.";
        redis_publishers_trusted: bool = Switch, "false",
            "Let an envelope on a fantail-event: channel reach all channels that it names. Otherwise it reaches those by whose own Redis channels a copy of it came, so that the ACL of Redis bounds what a publisher reaches. With true a publisher of one fantail-event: channel reaches every channel of this node.";
        follow_deadline: Duration = Time { min: SHORTEST, max: seconds(5 * MINUTE) }, "5s",
            "Longest wait of a new stream for the feed: to confirm its channels, and with redis_log to bring what its client missed. Past it the client is told to come back later.";
        linger: Duration = Time { min: Duration::ZERO, max: seconds(HOUR) }, "10s",
            "How long a channel without subscribers stays followed, so that a page reload costs the feed nothing.";
    }
    /// The way to Redis, beside its address.
    redis: Redis, "Redis" {
        redis_username: Option<String> = Optional(Text), "" or "fantail",
            "ACL user of Redis, if redis_url names none. It needs a password beside it.";
        redis_password: Option<Secret> = Optional(SecretText), "",
            "Password for Redis, if redis_url holds none. Prefer redis_password_file, which can be changed without a restart; a flag can be seen by other users.";
        redis_password_file: Option<PathBuf> = Optional(FilePath), "" or "/run/secrets/redis-password",
            "File with the password for Redis as its only line. It is read again for each connection.";
        redis_tls_ca: Option<PathBuf> = Optional(FilePath), "",
            "PEM file with the authorities that may sign the certificate of Redis, instead of the system's. For rediss://; a server that signed its own certificate is named by that. Read again for each connection, as are the next two.";
        redis_tls_cert: Option<PathBuf> = Optional(FilePath), "",
            "PEM file with the certificate that Fantail shows to Redis, and to Sentinels. Together with redis_tls_key.";
        redis_tls_key: Option<PathBuf> = Optional(FilePath), "",
            "PEM file with the key of redis_tls_cert.";
        redis_cluster_nodes: Vec<String> = Servers { port: 6_379 }, "",
            "Nodes of a Redis Cluster, each as host or host:port, that are asked for the node with the log before each connection and while it stands. A few are enough, they know the others. They are reached with TLS if redis_url begins with rediss:.";
        redis_sentinels: Vec<String> = Servers { port: 26_379 }, "",
            "Sentinels, each as host or host:port, that are asked for the master before each connection and while it stands. They are reached with TLS if redis_url begins with rediss:.";
        redis_sentinel_master: Option<String> = Optional(Text), "",
            "Name by which the Sentinels know the master, often mymaster. Together with redis_sentinels.";
        redis_sentinel_username: Option<String> = Optional(Text), "",
            "ACL user of the Sentinels, which have users of their own. It needs a password beside it.";
        redis_sentinel_password: Option<Secret> = Optional(SecretText), "",
            "Password for the Sentinels, if they ask for one.";
        redis_sentinel_password_file: Option<PathBuf> = Optional(FilePath), "",
            "File with the password for the Sentinels as its only line. It is read again each time.";
    }
    /// The way to NATS.
    nats: Nats, "NATS" {
        nats_url: Vec<String> = NatsServers, "",
            "NATS servers that carry the events instead of Redis, each as nats://host:port, or tls://host:port for TLS. Of several servers of a cluster one that answers is enough. User and password have settings of their own.";
        nats_stream: Option<String> = Optional(Text), "",
            "Stream of JetStream whose numbers are the numbers of the events, so that clients can resume on any node and after a restart. It must keep the subjects fantail.> and exist. All nodes of one NATS must agree. Without it events are live only, and each node numbers by itself.";
        nats_events: NatsEvents = Word::<NatsEvents>::new(), "fantail",
            "Form of the events in NATS. fantail: a subject for each channel. owncloud: the events that the services of ownCloud Infinite Scale write for their web client, each for users by their ids; needs nats_stream, which is made if there is none, with the subject of its own name. The channel of a user is the id, with ~ and two hexadecimal digits for other characters than letters, digits, - _ and .";
        nats_username: Option<String> = Optional(Text), "",
            "User of NATS. It needs a password beside it.";
        nats_password: Option<Secret> = Optional(SecretText), "",
            "Password of nats_username. Prefer nats_password_file, which can be changed without a restart; a flag can be seen by other users.";
        nats_password_file: Option<PathBuf> = Optional(FilePath), "",
            "File with the password of nats_username as its only line. It is read again for each connection, as are all files named here.";
        nats_token_file: Option<PathBuf> = Optional(FilePath), "",
            "File with the token that NATS asks for, as its only line.";
        nats_nkey_file: Option<PathBuf> = Optional(FilePath), "",
            "File with the seed of an NKey of a user, as its only line. The seed signs and is not sent.";
        nats_credentials_file: Option<PathBuf> = Optional(FilePath), "",
            "File with the JWT of a user and its seed, as nsc writes it.";
        nats_tls_ca: Option<PathBuf> = Optional(FilePath), "",
            "PEM file with the authorities that may sign the certificate of NATS, instead of the system's. With it only TLS is spoken.";
        nats_tls_insecure: bool = Switch, "false",
            "Take every certificate of NATS, of whomever. Then whoever is on the way can read every event and write some. For trials only; nats_tls_ca makes a self-signed certificate safe. With it only TLS is spoken.";
        nats_tls_cert: Option<PathBuf> = Optional(FilePath), "",
            "PEM file with the certificate that Fantail shows to NATS. Together with nats_tls_key. With it only TLS is spoken.";
        nats_tls_key: Option<PathBuf> = Optional(FilePath), "",
            "PEM file with the key of nats_tls_cert.";
    }
    /// The treatment of an open stream.
    streams: Streams, "Streams" {
        keepalive_interval: Duration = Time { min: SHORTEST, max: seconds(HOUR) }, "15s",
            "A stream that was silent this long gets a comment, which keeps proxies from cutting it and finds dead clients. Below 1s is for tests.";
        retry: Duration = Time { min: SHORTEST, max: seconds(HOUR) }, "2s",
            "Base of the reconnect hint; each stream is told a random time between this and twice this, so that clients do not return all at once.";
        progress_deadline: Duration = Time { min: SHORTEST, max: seconds(HOUR) }, "10s",
            "A stream that accepts no byte for this long while data waits for it is ended.";
        send_buffer_bytes: usize = Size { min: 4 * KIB, max: 16 * MIB }, "32KiB",
            "Kernel send buffer of a stream. Larger hides slow clients and costs memory; smaller costs wake-ups.";
        channels_per_stream_max: usize = Count { min: 1, max: 512 }, "32",
            "Channels that one stream may follow.";
        slow_policy: SlowPolicy = channel_rule::SLOW_POLICY, "disconnect",
            "Decides about a stream whose client is slower than its channel's log is long. disconnect ends it, and the client comes back with its last id; skip sends a gap and goes on with what is still kept; latest sends a gap and only the newest event of the channel. If several channels of one stream are concerned, the strictest decides; a stream of several channels skips where the policy is latest.";
        plain_events_expected: bool = channel_rule::PLAIN_EVENTS_EXPECTED, "false",
            "With redis_log: whether a channel gets a gap after each loss of the connection to Redis, because a plain event (one that was published without the log) may have been lost. With false only channels get it in which this node has seen a plain event since it follows them; if a first plain event is lost, no gap tells so. With true all channels get it, also those without plain events; set it for the channels with plain events. Without redis_log all channels get it anyway.";
        unknown_id_replay_max: usize = Count { min: 0, max: 1_000_000 }, "256",
            "Events that follow the gap when a client's id is not known here, as after a move to another node without redis_log: the newest of all its channels together, and none that came more than 2s before the time in the id. 0 stands for none.";
        control_events: bool = Switch, "true",
            "Tell streams of gaps (fantail.gap) and of their end (fantail.close) with events. Without them a gap is a bare id and an end a bare retry: the client's program gets no event of them and learns of no loss.";
        bare_blocks: BareBlocks = Word::<BareBlocks>::new(), "closed",
            "End of a block that carries no data: the opening, keepalives, and gaps and ends without control_events. closed: an empty line, at which an EventSource keeps the id though it dispatches nothing. joined: none, so that the fields join the next event, and an event's id stands behind the event; an EventSource has each id one event late then, and may get an event twice. For clients that hand an empty event to their program at every empty line and keep an id at its line, such as @microsoft/fetch-event-source.";
        feed_state_events: bool = Switch, "false",
            "Tell open streams with an event (fantail.feed) when the feed is lost and when it is back. A client that takes nothing at that moment may miss it.";
    }
    /// The log of each channel, for slow and returning clients.
    logs: Logs, "Channel logs" {
        log_events_max: usize = channel_rule::LOG_EVENTS_MAX, "4096",
            "Events kept per channel in this process, for slow and returning clients.";
        log_bytes_max: usize = channel_rule::LOG_BYTES_MAX, "4MiB",
            "Bytes of events kept per channel. At least event_bytes_max.";
        log_age_max: Duration = channel_rule::LOG_AGE_MAX, "5m",
            "Age up to which an event is kept.";
        logs_bytes_max: usize = Size { min: 4 * KIB, max: 1024 * GIB }, "256MiB",
            "Bytes of events kept in all channels together. At least log_bytes_max.";
    }
    /// Channels with settings of their own.
    channels: Channels, "Channels of their own kind" {
        channel: Vec<ChannelRule> = ChannelRules, "" or "{ pattern = \"news.*\", slow_policy = \"skip\", log_events_max = 100 }",
            "Settings for the channels that fit a pattern: slow_policy, plain_events_expected, log_events_max, log_bytes_max, log_age_max. One that is left out is as above. In a pattern * stands for any characters, and the whole name must fit; the first rule that fits holds. In the file a table [[channel]] for each, at its end, or an array of inline tables; elsewhere pattern=news.*,slow_policy=skip,log_events_max=100, several separated by semicolons.";
    }
    /// Bounds for one client or one publisher.
    limits: Limits, "Limits" {
        connections_max: usize = Count { min: 0, max: 10_000_000 }, "0",
            "Open connections; beyond it newcomers are told to come back later. 0 stands for the descriptor limit less 128, 8 per worker and 2 for each of its addresses, an eighth, at most 1024, for the internal listener, 32 for health_listen, and a thirty-second, from 8 to 512, to turn newcomers away.";
        streams_max: usize = Count { min: 1, max: 100_000_000 }, "1048576",
            "Open streams, those of all HTTP/2 connections included; beyond it newcomers are told to come back later. Over HTTP/1.1 each stream has a connection, so there connections_max is reached first. An idle stream costs some 100 bytes here.";
        channels_max: usize = Count { min: 1, max: 100_000_000 }, "1048576",
            "Channels that may exist on this node at once: those that streams follow or have followed a short while ago, and without Redis those that have events. Beyond it a stream that asks for another channel is told to come back later. A channel costs at most 600 bytes here, beside its log, and in Redis about 440 for the first node that follows it and 260 for each other.";
        channels_per_address_max: usize = Count { min: 0, max: 100_000_000 }, "0",
            "Channels that may exist because one client address asked for them first; for IPv6 one /64 network. They count until they are forgotten: without Redis log_age_max, with it linger, after the last stream has left. 0 stands for 65536, and exempts addresses of this machine and of private networks, which are mostly those of proxies; another number holds for every address. The address that one of the trusted_proxies forwards counts in place of the proxy's.";
        connections_per_address_max: usize = Count { min: 0, max: 10_000_000 }, "0",
            "Open connections of one client address, streams included; for IPv6 one /64 network. Beyond it newcomers are closed at once, or told to come back later if one of the trusted_proxies forwards the address. 0 stands for 10000, and lets addresses of this machine and of private networks alone; another number holds for every address but those of trusted_proxies.";
        connections_per_second_per_address: usize = Count { min: 0, max: 1_000_000 }, "0",
            "New connections that one client address may open in a second, and at once after a pause; for IPv6 one /64 network. Those beyond it are closed at once, and a browser tries again by itself. 0 stands for 1000, and lets the same addresses alone as connections_per_address_max.";
        streams_per_subject_max: usize = Count { min: 0, max: 10_000_000 }, "1000",
            "Open streams of one subject, which is sub of a token, or what origin_url or the proxy says. A stream too many is told to come back later (fantail.close with too-many-streams, or 429). 0 stands for no bound. Raise it if many people share a subject.";
        streams_per_token_max: usize = Count { min: 0, max: 10_000_000 }, "1000",
            "Open streams of one token, by its jti. As above.";
        publish_rate_max: usize = Count { min: 0, max: 10_000_000 }, "0",
            "Events that one of the internal_tokens may publish in a second over HTTP, and at once after a pause; without tokens all publishers together. Those beyond it are refused with 429 and Retry-After. 0 stands for no bound.";
        memory_max: Option<usize> = Optional(Size { min: MIB, max: 16_384 * GIB }), "" or "4GiB",
            "Memory of this process, as the kernel counts it as resident. Above 80% of it newcomers are told to come back later, /readyz is not ready, and logs_bytes_max halves; above 95% streams that take no bytes are ended. Without it the limit of the process's cgroup, or the machine's memory.";
        request_deadline: Duration = Time { min: SHORTEST, max: seconds(5 * MINUTE) }, "10s",
            "Longest time from accept to the first complete request head.";
        head_bytes_max: usize = Size { min: 8 * KIB, max: MIB }, "16KiB",
            "Bytes of a request head.";
        uri_bytes_max: usize = Size { min: 256, max: 64 * KIB }, "8KiB",
            "Bytes of a request target. At most head_bytes_max.";
        publish_body_bytes_max: usize = Size { min: KIB, max: 64 * MIB }, "1MiB",
            "Bytes of a publish request's body.";
        event_bytes_max: usize = Size { min: KIB, max: 16 * MIB }, "256KiB",
            "Bytes of one event after encoding, where many short lines take more room than in the body.";
    }
    /// The end of the program.
    drain: Drain, "Drain" {
        drain_delay: Duration = Time { min: Duration::ZERO, max: seconds(HOUR) }, "3s",
            "Time after SIGTERM in which the node is not ready any more but serves and accepts as before, so that balancers stop sending clients before the port closes. It should be longer than they need to notice; 0s without a balancer. SIGINT, as from a terminal, skips it.";
        drain_window: Duration = Time { min: Duration::ZERO, max: seconds(HOUR) }, "10s",
            "Time behind drain_delay over which open streams are ended, spread evenly so that other nodes can take them.";
        drain_deadline: Duration = Time { min: Duration::ZERO, max: seconds(2 * HOUR) }, "20s",
            "Time behind drain_delay at which the program exits whatever is still open. At least drain_window; with drain_delay it must stay below the supervisor's own patience.";
    }
    /// The web pages that may read.
    cors: Cors, "Web pages" {
        cors_origin: Vec<String> = Origins, "" or "https://app.example.com",
            "Origin whose pages may read streams: one by its name, or https://*.example.com for all subdomains of a domain. Without one only pages of the same origin may; a single * stands for all.";
        cors_credentials: bool = Switch, "false",
            "Let those pages send cookies along (withCredentials), as token_cookie or a proxy in front may need. Needs exact origins, since with * every page on the web could read as the person who has it open.";
        cors_headers: Vec<String> = FieldNames, "" or "x-request-id",
            "Request header that those pages may send, beside Last-Event-ID, Cache-Control, Authorization and token_header, which they always may.";
    }
    /// The log of the program.
    logging: Logging, "Logging" {
        log_level: String = LogFilter, "info",
            "Log lines that are written: a level, or a level per module.";
        log_format: LogFormat = Word::<LogFormat>::new(), "text",
            "Shape of a log line: text for people, json for machines.";
        log_file: Option<PathBuf> = Optional(FilePath), "" or "/var/log/fantail/fantail.log",
            "File to which log lines are appended, instead of standard error. It is opened once, at the start, so a rotation must copy and truncate it.";
    }
    /// The file and the preset, which are read beside variables and flags.
    file: SettingsFile, "Configuration file" {
        config: Option<PathBuf> = Optional(FilePath), "" or "/etc/fantail/fantail.toml",
            "TOML file with settings. Variables and flags win over it.";
        preset: Option<Preset> = Optional(Word::<Preset>::new()), "" or "owncloud",
            "Program in whose place Fantail stands. owncloud: the sse service of ownCloud Infinite Scale, whose variables (SSE_ and OCIS_) and file (sse.yaml in OCIS_CONFIG_DIR) are read as well. All settings here win over them. docs/owncloud.md tells what each becomes.";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_unique_words_in_lower_case() {
        let mut keys = HashSet::new();
        for Setting { key, .. } in SETTINGS {
            assert!(keys.insert(key), "{key} is declared twice");
            assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{key}");
        }
    }

    #[test]
    fn a_doc_is_whole_sentences() {
        for Setting { key, doc, .. } in SETTINGS {
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
