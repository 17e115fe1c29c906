//! A `hold` worker alone, driven as its parent drives it: coming back after a reset, and streams that stop reading.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

pub(crate) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    listener: TcpListener,
}

impl Worker {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fantail-loadgen"))
            .arg("hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    pub(crate) fn tell(&mut self, command: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
    }

    /// The next notice of this kind; progress is passed over.
    pub(crate) fn hear(&mut self, notice: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the worker ended");
            let heard: Value = serde_json::from_str(&line).unwrap();
            assert_ne!(heard["notice"], "failed", "{line}");
            if heard["notice"] == notice {
                return heard;
            }
        }
    }

    fn tell_open(&mut self, streams: u32, returning: bool) {
        let address = self.listener.local_addr().unwrap().to_string();
        self.tell(&json!({
            "command": "open",
            "subscribe": { "address": address, "host": address, "path": "/sse/{channel}", "scheme": "Http" },
            "channel_prefix": "news", "channels": 1, "first_stream": 0, "streams": streams, "published": 0,
            "connects_per_second": 1000, "sources": [], "deadline_seconds": 30,
            "remember_ids": true, "keep_tickets": true, "returning": returning,
        }));
    }

    /// Takes the stream's connection and answers it; returns the request's head too.
    fn accept(&self, text: &str) -> (TcpStream, String) {
        let (mut socket, _) = self.listener.accept().unwrap();
        let mut lines = BufReader::new(socket.try_clone().unwrap()).lines().map(Result::unwrap);
        let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        write!(socket, "{HEAD}{text}").unwrap();
        (socket, head.join("\n"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.input = None;
        self.child.wait().unwrap();
    }
}

#[test]
fn stream_comes_back_with_the_last_id_it_saw() {
    let mut worker = Worker::start();
    worker.tell_open(1, false);
    let (_first, request) = worker.accept("id: a.1\n\nid: a.2\n\n: no id here\n\n");
    assert!(!request.contains("Last-Event-ID"), "{request}");
    worker.hear("opened");
    worker.tell(&json!({ "command": "reset" }));
    assert_eq!(worker.hear("done")["streams"], 1);
    worker.tell_open(1, true);
    let (_second, request) = worker.accept("");
    assert!(request.ends_with("Last-Event-ID: a.2"), "{request}");
    assert_eq!(worker.hear("opened")["open"], 1);
}

/// 1. Of two streams the first is told to stop. Then it is sent bytes that no stream may get, and the other is sent
///    some too.
/// 2. A worker that reads both has seen the first when it has seen the second.
#[test]
fn a_stopped_stream_is_owed_nothing() {
    let mut worker = Worker::start();
    worker.tell_open(2, false);
    let mut sockets = [worker.accept("").0, worker.accept("").0];
    worker.hear("opened");
    worker.tell(&json!({ "command": "stop", "every": 2 }));
    assert_eq!(worker.hear("done")["streams"], 1);
    for socket in &mut sockets {
        socket.write_all(b"data: not what a payload looks like\n\n").unwrap();
    }
    let (mut lost, mut corrupt) = (0, 0);
    while corrupt == 0 {
        worker.tell(&json!({ "command": "report", "published": 3 }));
        let report = worker.hear("report");
        assert_eq!(report["deliveries"], 0);
        lost += report["lost"].as_u64().unwrap();
        corrupt += report["corrupt"].as_u64().unwrap();
    }
    assert_eq!((lost, corrupt), (3, 1), "of the one that reads");
}

#[test]
fn a_reading_stream_without_its_events_is_reported() {
    let mut worker = Worker::start();
    worker.tell_open(1, false);
    let (_socket, _) = worker.accept("");
    worker.hear("opened");
    worker.tell(&json!({ "command": "report", "published": 3 }));
    assert_eq!(worker.hear("report")["lost"], 3);
}
