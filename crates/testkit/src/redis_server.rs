//! A real redis-server on a free loopback port, in a directory of its own.
//!
//! `FANTAIL_REDIS_SERVER` names another program in its place, such as another version. The server is killed by process
//! id, also when the test panics.

use std::{
    ffi::OsString,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    PATIENCE,
    certificates::Certificates,
    child::{Child, Signal},
    error::{Doing, Error, Result, within},
    port::free_port,
    resp::{Reply, RespConnection},
};

const STARTS_MAX: usize = 10;
/// The pause between two looks at a server that is not ready yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A running redis-server; killed on drop.
#[derive(Debug)]
pub struct RedisServer {
    // Before the directory, so that the process is gone when the directory is removed.
    child: Child,
    directory: TempDir,
    port: u16,
    tls_port: Option<u16>,
    arguments: Vec<String>,
    password: Option<String>,
}

impl RedisServer {
    /// Starts one that forgets everything when it ends.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one that has every write on disk before it answers, so that `kill` loses nothing acknowledged.
    pub async fn start_durable() -> Result<Self> {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// Starts one with more command line options, for instance `["--requirepass", "secret"]`.
    pub async fn start_with(arguments: &[&str]) -> Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let password = arguments.iter().position(|argument| argument == "--requirepass");
        let password = password.and_then(|at| arguments.get(at + 1).cloned());
        let mut starts = 1;
        loop {
            let directory = TempDir::with_prefix("fantail-redis-").doing("making a directory for redis")?;
            let port = free_port()?;
            let child = launch(port, directory.path(), &arguments)?;
            let (arguments, password) = (arguments.clone(), password.clone());
            let mut server = Self { child, directory, port, tls_port: None, arguments, password };
            match server.ready().await {
                Ok(()) => return Ok(server),
                // Another process took the port between our look and the server's bind.
                Err(_) if server.port_was_taken() && starts < STARTS_MAX => starts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts one that also speaks TLS, on [`tls_addr`](Self::tls_addr), and demands a client certificate if asked to.
    pub async fn start_tls(certificates: &Certificates, demands_client: bool, arguments: &[&str]) -> Result<Self> {
        let demanded = if demands_client { "yes" } else { "no" };
        let files = [certificates.ca(), certificates.server(), certificates.server_key()];
        let [ca, server, key] = files.map(|path| path.display().to_string());
        let mut starts = 1;
        loop {
            let port = free_port()?;
            let port_text = port.to_string();
            let tls = ["--tls-port", &port_text, "--tls-auth-clients", demanded];
            let files = ["--tls-ca-cert-file", &ca, "--tls-cert-file", &server, "--tls-key-file", &key];
            match Self::start_with(&[&tls[..], &files, arguments].concat()).await {
                Ok(server) => return Ok(Self { tls_port: Some(port), ..server }),
                // The port for TLS may be the one that was taken.
                Err(_) if starts < STARTS_MAX => starts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts a replica of `master` and waits until it has a copy and follows.
    pub async fn start_replica_of(master: &Self, arguments: &[&str]) -> Result<Self> {
        // By default a master waits five seconds for more replicas before it sends the copy.
        master.command(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await?;
        let port = master.port.to_string();
        let replica = Self::start_with(&[&["--replicaof", "127.0.0.1", &port], arguments].concat()).await?;
        replica.wait_for_info("replication", "master_link_status:up").await?;
        Ok(replica)
    }

    /// Its address for TLS, if it was started with TLS.
    pub fn tls_addr(&self) -> SocketAddr {
        SocketAddr::new(self.addr().ip(), self.tls_port.expect("the server was started with start_tls"))
    }

    /// Its address.
    pub const fn addr(&self) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }

    /// Its address as a `redis://` URL, with the password when it has one.
    pub fn url(&self) -> String {
        let user = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{user}{}", self.addr())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Kills it as a power cut would (SIGKILL). Its port refuses connections afterwards.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Starts it again on the same port and directory; kills it first if it still runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.child.kill();
        for _ in 1..STARTS_MAX {
            self.child = launch(self.port, self.directory.path(), &self.arguments)?;
            match self.ready().await {
                // Only the same port will do, so this waits until another process gives it back.
                Err(_) if self.port_was_taken() => tokio::time::sleep(LOOK_INTERVAL).await,
                result => return result,
            }
        }
        Err(self.child.failed(&format!("cannot have port {} back: something else took it", self.port)))
    }

    /// Freezes it: sockets stay open, nothing answers (SIGSTOP).
    pub fn stop_signal(&self) -> Result<()> {
        self.child.signal(Signal::STOP)
    }

    /// Lets a frozen server go on (SIGCONT).
    pub fn cont(&self) -> Result<()> {
        self.child.signal(Signal::CONT)
    }

    /// A connection of its own, authenticated, for many commands in order.
    pub async fn connection(&self) -> Result<RespConnection> {
        let mut connection = RespConnection::connect(self.addr()).await?;
        if let Some(password) = &self.password {
            match connection.command(&["AUTH", password]).await? {
                Reply::Simple(_) => {}
                other => return Err(Error::Protocol(format!("redis answered AUTH with {other:?}"))),
            }
        }
        Ok(connection)
    }

    /// One command on a fresh connection.
    pub async fn command(&self, arguments: &[&str]) -> Result<Reply> {
        self.connection().await?.command(arguments).await
    }

    /// Publishes on a fresh connection; returns the number of subscribers that Redis counted.
    pub async fn publish(&self, channel: &str, payload: impl AsRef<[u8]>) -> Result<i64> {
        self.connection().await?.publish(channel, payload.as_ref()).await
    }

    /// The number of clients that are subscribed to `channel`.
    pub async fn pubsub_numsub(&self, channel: &str) -> Result<i64> {
        let reply = self.command(&["PUBSUB", "NUMSUB", channel]).await?;
        let count = reply.array().and_then(|pair| pair.get(1)).and_then(Reply::integer);
        count.ok_or_else(|| Error::Protocol(format!("redis answered PUBSUB NUMSUB with {reply:?}")))
    }

    /// Waits until a section of INFO holds this very line.
    pub async fn wait_for_info(&self, section: &str, line: &str) -> Result<()> {
        within(PATIENCE, &format!("{line} in INFO {section}"), async {
            loop {
                match self.command(&["INFO", section]).await {
                    Ok(info) if info.text().unwrap_or_default().lines().any(|found| found == line) => return Ok(()),
                    Err(error) if !was_reset(&error) => return Err(error),
                    Ok(_) | Err(_) => {}
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        })
        .await
    }

    /// Waits until exactly `count` clients are subscribed to `channel`.
    pub async fn wait_for_subscribers(&self, channel: &str, count: i64) -> Result<()> {
        let what = format!("{count} redis subscribers of {channel}");
        within(PATIENCE, &what, async {
            loop {
                match self.pubsub_numsub(channel).await {
                    Ok(found) if found == count => return Ok(()),
                    Err(error) if !was_reset(&error) => return Err(error),
                    Ok(_) | Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
                }
            }
        })
        .await
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                // Its last lines explain the end, so the pipes are drained first.
                let last_words = self.child.find_in_output(PATIENCE, "it was ready", |_| None::<()>).await;
                return last_words;
            }
            if self.answers_as_ours().await.unwrap_or(false) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Err(self.child.failed(&format!("did not answer PING within {PATIENCE:?}")))
    }

    /// PONG proves that it serves, its process id that it is not another Redis on a port that we lost.
    async fn answers_as_ours(&self) -> Result<bool> {
        let mut connection = self.connection().await?;
        if connection.command(&["PING"]).await? != Reply::Simple("PONG".into()) {
            return Ok(false);
        }
        let info = connection.command(&["INFO", "server"]).await?.text().unwrap_or_default();
        let ours = format!("process_id:{}", self.pid());
        Ok(info.lines().any(|line| line == ours))
    }

    fn port_was_taken(&self) -> bool {
        let output = self.child.output();
        output.stdout.contains("Address already in use") || output.stderr.contains("Address already in use")
    }
}

/// The server that tests run against: another version, or another implementation, if `FANTAIL_REDIS_SERVER` names one.
pub(crate) fn program() -> OsString {
    std::env::var_os("FANTAIL_REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

/// Whether the connection was reset, or ended before the answer. A Sentinel that changes a server's role ends all its
/// clients' connections. A caller that waits for a state asks again.
fn was_reset(error: &Error) -> bool {
    let is_reset = |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof);
    matches!(error, Error::Io { source, .. } if is_reset(source.kind()))
}

fn launch(port: u16, directory: &Path, arguments: &[String]) -> Result<Child> {
    let mut command = Command::new(program());
    command.current_dir(directory);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--save", ""]);
    command.args(["--appendonly", "no", "--logfile", ""]).args(arguments);
    Child::spawn("redis-server", &mut command)
}
