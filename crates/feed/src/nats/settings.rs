//! Which NATS servers, how to log in there, and the deadlines.
//!
//! Files are read again for each connection, so that a secret or a certificate can be replaced while the node runs. No
//! error and no `Debug` shows what stands in them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};

use super::any_certificate;
use super::form::NatsEventForm;
use crate::files::{FileError, read_pem, read_text};
use crate::shared_read::SharedRead;

const USUAL_PORT: u16 = 4222;
/// Messages between the socket and the node. One read brings some 400 of the smallest, which are taken before the next, so
/// the queue of a node, which has one thread, does not come near it.
const QUEUE_MESSAGES_MAX: usize = 1 << 16;
/// Bytes that are read from the socket at a time.
pub(super) const READ_BYTES: u16 = 8 * 1024;

/// The way to NATS in the operator's words.
#[derive(Clone, Default)]
pub struct NatsReach {
    /// `nats://host:port`, or `tls://`: one server, or several of a cluster.
    pub servers: Vec<String>,
    /// A user of the servers' configuration.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
    /// The file that holds a token.
    pub token_file: Option<PathBuf>,
    /// The file that holds the seed of an NKey.
    pub nkey_file: Option<PathBuf>,
    /// The file with a JWT and the seed of its NKey, as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// The authorities that may sign the servers' certificates, instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// TLS with whoever answers: no certificate of a server is checked.
    pub tls_insecure: bool,
    /// The certificate to show, with its key.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
}

/// How to reach NATS. Make one with [`new`](Self::new), then change what should not be the default.
#[derive(Clone)]
pub struct NatsSettings {
    pub(super) servers: Vec<ServerAddr>,
    reach: NatsReach,
    /// Shared by all clones, and so by all connections of a feed.
    reading: SharedRead<Result<Secrets, FileError>>,
    /// The stream whose numbers are the events' numbers; without one events are live only.
    pub stream: Option<String>,
    /// The form of the events. That of ownCloud needs a stream, which a node makes if there is none.
    pub form: NatsEventForm,
    /// Bytes of one event after encoding, as on every other node: larger ones are refused to their publisher.
    pub event_bytes_max: usize,
    /// How often a probe is sent round, and how long it may take before the subscription counts as deaf. As often the
    /// stream is asked whether it is still the same.
    pub probe_interval: Duration,
    /// Longest time to read files, connect and log in, TLS included.
    pub connect_deadline: Duration,
    /// Longest time for NATS to answer.
    pub response_deadline: Duration,
    /// Messages that may wait between the socket and the node. Beyond it some are dropped, and the connection ends.
    pub queue_messages_max: usize,
    /// Events of one channel that the node keeps: no more than these are read from the stream at a time.
    pub log_events_max: usize,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NatsSettingsError {
    /// An address cannot be used. It is not quoted, since it may hold a password.
    #[error("an address of a nats server is not usable: {0}; write nats://host:4222, or tls://host:4222")]
    Address(String),
    /// No server is named.
    #[error("no nats server is named")]
    NoServer,
    /// The name of the stream cannot be one.
    #[error("{0:?} is no name of a stream: it has no spaces, dots, *, > and slashes")]
    Stream(String),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The seed or the credentials are none.
    #[error("{setting} {}: {reason}", .path.display())]
    Secret {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The fault, which quotes nothing of the file.
        reason: &'static str,
    },
}

/// The secrets of one connection, freshly read.
#[derive(Clone, Default)]
struct Secrets {
    password: Option<String>,
    token: Option<String>,
    nkey: Option<String>,
    credentials: Option<String>,
}

impl NatsSettings {
    /// Checks all that can be checked without a look at files or the network.
    pub fn new(reach: NatsReach, stream: Option<String>) -> Result<Self, NatsSettingsError> {
        let parse = |text: &String| text.parse().map_err(|error| NatsSettingsError::Address(told(&error)));
        let servers = reach.servers.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(NatsSettingsError::NoServer);
        }
        if let Some(name) = stream.as_ref().filter(|name| !is_stream_name(name)) {
            return Err(NatsSettingsError::Stream(name.clone()));
        }
        Ok(Self {
            servers,
            reach,
            reading: SharedRead::default(),
            stream,
            form: NatsEventForm::default(),
            event_bytes_max: 256 * 1024,
            probe_interval: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(5),
            response_deadline: Duration::from_secs(5),
            queue_messages_max: QUEUE_MESSAGES_MAX,
            log_events_max: 1_000,
        })
    }

    /// Reads every file once, to tell at start what would fail at the first connection.
    pub fn check_files(&self) -> Result<(), NatsSettingsError> {
        let secrets = self.reach.secrets()?;
        if let (Some(_), Some(path)) = (&secrets.nkey, &self.reach.nkey_file)
            && !secrets.nkey.as_deref().is_some_and(is_seed)
        {
            let reason = "holds no seed of an NKey of a user, which begins with SU";
            return Err(NatsSettingsError::Secret { setting: "nats_nkey_file", path: path.clone(), reason });
        }
        self.reach.options(secrets).map(drop)
    }

    /// The servers, for a log line.
    pub fn address(&self) -> String {
        self.servers.iter().map(place_of).collect::<Vec<_>>().join(", ")
    }

    /// A line for a shell that publishes past the nodes, if a person can write an event.
    pub fn nats_line(&self) -> Option<String> {
        if self.form == NatsEventForm::OwnCloud {
            return None;
        }
        let server = self.servers.first().map_or_else(String::new, |server| shown(server, USUAL_PORT));
        Some(format!("nats{server} pub fantail.demo hello"))
    }

    /// Reads the files, which may have changed since the last connection.
    pub(super) async fn connect_options(&self) -> Result<ConnectOptions, NatsSettingsError> {
        let reach = self.reach.clone();
        let secrets = self.reading.read(move || reach.secrets()).await?;
        self.reach.options(secrets)
    }
}

impl NatsReach {
    /// Touches the disk.
    fn secrets(&self) -> Result<Secrets, FileError> {
        let read = |setting, path: &Option<PathBuf>| path.as_ref().map(|path| read_text(setting, path)).transpose();
        let password = read("nats_password_file", &self.password_file)?;
        let pem = |setting, path: &Option<PathBuf>, what| {
            path.as_ref().map(|path| read_pem(setting, path, what)).transpose().map(drop)
        };
        pem("nats_tls_ca", &self.tls_ca, "CERTIFICATE")?;
        pem("nats_tls_cert", &self.tls_cert, "CERTIFICATE")?;
        pem("nats_tls_key", &self.tls_key, "PRIVATE KEY")?;
        Ok(Secrets {
            password: self.password.clone().or(password),
            token: read("nats_token_file", &self.token_file)?,
            nkey: read("nats_nkey_file", &self.nkey_file)?,
            credentials: self.credentials()?,
        })
    }

    fn credentials(&self) -> Result<Option<String>, FileError> {
        let Some(path) = &self.credentials_file else { return Ok(None) };
        let pem = read_pem("nats_credentials_file", path, "NATS USER JWT")?;
        Ok(Some(String::from_utf8_lossy(&pem).into_owned()))
    }

    fn options(&self, secrets: Secrets) -> Result<ConnectOptions, NatsSettingsError> {
        let mut options = ConnectOptions::new();
        if let (Some(username), Some(password)) = (&self.username, secrets.password) {
            options = options.user_and_password(username.clone(), password);
        }
        if let Some(token) = secrets.token {
            options = options.token(token);
        }
        if let Some(seed) = secrets.nkey {
            options = options.nkey(seed);
        }
        if let (Some(credentials), Some(path)) = (secrets.credentials, &self.credentials_file) {
            // Without them the server might take this node for its `no_auth_user`.
            options = options.credentials(&credentials).map_err(|_| faulty_credentials(path))?;
        }
        if let Some(ca) = &self.tls_ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        if self.tls_insecure {
            options = options.tls_client_config(any_certificate::client_config());
        }
        Ok(options.require_tls(self.tls_ca.is_some() || self.tls_cert.is_some() || self.tls_insecure))
    }
}

impl fmt::Debug for NatsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSettings")
            .field("address", &self.address())
            .field("stream", &self.stream)
            .field("event_bytes_max", &self.event_bytes_max)
            .field("probe_interval", &self.probe_interval)
            .finish_non_exhaustive()
    }
}

fn faulty_credentials(path: &Path) -> NatsSettingsError {
    let reason = "holds no JWT and seed of a user, as nsc writes them";
    NatsSettingsError::Secret { setting: "nats_credentials_file", path: path.to_owned(), reason }
}

/// The option of the command for a server that is not the usual one.
fn shown(server: &ServerAddr, usual_port: u16) -> String {
    let is_usual = server.port() == usual_port && server.host() == "127.0.0.1" && !server.tls_required();
    let scheme = if server.tls_required() { "tls" } else { "nats" };
    if is_usual { String::new() } else { format!(" -s {scheme}://{}", place_of(server)) }
}

/// Host and port as they stand in a URL.
fn place_of(server: &ServerAddr) -> String {
    let (host, port) = (server.host(), server.port());
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The library's words, without the address.
fn told(error: &std::io::Error) -> String {
    error.to_string().split('"').next().unwrap_or_default().trim_end().to_owned()
}

/// A stream's name is one token of a subject, and may be the name of a directory at the server.
fn is_stream_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b".*>/\\".contains(&byte))
}

/// The seed of a user's key is 58 characters of base32.
fn is_seed(seed: &str) -> bool {
    seed.len() == 58
        && seed.starts_with("SU")
        && seed.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    fn reach(servers: &[&str]) -> NatsReach {
        NatsReach { servers: servers.iter().map(|server| (*server).to_owned()).collect(), ..NatsReach::default() }
    }

    #[test]
    fn several_servers_are_told_by_host_and_port() {
        let settings = NatsSettings::new(reach(&["nats://n1", "tls://n2:4333", "nats://[::1]"]), None).unwrap();
        assert_eq!(settings.address(), "n1:4222, n2:4333, [::1]:4222");
        assert_eq!(settings.nats_line().as_deref(), Some("nats -s nats://n1:4222 pub fantail.demo hello"));
        let here = NatsSettings::new(reach(&["nats://127.0.0.1:4222"]), None).unwrap();
        assert_eq!(here.nats_line().as_deref(), Some("nats pub fantail.demo hello"));
    }

    #[test]
    fn an_unusable_address_or_stream_is_refused_without_a_secret() {
        for server in ["http://edge:hunter2@n1", "nats://edge:hunter2@n1:x"] {
            let error = NatsSettings::new(reach(&[server]), None).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(matches!(NatsSettings::new(reach(&[]), None), Err(NatsSettingsError::NoServer)));
        for stream in ["", "a.b", "a b", "a*", ">", "a/b"] {
            let refused = NatsSettings::new(reach(&["n1"]), Some(stream.into()));
            assert!(matches!(refused, Err(NatsSettingsError::Stream(_))), "{stream:?}");
        }
    }

    #[test]
    fn a_file_that_holds_no_secret_of_its_kind_is_named_and_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let path = || Some(file.path().to_owned());
        for (setting, named) in [
            ("nats_nkey_file", NatsReach { nkey_file: path(), ..reach(&["n1"]) }),
            ("nats_credentials_file", NatsReach { credentials_file: path(), ..reach(&["n1"]) }),
            ("nats_tls_ca", NatsReach { tls_ca: path(), ..reach(&["n1"]) }),
        ] {
            let error = NatsSettings::new(named, None).unwrap().check_files().unwrap_err().to_string();
            assert!(error.starts_with(setting) && !error.contains("hunter2"), "{error}");
        }
        let token = NatsReach { token_file: path(), ..reach(&["n1"]) };
        let settings = NatsSettings::new(token, None).unwrap();
        settings.check_files().unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
