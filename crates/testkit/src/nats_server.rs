//! A real nats-server on a free loopback port, in a directory of its own.
//!
//! `FANTAIL_NATS_SERVER` names another program in its place, such as another version. The server is killed by process
//! id, also when the test panics.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    PATIENCE,
    child::{Child, Signal},
    error::{Doing, Error, Result},
    nats_connection::NatsConnection,
    port::free_port,
    random::Random,
};

const STARTS_MAX: usize = 10;
/// The pause between two looks at a server that is not ready yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A running nats-server; killed on drop.
#[derive(Debug)]
pub struct NatsServer {
    // Before the directory, so that the process is gone when the directory is removed.
    child: Child,
    directory: TempDir,
    port: u16,
    config: String,
    arguments: Vec<String>,
    /// Its own, by which it is told from another server on a port that was lost.
    name: String,
}

impl NatsServer {
    /// Starts one that keeps nothing.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with JetStream, which keeps its streams in its directory.
    pub async fn start_jetstream() -> Result<Self> {
        Self::start_with(&["--jetstream"]).await
    }

    /// Starts one with more command line options, for instance `["--auth", "secret"]`.
    pub async fn start_with(arguments: &[&str]) -> Result<Self> {
        Self::start_with_config("", arguments).await
    }

    /// Starts one with a configuration for which there are no options, such as `max_pending: 2MB`.
    pub async fn start_with_config(config: &str, arguments: &[&str]) -> Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let mut starts = 1;
        loop {
            let directory = TempDir::with_prefix("fantail-nats-").doing("making a directory for nats")?;
            let port = free_port()?;
            let name = format!("fantail-test-{port}-{}", Random::from_entropy().below(u64::MAX));
            let child = launch(port, &directory, &name, config, &arguments)?;
            let (config, arguments) = (config.to_owned(), arguments.clone());
            let mut server = Self { child, directory, port, config, arguments, name };
            match server.ready().await {
                Ok(()) => return Ok(server),
                // Another process took the port between our look and the server's bind.
                Err(_) if server.port_was_taken() && starts < STARTS_MAX => starts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Its address.
    pub const fn addr(&self) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }

    /// Its address as a URL, without credentials.
    pub fn url(&self) -> String {
        format!("nats://{}", self.addr())
    }

    /// Its name, which is its own among all servers.
    pub fn name(&self) -> &str {
        &self.name
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
            self.child = launch(self.port, &self.directory, &self.name, &self.config, &self.arguments)?;
            match self.ready().await {
                // Only the same port will do, so this waits until another process gives it back.
                Err(_) if self.port_was_taken() => tokio::time::sleep(LOOK_INTERVAL).await,
                result => return result,
            }
        }
        Err(self.child.failed(&format!("cannot have port {} back: something else took it", self.port)))
    }

    /// Starts it again on the same port with an empty directory.
    pub async fn restart_empty(&mut self) -> Result<()> {
        self.child.kill();
        self.directory = TempDir::with_prefix("fantail-nats-").doing("making a directory for nats")?;
        self.restart().await
    }

    /// Copies what it keeps, while it does not run. [`restart_from`](Self::restart_from) puts the copy back.
    pub fn backup(&self) -> Result<TempDir> {
        let backup = TempDir::with_prefix("fantail-nats-backup-").doing("making a directory for a backup")?;
        copy_all(&self.directory, &backup)?;
        Ok(backup)
    }

    /// Starts it again on the same port with what it kept when the copy was made.
    pub async fn restart_from(&mut self, backup: &TempDir) -> Result<()> {
        self.child.kill();
        self.directory = TempDir::with_prefix("fantail-nats-").doing("making a directory for nats")?;
        copy_all(backup, &self.directory)?;
        self.restart().await
    }

    /// Freezes it: sockets stay open, nothing answers (SIGSTOP).
    pub fn stop_signal(&self) -> Result<()> {
        self.child.signal(Signal::STOP)
    }

    /// Lets it read its configuration again (SIGHUP).
    pub fn reload(&self) -> Result<()> {
        self.child.signal(Signal::HUP)
    }

    /// Lets a frozen server go on (SIGCONT).
    pub fn cont(&self) -> Result<()> {
        self.child.signal(Signal::CONT)
    }

    /// A connection of its own without credentials.
    pub async fn connection(&self) -> Result<NatsConnection> {
        NatsConnection::connect(self.addr()).await
    }

    /// Publishes on a fresh connection, and waits until the server has taken it.
    pub async fn publish(&self, subject: &str, payload: impl AsRef<[u8]>) -> Result<()> {
        self.connection().await?.publish(subject, payload).await
    }

    /// Asks the server itself, such as `$JS.API.STREAM.PURGE.EVENTS`. An answer with an error is an error.
    pub async fn ask(&self, subject: &str, request: &str) -> Result<String> {
        let answer = self.connection().await?.request(subject, request).await?;
        if answer.contains("\"error\":") {
            return Err(Error::Protocol(format!("nats answered {subject} with {answer}")));
        }
        Ok(answer)
    }

    /// Makes a stream that keeps `fantail.>` in its file, with more members of its configuration.
    pub async fn make_stream(&self, name: &str, members: &str) -> Result<()> {
        let config = format!(r#"{{"name":"{name}","subjects":["fantail.>"],"storage":"file"{members}}}"#);
        self.ask(&format!("$JS.API.STREAM.CREATE.{name}"), &config).await.map(drop)
    }

    /// Publishes into a stream, and waits until it has the message. Returns its number.
    pub async fn publish_to_stream(&self, subject: &str, payload: &str) -> Result<u64> {
        let answer = self.ask(subject, payload).await?;
        let number = answer.split("\"seq\":").nth(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()));
        let number = number.and_then(|mut parts| parts.next()?.parse().ok());
        number.ok_or_else(|| Error::Protocol(format!("nats answered {subject} with {answer}")))
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                // Its last lines explain the end, so the pipes are drained first.
                return self.child.find_in_output(PATIENCE, "it was ready", |_| None::<()>).await;
            }
            if self.answers_as_ours().await.unwrap_or(false) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Err(self.child.failed(&format!("did not answer within {PATIENCE:?}")))
    }

    /// The first line of every connection names the server, before TLS and login.
    async fn answers_as_ours(&self) -> Result<bool> {
        let stream = TcpStream::connect(self.addr()).await.doing("connecting to nats")?;
        let mut info = String::new();
        BufReader::new(stream).read_line(&mut info).await.doing("reading the INFO of nats")?;
        Ok(info.contains(&format!("\"{}\"", self.name)))
    }

    fn port_was_taken(&self) -> bool {
        self.child.output().stderr.contains("address already in use")
    }
}

/// The server that tests run against: another version if `FANTAIL_NATS_SERVER` names one.
fn program() -> OsString {
    std::env::var_os("FANTAIL_NATS_SERVER").unwrap_or_else(|| "nats-server".into())
}

fn launch(port: u16, directory: &TempDir, name: &str, config: &str, arguments: &[String]) -> Result<Child> {
    let mut command = Command::new(program());
    command.current_dir(directory.path()).args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--name", name]);
    if !config.is_empty() {
        let file = directory.path().join("nats.conf");
        std::fs::write(&file, config).doing("writing a configuration for nats")?;
        command.arg("--config").arg(file);
    }
    command.arg("--store_dir").arg(directory.path()).args(arguments);
    Child::spawn("nats-server", &mut command)
}

fn copy_all(from: &TempDir, to: &TempDir) -> Result<()> {
    let mut folders = vec![from.path().to_owned()];
    while let Some(folder) = folders.pop() {
        let target = to.path().join(folder.strip_prefix(from.path()).unwrap_or(&folder));
        std::fs::create_dir_all(&target).doing("copying what nats kept")?;
        for entry in std::fs::read_dir(&folder).doing("copying what nats kept")? {
            let entry = entry.doing("copying what nats kept")?;
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                std::fs::copy(entry.path(), target.join(entry.file_name())).doing("copying what nats kept")?;
            }
        }
    }
    Ok(())
}
