//! Servers under test: starts them on their core, waits until they listen, ends them. It ends only processes that it
//! started.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::http2_options::Http2Options;
use crate::proc;
use crate::suite::encryption::Encryption;
use crate::suite::scenario::{FLOOR, PLAIN};
use crate::target::{PublishForm, ServerUnderTest};
use crate::tls_options::TlsOptions;
use crate::workload::{ChannelLayout, OpeningOptions};

/// The port of NATS.
pub(crate) const NATS_PORT: u16 = 18_270;
/// Streams begun per second; every server but one keeps up with it.
const CONNECT_RATE: u32 = 5_000;
const OPEN_SECONDS: u64 = 90;
/// As many as all workers let wait at once. Fantail's default takes more for a flood, and cuts the oldest.
const HANDSHAKES_MAX: &str = "2048";
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// How long a server's processes must stay the same.
const FAMILY_SETTLED: Duration = Duration::from_millis(600);
const END_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The places of programs, and the CPU of servers.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The folder with the release programs.
    pub(crate) programs: PathBuf,
    /// The folder with a folder per peer.
    pub(crate) peers: PathBuf,
    /// The CPU that servers are bound to.
    pub(crate) server_cpu: String,
    /// The TLS of streams; `None` if they are plain.
    pub(crate) encryption: Option<Encryption>,
    /// The HTTP of streams.
    pub(crate) http2: Http2Options,
}

/// The addresses of one Fantail.
struct Addresses {
    listen: &'static str,
    internal: &'static str,
    tls: &'static str,
}

const FIRST: Addresses = Addresses { listen: "127.0.0.1:18180", internal: "127.0.0.1:18181", tls: "127.0.0.1:18182" };
const SECOND: Addresses = Addresses { listen: "127.0.0.1:18184", internal: "127.0.0.1:18185", tls: "127.0.0.1:18186" };

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) target: ServerUnderTest,
    connect_rate: Option<u32>,
    child: Child,
    /// Its files, gone with it.
    folder: PathBuf,
}

/// Whether a server has the port of its streams to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Own,
    /// Several processes listen on it and the kernel deals connections to them.
    Shared,
}

/// The content of a peer's `peer.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    name: String,
    subscribe: String,
    /// Where streams are opened over TLS, if the peer can.
    subscribe_tls: Option<String>,
    /// Where streams are opened over HTTP/2 by clients that know it beforehand, if the peer can.
    subscribe_http2: Option<String>,
    /// Where streams are opened over HTTP/2 and TLS, if the peer can.
    subscribe_http2_tls: Option<String>,
    publish: String,
    body: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    channels: bool,
    /// For a peer that cannot open as many per second as the others.
    connect_rate: Option<u32>,
    /// The form of its events, if it puts the data into something of its own.
    event: Option<String>,
}

impl Places {
    /// Our own program, one shard, with more words for its command line.
    pub(crate) fn fantail(&self, more: &[&str]) -> anyhow::Result<Server> {
        self.fantail_of(&FIRST, more)
    }

    /// Another one beside it.
    pub(crate) fn second_fantail(&self, more: &[&str]) -> anyhow::Result<Server> {
        self.fantail_of(&SECOND, more)
    }

    fn fantail_of(&self, addresses: &Addresses, more: &[&str]) -> anyhow::Result<Server> {
        let Addresses { listen, internal, tls } = addresses;
        let Some(encryption) = &self.encryption else { return self.fantail_at(listen, internal, more, Port::Own) };
        let (certificate, key) = (encryption.certificates.server(), encryption.certificates.server_key());
        let mut command = self.fantail_command(listen, internal, more);
        command.args(["--tls-listen", tls, "--tls-cert"]).arg(certificate).arg("--tls-key").arg(key);
        command.args(["--tls-handshakes-max", HANDSHAKES_MAX]);
        let target = target("fantail", &format!("https://{tls}/sse/{{channel}}"), &publish_at(internal))?;
        let target = ServerUnderTest { http2: self.http2, ..encryption.offered_to(target) };
        Server::start(command, target, Port::Own)
    }

    /// Our own program at other addresses, with plain streams.
    pub(crate) fn fantail_at(&self, listen: &str, internal: &str, more: &[&str], port: Port) -> anyhow::Result<Server> {
        let mut command = self.fantail_command(listen, internal, more);
        if self.http2.streams_per_connection.is_some() {
            command.arg("--http2-plain");
        }
        let subscribe = format!("http://{listen}/sse/{{channel}}");
        let target = target("fantail", &subscribe, &publish_at(internal))?;
        Server::start(command, ServerUnderTest { http2: self.http2, ..target }, port)
    }

    fn fantail_command(&self, listen: &str, internal: &str, more: &[&str]) -> Command {
        let mut command = self.pinned(&self.programs.join("fantail"));
        command.args(["serve", "--listen", listen, "--internal-listen", internal, "--workers", "1"]);
        command.args(["--drain-delay", "0s", "--drain-window", "0s", "--drain-deadline", "1s"]).args(more);
        command
    }

    /// The bare loop, our own program without TLS and HTTP/2, or a peer by its folder's name.
    pub(crate) fn other(&self, name: &str) -> anyhow::Result<Server> {
        match name {
            FLOOR => self.floor(&[]),
            PLAIN => {
                let plain = Self { encryption: None, http2: Http2Options::HTTP1, ..self.clone() };
                let mut server = plain.second_fantail(&[])?;
                PLAIN.clone_into(&mut server.target.name);
                Ok(server)
            }
            peer => self.peer(peer),
        }
    }

    pub(crate) fn floor(&self, more: &[&str]) -> anyhow::Result<Server> {
        let mut command = self.pinned(&self.programs.join("fantail-bench-floor"));
        command.args(["--listen", "127.0.0.1:18190", "--publish-listen", "127.0.0.1:18191"]).args(more);
        Server::start(
            command,
            target(FLOOR, "http://127.0.0.1:18190/sse/{channel}", "http://127.0.0.1:18191/{channel}")?,
            Port::Own,
        )
    }

    /// The peers at hand, each with its version or with how it is installed.
    pub(crate) fn check_peers(&self) -> anyhow::Result<Vec<(String, Result<String, String>)>> {
        let mut peers = Vec::new();
        for entry in fs::read_dir(&self.peers).with_context(|| format!("cannot read {}", self.peers.display()))? {
            let folder = entry?.path();
            if !folder.join("peer.toml").exists() {
                continue;
            }
            let name = read_peer(&folder)?.name;
            let output = self.start_script(&folder).arg("--check").output().context("cannot run a start script")?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            let found = if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) };
            peers.push((name, found));
        }
        peers.sort();
        Ok(peers)
    }

    fn peer(&self, name: &str) -> anyhow::Result<Server> {
        let folder = self.peers.join(name);
        let peer = read_peer(&folder)?;
        let subscribe = peer.streams_over(self.encryption.is_some(), self.http2)?.to_owned();
        let Peer { name, publish, body, headers, channels, connect_rate, event, .. } = peer;
        let event = event.map(|template| template.parse()).transpose()?;
        ensure!(channels, "{name} knows no channels");
        let mut command = self.pinned(&folder.join("start"));
        command.env("CARGO_TARGET_DIR", self.target_folder());
        let target = target(&name, &subscribe, &publish)?;
        let mut target = ServerUnderTest { body, headers, event, http2: self.http2, ..target };
        if let Some(encryption) = &self.encryption {
            let certificates = &encryption.certificates;
            command.env("FANTAIL_BENCH_TLS_CERT", certificates.server());
            command.env("FANTAIL_BENCH_TLS_KEY", certificates.server_key());
            target = encryption.offered_to(target);
        }
        let mut server = Server::start(command, target, Port::Own)?;
        server.connect_rate = connect_rate;
        Ok(server)
    }

    fn start_script(&self, folder: &Path) -> Command {
        let mut command = Command::new(folder.join("start"));
        command.env("CARGO_TARGET_DIR", self.target_folder());
        command
    }

    fn target_folder(&self) -> &Path {
        self.programs.parent().unwrap_or(&self.programs)
    }

    fn pinned(&self, program: &Path) -> Command {
        // If this program is killed, its servers end too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "taskset", "-c", &self.server_cpu]).arg(program);
        command
    }
}

impl Peer {
    /// Where its streams are opened over these protocols.
    fn streams_over(&self, is_encrypted: bool, http2: Http2Options) -> anyhow::Result<&str> {
        let (url, lacking) = match (is_encrypted, http2.streams_per_connection) {
            (false, None) => (Some(&self.subscribe), ""),
            (true, None) => (self.subscribe_tls.as_ref(), "TLS"),
            (false, Some(_)) => (self.subscribe_http2.as_ref(), "HTTP/2"),
            (true, Some(_)) => (self.subscribe_http2_tls.as_ref(), "HTTP/2 over TLS"),
        };
        url.map(String::as_str).with_context(|| format!("{} has no {lacking} here", self.name))
    }
}

impl Server {
    /// A Redis server of our own. It runs beside the clients: only the load that it causes in Fantail is measured.
    pub(crate) fn redis() -> anyhow::Result<Self> {
        Self::redis_at(18_260)
    }

    pub(crate) fn redis_at(port: u16) -> anyhow::Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "redis-server"]);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let target = target(
            "redis",
            &format!("http://127.0.0.1:{port}/"),
            &format!("redis://127.0.0.1:{port}/fantail:{{channel}}"),
        )?;
        Self::start(command, target, Port::Own).context("redis is needed here: apt-get install redis-server")
    }

    /// NATS with `JetStream`, which keeps its files in the server's folder.
    pub(crate) fn nats() -> anyhow::Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "nats-server", "--addr", "127.0.0.1", "--port", &NATS_PORT.to_string()]);
        command.args(["--jetstream", "--store_dir", "."]);
        let url = format!("http://127.0.0.1:{NATS_PORT}/");
        Self::start(command, target("nats", &url, &url)?, Port::Own)
            .context("nats is needed here: apt-get install nats-server")
    }

    /// A peer gets a folder of its own as its last word. Our programs take none, but log there.
    fn start(mut command: Command, mut target: ServerUnderTest, port: Port) -> anyhow::Result<Self> {
        let name = target.name.clone();
        let own = (port == Port::Own).then_some(target.subscribe.address);
        for address in own.into_iter().chain([target.publish.address]) {
            ensure!(
                TcpStream::connect(address).is_err(),
                "cannot start {name}: something listens on {address} already"
            );
        }
        let folder = std::env::temp_dir().join(format!(
            "fantail-bench-{}-{name}-{}",
            std::process::id(),
            target.publish.address.port()
        ));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let log = File::create(folder.join("output.log"))?;
        if command.get_args().any(|word| Path::new(word).ends_with("start")) {
            command.arg(&folder);
        }
        command.current_dir(&folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        target.pids = vec![child.id()];
        let mut server = Self { target, connect_rate: None, child, folder };
        server.wait_until_ready()?;
        server.target.pids = server.settled_family()?;
        Ok(server)
    }

    /// The options for opening its streams.
    pub(crate) fn opening(&self, channels: ChannelLayout) -> OpeningOptions {
        let streams_per_second = self.connect_rate.unwrap_or(CONNECT_RATE);
        OpeningOptions {
            channels,
            connect_rate: self.target.http2.connections(streams_per_second),
            workers: 1,
            source_addresses: 8,
            open_deadline: OPEN_SECONDS,
            remember_ids: false,
            keep_tickets: false,
        }
    }

    /// The process that was started itself.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_PATIENCE;
        let addresses = [self.target.subscribe.address, self.target.publish.address];
        while !addresses.iter().all(|address| TcpStream::connect(address).is_ok()) {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("output.log")).unwrap_or_default();
                bail!("{} does not listen on {addresses:?}; it said: {}", self.target.name, log.trim());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// The server's processes, once no more come or go: some start theirs only after the port is open, others are done.
    fn settled_family(&self) -> anyhow::Result<Vec<u32>> {
        let deadline = Instant::now() + READY_PATIENCE;
        let mut family = proc::family(self.child.id())?;
        let mut same_since = Instant::now();
        while same_since.elapsed() < FAMILY_SETTLED && Instant::now() < deadline {
            std::thread::sleep(LOOK_INTERVAL);
            let now = proc::family(self.child.id())?;
            if now != family {
                (family, same_since) = (now, Instant::now());
            }
        }
        Ok(family)
    }

    fn signal(&self, signal: Signal) {
        // Processes that have ended meanwhile need no signal.
        for pid in proc::family(self.child.id()).unwrap_or_default() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, signal);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + END_PATIENCE;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn read_peer(folder: &Path) -> anyhow::Result<Peer> {
    let path = folder.join("peer.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not understood", path.display()))
}

fn publish_at(internal: &str) -> String {
    format!("http://{internal}/publish/{{channel}}")
}

fn target(name: &str, subscribe: &str, publish: &str) -> anyhow::Result<ServerUnderTest> {
    Ok(ServerUnderTest {
        name: name.to_owned(),
        subscribe: subscribe.parse()?,
        publish: publish.parse()?,
        form: PublishForm::Post,
        pids: Vec::new(),
        body: None,
        headers: Vec::new(),
        tls: TlsOptions::default(),
        http2: Http2Options::HTTP1,
        event: None,
    })
}
