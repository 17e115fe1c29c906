//! OpenSSL's own client, which can be told to change its keys.

use std::process::Stdio;
use std::time::Duration;

use fantail_testkit::{PATIENCE, SseClient, TlsTrust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::node::{publish, until_closed, until_open};
use crate::{Served, assert_told};

const REQUEST: &[u8] = b"GET /sse/a HTTP/1.0\r\nHost: localhost\r\n\r\n";

/// `openssl s_client`, with its request sent.
struct Client {
    process: Child,
    printed: String,
}

impl Client {
    async fn start(served: &Served, version: &str, more: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", version, "-verify_return_error", "-servername", "localhost"]).args(more);
        command.arg("-CAfile").arg(served.certificates.ca());
        command.args(["-connect", &format!("127.0.0.1:{}", served.port)]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let process = command.spawn().expect("tests need openssl, install it and put it on PATH");
        let mut client = Self { process, printed: String::new() };
        client.write(REQUEST).await;
        client
    }

    async fn write(&mut self, bytes: &[u8]) {
        let input = self.process.stdin.as_mut().unwrap();
        input.write_all(bytes).await.unwrap();
        input.flush().await.unwrap();
    }

    async fn read(&mut self) -> usize {
        let mut bytes = vec![0; 64 << 10];
        let read = timeout(PATIENCE, self.process.stdout.as_mut().unwrap().read(&mut bytes)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing more comes behind {}", self.printed)).unwrap();
        self.printed.push_str(&String::from_utf8_lossy(&bytes[..read]));
        read
    }

    async fn read_to(&mut self, text: &str) {
        while !self.printed.contains(text) {
            assert!(self.read().await > 0, "it ended before {text:?}: {}", self.printed);
        }
    }

    /// An end without `close_notify` is one that OpenSSL 3 reports, and fails for.
    async fn read_to_clean_end(&mut self) {
        while self.read().await > 0 {}
        let status = timeout(PATIENCE, self.process.wait()).await.expect("it ends").unwrap();
        let mut errors = String::new();
        self.process.stderr.as_mut().unwrap().read_to_string(&mut errors).await.unwrap();
        assert!(status.success() && !errors.contains("eof while reading"), "{status}: {errors}");
    }
}

#[tokio::test]
async fn openssl_reads_a_stream_over_either_version_to_its_clean_end() {
    let served = Served::start().await;
    for version in ["-tls1_3", "-tls1_2"] {
        let mut client = Client::start(&served, version, &["-quiet"]).await;
        tokio::join!(client.read_to_clean_end(), served.play());
        assert_told(version, &client.printed);
        until_open(&served.node, 0).await;
    }
}

/// 1. The client changes its key in the middle of its stream, and in the second round asks the node to do the same.
/// 2. The stream holds no key of the client's half any more. It ends in order, with last words and `close_notify`.
/// 3. The client comes back with its last id, and misses nothing.
#[tokio::test]
async fn a_change_of_keys_by_openssl_ends_the_stream_in_order_and_its_id_resumes_it() {
    let served = Served::start().await;
    let trust = TlsTrust::new(&served.certificates.ca()).unwrap();
    let address = ([127, 0, 0, 1], served.port).into();
    for (round, letter) in (1..).zip([b"k\n", b"K\n"]) {
        let mut client = Client::start(&served, "-tls1_3", &[]).await;
        client.read_to("retry: ").await;
        publish(&served.node, "a", format!("before {round}")).await;
        client.read_to(&format!("data: before {round}\n\n")).await;
        client.write(letter).await;
        client.read_to_clean_end().await;
        assert!(client.printed.contains("data: {\"reason\":\"tls-input\"}\nretry: "), "{}", client.printed);
        until_closed(&served.node, "tls_input", round).await;

        publish(&served.node, "a", format!("away {round}")).await;
        let id = client.printed.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap();
        let mut again =
            SseClient::request(address, "/sse/a").over_tls(&trust).last_event_id(id).connect().await.unwrap();
        assert_eq!(again.next_event(PATIENCE).await.unwrap().data, format!("away {round}"));
        assert!(again.next_event(Duration::ZERO).await.is_err(), "something came twice");
        drop(again);
        until_open(&served.node, 0).await;
    }
}
