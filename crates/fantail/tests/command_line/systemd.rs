//! A service under systemd. The test plays systemd with real sockets.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use fantail_testkit::{Fantail, PATIENCE, Signal, SseClient};
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
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

/// Starts a node as a service behind a socket unit: descriptor 3 is the socket, and the variables say so.
fn start_with_socket(socket: &TcpListener, arguments: &[&str]) -> Child {
    let script = "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 </dev/null";
    let served = ["-c", script, FANTAIL, "serve", "--internal-listen", "127.0.0.1:0"];
    let mut command = Command::from(Fantail::command("sh", &[&served[..], arguments].concat()));
    command.stdin(OwnedFd::from(socket.try_clone().unwrap())).stdout(Stdio::null()).stderr(Stdio::piped());
    command.kill_on_drop(true).spawn().unwrap()
}

/// 1. systemd listens, and a client connects before there is a node.
/// 2. The node comes and takes the socket: the client gets its stream.
/// 3. The node is gone, and another client connects.
/// 4. The next node gives that client its stream.
#[tokio::test]
async fn clients_of_a_socket_unit_wait_for_the_node_and_are_not_refused() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    for _ in 0..2 {
        let client = tokio::spawn(SseClient::connect(address, "/sse/a"));
        let mut node = start_with_socket(&socket, &["--listen", &address.to_string()]);
        assert_eq!(timeout(PATIENCE, client).await.unwrap().unwrap().unwrap().status(), 200);
        node.kill().await.unwrap();
    }
}

/// Its clients would wait for ever. With status 2 systemd does not start the service over and over.
#[tokio::test]
async fn a_socket_that_no_setting_names_ends_the_start_for_good_and_names_the_remedy() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = start_with_socket(&socket, &["--listen", "127.0.0.1:0"]);
    let output = timeout(PATIENCE, node.wait_with_output()).await.unwrap().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains(&format!("systemd passed a socket of {}", socket.local_addr().unwrap())), "{told}");
    assert!(told.contains("or take its line out of the socket unit"), "{told}");
}
