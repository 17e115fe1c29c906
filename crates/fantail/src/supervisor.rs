//! Tells systemd that the process is ready, reads files again, ends, or is alive (the protocol of `sd_notify`).
//!
//! It owns the socket that `NOTIFY_SOCKET` names. Without that variable all calls do nothing. It never holds the thread up:
//! a message that systemd does not take within a second is dropped, and the log says so.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use fantail_shard::ShardCommand;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::warn;

/// systemd reads its socket at once, or it has a problem of its own.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// A process that is silent for longer than this is ended and started again.
    silence_max: Option<Duration>,
}

impl Supervisor {
    /// The supervisor that the process's environment names. Needs a runtime.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let variable = |name| std::env::var(name).ok();
        let is_watched = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let microseconds = variable("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        let silence_max = microseconds.filter(|&most| is_watched && most > 0).map(Duration::from_micros);
        let address = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = address.map(|address| connect(&address).context("cannot use NOTIFY_SOCKET")).transpose()?;
        Ok(Self { socket, silence_max })
    }

    /// The listeners take connections, and files that were read again are in use.
    pub(crate) async fn tell_ready(&self) {
        self.tell("READY=1").await;
    }

    /// Files are being read again; [`Self::tell_ready`] follows. The time lets systemd tell this reload from an older one.
    pub(crate) async fn tell_reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}")).await;
    }

    /// The drain has begun.
    pub(crate) async fn tell_stopping(&self) {
        self.tell("STOPPING=1").await;
    }

    /// Tells for ever that the process is alive, twice in the time that systemd waits for it. It asks every shard first, so a
    /// thread that is stuck ends the messages as the control loop itself would.
    pub(crate) async fn tell_alive(&self, shards: Vec<mpsc::Sender<ShardCommand>>) {
        let Some(silence_max) = self.silence_max else { return };
        loop {
            for shard in &shards {
                answers(shard).await;
            }
            self.tell("WATCHDOG=1").await;
            sleep(silence_max / 2).await;
        }
    }

    async fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        match timeout(PATIENCE, socket.send(message.as_bytes())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!(message, %error, "cannot tell systemd"),
            Err(_) => warn!(message, "systemd does not read its socket"),
        }
    }
}

/// Returns when the shard has answered. A shard that has drained is gone, and nobody waits for it.
async fn answers(shard: &mpsc::Sender<ShardCommand>) {
    let (reply, answer) = oneshot::channel();
    // The shortest question that there is: a list of no connections.
    if shard.send(ShardCommand::List { max: 0, reply }).await.is_ok() {
        let _ = answer.await;
    }
}

/// A name that begins with `@` is one of the abstract namespace, any other a path.
fn connect(name: &OsStr) -> anyhow::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(UnixDatagram::from_std(socket)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use tokio::task::yield_now;

    use super::*;

    fn supervisor(silence_max: Option<Duration>) -> (Supervisor, std::os::unix::net::UnixDatagram) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let systemd = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        systemd.set_nonblocking(true).unwrap();
        (Supervisor { socket: Some(connect(path.as_os_str()).unwrap()), silence_max }, systemd)
    }

    fn told(systemd: &std::os::unix::net::UnixDatagram) -> Option<String> {
        let mut bytes = [0; 256];
        let length = systemd.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    #[tokio::test]
    async fn a_name_with_an_at_is_an_abstract_one() {
        let name = format!("fantail-supervisor-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
        let socket = connect(OsStr::new(&format!("@{name}"))).unwrap();
        Supervisor { socket: Some(socket), silence_max: None }.tell_ready().await;
        assert_eq!(told(&systemd).unwrap(), "READY=1");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_a_fault_and_none_at_all_is_no_fault() {
        assert!(connect(OsStr::new("/nowhere/notify")).is_err());
        Supervisor { socket: None, silence_max: None }.tell_ready().await;
    }

    /// 1. There are two shards. The first answers, and the second is stuck.
    /// 2. Nothing is told until the second answers as well.
    /// 3. A shard that has drained is gone, and is not waited for.
    #[tokio::test]
    async fn a_stuck_shard_ends_the_signs_of_life() {
        let (supervisor, systemd) = supervisor(Some(Duration::from_millis(2)));
        let (first, mut first_asked) = mpsc::channel(1);
        let (second, mut second_asked) = mpsc::channel(1);
        tokio::spawn(async move { supervisor.tell_alive(vec![first, second]).await });
        let question = |command| match command {
            ShardCommand::List { reply, .. } => reply,
            other => panic!("{other:?}"),
        };
        question(first_asked.recv().await.unwrap()).send(Vec::new()).unwrap();
        let stuck = question(second_asked.recv().await.unwrap());
        yield_now().await;
        assert_eq!(told(&systemd), None);

        stuck.send(Vec::new()).unwrap();
        drop(second_asked);
        for _ in 0..2 {
            while told(&systemd).is_none_or(|message| message != "WATCHDOG=1") {
                if let Ok(command) = first_asked.try_recv() {
                    question(command).send(Vec::new()).unwrap();
                }
                yield_now().await;
            }
        }
    }
}
