//! A service under systemd. The test plays systemd with real sockets.

use std::path::Path;

use fantail_testkit::{Fantail, PATIENCE, Signal, SseClient};
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::node::{FANTAIL, publish};

/// systemd's side of `NOTIFY_SOCKET`.
struct Systemd {
    directory: TempDir,
    socket: UnixDatagram,
}

impl Systemd {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self { directory, socket }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a node as a service of `Type=notify`.
    async fn start(&self, variables: &[(&str, &str)]) -> Fantail {
        let notify = self.path().join("notify");
        let variables = [&[("NOTIFY_SOCKET", notify.to_str().unwrap())], variables].concat();
        Fantail::start(FANTAIL, &["serve", "--workers", "2", "--drain-delay", "0s"], &variables).await.unwrap()
    }

    async fn told(&self) -> String {
        let mut bytes = [0; 256];
        let length = timeout(PATIENCE, self.socket.recv(&mut bytes)).await.expect("it tells something").unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }
}

#[tokio::test]
async fn systemd_is_told_when_a_node_is_ready_reloads_and_ends() {
    let systemd = Systemd::new();
    let mut node = systemd.start(&[]).await;
    assert_eq!(systemd.told().await, "READY=1");
    let mut client = SseClient::connect(node.public(), "/sse/a").await.unwrap();
    publish(&node, "a", "hello").await;
    assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "hello");

    node.signal(Signal::HUP).unwrap();
    let reloading = systemd.told().await;
    let (word, time) = reloading.split_once("\nMONOTONIC_USEC=").unwrap();
    assert_eq!(word, "RELOADING=1");
    assert!(time.parse::<u64>().unwrap() > 0);
    assert_eq!(systemd.told().await, "READY=1");

    node.signal(Signal::TERM).unwrap();
    assert_eq!(systemd.told().await, "STOPPING=1");
    assert!(node.wait(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn a_watched_node_tells_again_and_again_that_it_is_alive() {
    let systemd = Systemd::new();
    let _node = systemd.start(&[("WATCHDOG_USEC", "40000")]).await;
    assert_eq!(systemd.told().await, "READY=1");
    for _ in 0..3 {
        assert_eq!(systemd.told().await, "WATCHDOG=1");
    }
}

/// The watchdog is meant for the process that it names; a variable that a shell handed on is not ours.
#[tokio::test]
async fn a_watchdog_of_another_process_is_not_answered() {
    let systemd = Systemd::new();
    let mut node = systemd.start(&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]).await;
    assert_eq!(systemd.told().await, "READY=1");
    node.signal(Signal::TERM).unwrap();
    assert_eq!(systemd.told().await, "STOPPING=1");
    assert!(node.wait(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn a_notify_socket_that_nobody_reads_is_a_fault_at_start() {
    let variables = [("NOTIFY_SOCKET", "/nowhere/notify")];
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"];
    let (status, output) = Fantail::run_to_end(FANTAIL, &arguments, &variables).await.unwrap();
    assert_eq!(status.code(), Some(1), "{output:?}");
    assert!(output.stderr.contains("cannot use NOTIFY_SOCKET"), "{}", output.stderr);
}
