//! A real Redis Sentinel that watches one master, with short deadlines for tests.
//!
//! It writes its own configuration, so it has a directory to itself.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
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
    redis_server::{RedisServer, program},
    resp::{Reply, RespConnection},
};

/// Silence after which a server counts as down.
const DOWN_AFTER: Duration = Duration::from_millis(500);
const STARTS_MAX: usize = 10;
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A running Sentinel; killed on drop.
#[derive(Debug)]
pub struct RedisSentinel {
    // Before the directory, so that the process is gone when the directory is removed.
    child: Child,
    _directory: TempDir,
    port: u16,
    tls_port: Option<u16>,
    password: Option<String>,
}

impl RedisSentinel {
    /// The name by which it knows its master.
    pub const MASTER: &'static str = "main";

    /// Starts one that watches `master`, alone decides on a failover, and waits until it knows `replicas` replicas.
    pub async fn start(master: &RedisServer, replicas: usize) -> Result<Self> {
        Self::start_with(master, replicas, &[]).await
    }

    /// The same with more lines in its configuration, for instance `requirepass secret`.
    pub async fn start_with(master: &RedisServer, replicas: usize, lines: &[&str]) -> Result<Self> {
        Self::launch(master.addr(), replicas, lines).await
    }

    /// Starts one that also speaks TLS, on [`tls_addr`](Self::tls_addr), and reaches its master and names it by TLS.
    pub async fn start_tls(master: &RedisServer, certificates: &Certificates) -> Result<Self> {
        let files = [certificates.ca(), certificates.server(), certificates.server_key()];
        let [ca, server, key] = files.map(|path| path.display().to_string());
        let port = free_port()?;
        let lines = [
            format!("tls-port {port}"),
            format!("tls-ca-cert-file {ca}"),
            format!("tls-cert-file {server}"),
            format!("tls-key-file {key}"),
            "tls-auth-clients no".into(),
            "tls-replication yes".into(),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let sentinel = Self::launch(master.tls_addr(), 0, &lines).await?;
        Ok(Self { tls_port: Some(port), ..sentinel })
    }

    async fn launch(master: SocketAddr, replicas: usize, lines: &[&str]) -> Result<Self> {
        let password = lines.iter().find_map(|line| line.strip_prefix("requirepass ")).map(str::to_owned);
        let mut starts = 1;
        loop {
            let directory = TempDir::with_prefix("fantail-sentinel-").doing("making a directory for a sentinel")?;
            let port = free_port()?;
            let path = directory.path().join("sentinel.conf");
            fs::write(&path, configuration(port, master, lines)).doing("writing sentinel.conf")?;
            let mut command = Command::new(program());
            command.current_dir(directory.path()).arg(&path).arg("--sentinel");
            let child = Child::spawn("redis-sentinel", &mut command)?;
            let mut sentinel = Self { child, _directory: directory, port, tls_port: None, password: password.clone() };
            match sentinel.ready(replicas).await {
                Ok(()) => return Ok(sentinel),
                Err(_) if sentinel.child.output().stdout.contains("already in use") && starts < STARTS_MAX => {
                    starts += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Its address.
    pub const fn addr(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }

    /// Its address for TLS, if it was started with TLS.
    pub fn tls_addr(&self) -> SocketAddr {
        SocketAddr::new(self.addr().ip(), self.tls_port.expect("the sentinel was started with start_tls"))
    }

    /// One command on a fresh connection.
    pub async fn command(&self, arguments: &[&str]) -> Result<Reply> {
        let mut connection = RespConnection::connect(self.addr()).await?;
        if let Some(password) = &self.password {
            connection.command(&["AUTH", password]).await?;
        }
        connection.command(arguments).await
    }

    /// The address of the master, as it tells it.
    pub async fn master(&self) -> Result<SocketAddr> {
        let reply = self.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::MASTER]).await?;
        let unclear = || Error::Protocol(format!("the sentinel answered {reply:?}"));
        let [host, port] = reply.array().ok_or_else(unclear)? else { return Err(unclear()) };
        let address = format!("{}:{}", host.text().unwrap_or_default(), port.text().unwrap_or_default());
        address.parse().map_err(|_| unclear())
    }

    /// Waits until it names `master`.
    pub async fn wait_for_master(&self, master: SocketAddr) -> Result<()> {
        within(PATIENCE, &format!("a failover to {master}"), async {
            while self.master().await? != master {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            Ok(())
        })
        .await
    }

    /// Tells it to make a replica the master though nothing is wrong, as operators do before maintenance. It may have
    /// to discover its replicas first.
    pub async fn failover(&self) -> Result<()> {
        within(PATIENCE, "a failover by hand", async {
            while !matches!(self.command(&["SENTINEL", "FAILOVER", Self::MASTER]).await?, Reply::Simple(_)) {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            Ok(())
        })
        .await
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Freezes it: it accepts, and answers nothing (SIGSTOP).
    pub fn stop_signal(&self) -> Result<()> {
        self.child.signal(Signal::STOP)
    }

    async fn ready(&mut self, replicas: usize) -> Result<()> {
        let wanted = format!("slaves={replicas},");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return self.child.find_in_output(PATIENCE, "it was ready", |_| None::<()>).await;
            }
            let info = self.command(&["INFO"]).await.ok().and_then(|reply| reply.text()).unwrap_or_default();
            let ours = info.lines().any(|line| line == format!("process_id:{}", self.child.pid()));
            if ours && info.contains("status=ok") && info.contains(&wanted) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Err(self.child.failed(&format!("did not know its master and {replicas} replicas within {PATIENCE:?}")))
    }
}

fn configuration(port: u16, master: SocketAddr, lines: &[&str]) -> String {
    let name = RedisSentinel::MASTER;
    let (ip, master_port) = (master.ip(), master.port());
    let down_after = DOWN_AFTER.as_millis();
    let mut text = format!(
        "port {port}\nbind 127.0.0.1\nlogfile \"\"\nsentinel monitor {name} {ip} {master_port} 1\n\
         sentinel down-after-milliseconds {name} {down_after}\nsentinel failover-timeout {name} 5000\n"
    );
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}
