//! The floor from outside: real sockets, and once the real program.
#![allow(clippy::unwrap_used, reason = "a failed setup step is a failed test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use fantail_bench_floor::{Counts, Floor, Options};

/// Guards a failing test against hanging; no assertion depends on it.
const PATIENCE: Duration = Duration::from_secs(30);
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A floor in a thread of its own.
struct Running {
    streams: SocketAddr,
    publish: SocketAddr,
    stop: UnixStream,
    thread: JoinHandle<Counts>,
}

impl Running {
    fn start(keepalive_interval: Option<Duration>) -> Self {
        Self::start_with(keepalive_interval, None)
    }

    fn start_with(keepalive_interval: Option<Duration>, redis: Option<SocketAddr>) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let floor = Floor::bind(Options { listen: any, publish_listen: any, keepalive_interval, redis }).unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let (streams, publish) = (floor.stream_address().unwrap(), floor.publish_address().unwrap());
        let thread = std::thread::spawn(move || floor.run(&stopped).unwrap());
        Self { streams, publish, stop, thread }
    }

    fn stop(mut self) -> Counts {
        self.stop.write_all(b"x").unwrap();
        self.thread.join().unwrap()
    }
}

type FloorConnection = BufReader<TcpStream>;

fn connect(address: SocketAddr) -> FloorConnection {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(socket)
}

fn open_stream(address: SocketAddr) -> FloorConnection {
    open_stream_of(address, "x")
}

fn open_stream_of(address: SocketAddr, channel: &str) -> FloorConnection {
    let mut socket = connect(address);
    write!(socket.get_mut(), "GET /sse/{channel} HTTP/1.1\r\nHost: floor\r\n\r\n").unwrap();
    let head = read_through(&mut socket, HEAD_END);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"), "{head}");
    socket
}

fn read_through(socket: &mut FloorConnection, end: &[u8]) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        assert_ne!(socket.read_until(b'\n', &mut bytes).unwrap(), 0, "connection ended early");
    }
    String::from_utf8(bytes).unwrap()
}

fn read_event(socket: &mut FloorConnection) -> String {
    read_through(socket, b"\n\n\r\n")
}

fn publish(socket: &mut FloorConnection, body: &[u8]) {
    publish_to(socket, "x", body);
}

fn publish_to(socket: &mut FloorConnection, channel: &str, body: &[u8]) {
    let out = socket.get_mut();
    write!(out, "POST /publish/{channel} HTTP/1.1\r\nHost: floor\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    out.write_all(body).unwrap();
    let answer = read_through(socket, HEAD_END);
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[test]
fn event_reaches_every_stream_once_as_one_chunk() {
    let floor = Running::start(None);
    let mut streams: Vec<_> = (0..20).map(|_| open_stream(floor.streams)).collect();
    let mut publisher = connect(floor.publish);
    publish(&mut publisher, b"one");
    publish(&mut publisher, b"two");
    let text = |number: u32, data: &str| format!("id: abcdefghijkl.1760000000000.{number:06}\ndata: {data}\n\n");
    let chunk = |text: String| format!("{:x}\r\n{text}\r\n", text.len());
    for stream in &mut streams {
        assert_eq!(read_event(stream), chunk(text(1, "one")));
        assert_eq!(read_event(stream), chunk(text(2, "two")));
    }
    let counts = floor.stop();
    assert_eq!((counts.streams, counts.deliveries, counts.dropped), (20, 40, 0));
}

#[test]
fn event_reaches_the_streams_of_its_channel_only() {
    let floor = Running::start(None);
    let mut a = open_stream_of(floor.streams, "a");
    let mut b = [open_stream_of(floor.streams, "b"), open_stream_of(floor.streams, "b")];
    let mut publisher = connect(floor.publish);
    for (channel, data) in [("a", "one"), ("b", "two"), ("nobody", "three"), ("a", "four")] {
        publish_to(&mut publisher, channel, data.as_bytes());
    }
    for data in ["one", "four"] {
        assert!(read_event(&mut a).contains(&format!("data: {data}\n")));
    }
    for stream in &mut b {
        assert!(read_event(stream).contains("data: two\n"));
    }
    assert_eq!(floor.stop().deliveries, 4);
}

#[test]
fn closed_stream_is_forgotten_and_the_others_go_on() {
    let floor = Running::start(None);
    let leaving = open_stream(floor.streams);
    let mut staying = open_stream(floor.streams);
    drop(leaving);
    let mut publisher = connect(floor.publish);
    // The second event finds the closed socket at the latest: the first one drew its reset.
    for data in ["one", "two", "three"] {
        publish(&mut publisher, data.as_bytes());
        assert!(read_event(&mut staying).contains(&format!("data: {data}\n")));
    }
    assert_eq!(floor.stop().closed, 1);
}

#[test]
fn stream_that_reads_nothing_loses_events_and_disturbs_nobody() {
    let floor = Running::start(None);
    let stuck = open_stream(floor.streams);
    let mut reading = open_stream(floor.streams);
    let mut publisher = connect(floor.publish);
    let body = vec![b'x'; 256 * 1024];
    // More than any default socket buffers hold.
    for _ in 0..64 {
        publish(&mut publisher, &body);
        assert!(read_event(&mut reading).len() > body.len());
    }
    let counts = floor.stop();
    assert!(counts.dropped + counts.cut > 0, "{counts}");
    drop(stuck);
}

#[test]
fn keepalive_is_a_comment_in_a_chunk_of_its_own() {
    let floor = Running::start(Some(Duration::from_millis(20)));
    let mut streams: Vec<_> = (0..3).map(|_| open_stream(floor.streams)).collect();
    for stream in &mut streams {
        for _ in 0..3 {
            assert_eq!(read_event(stream), "3\r\n:\n\n\r\n");
        }
    }
    assert!(floor.stop().keepalives >= 9);
}

#[test]
fn pipelined_posts_are_all_delivered_in_order() {
    let floor = Running::start(None);
    let mut stream = open_stream(floor.streams);
    let mut publisher = connect(floor.publish);
    let mut posts = Vec::new();
    for number in 0..50 {
        write!(posts, "POST /publish/x HTTP/1.1\r\nContent-Length: 3\r\n\r\n{number:03}").unwrap();
    }
    publisher.get_mut().write_all(&posts).unwrap();
    for number in 0..50 {
        assert!(read_event(&mut stream).contains(&format!("data: {number:03}\n")));
        assert!(read_through(&mut publisher, HEAD_END).starts_with("HTTP/1.1 202 "));
    }
    floor.stop();
}

#[test]
fn pass_is_over_before_the_next_request_is_answered() {
    let floor = Running::start(None);
    let mut stream = open_stream(floor.streams);
    let mut publisher = connect(floor.publish);
    publish(&mut publisher, b"one");
    publish(&mut publisher, b"two");
    // Nothing is waited for any more.
    stream.get_mut().set_nonblocking(true).unwrap();
    assert!(read_event(&mut stream).contains("data: one\n"));
    floor.stop();
}

/// A Redis that knows one command, with the socket of the floor that follows it.
fn follow_redis(listener: &TcpListener) -> TcpStream {
    let (socket, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines().map(Result::unwrap);
    let command: Vec<_> = lines.by_ref().take(5).collect();
    assert_eq!(command, ["*2", "$10", "PSUBSCRIBE", "$9", "fantail:*"]);
    socket
}

fn redis_message(channel: &str, data: &str) -> String {
    let name = format!("fantail:{channel}");
    format!("*4\r\n$8\r\npmessage\r\n$9\r\nfantail:*\r\n${}\r\n{name}\r\n${}\r\n{data}\r\n", name.len(), data.len())
}

#[test]
fn message_of_redis_reaches_the_streams_of_its_channel_only() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let redis = std::thread::spawn(move || {
        let mut socket = follow_redis(&listener);
        socket.write_all(b"*3\r\n$10\r\npsubscribe\r\n$9\r\nfantail:*\r\n:1\r\n").unwrap();
        socket
    });
    let floor = Running::start_with(None, Some(address));
    let mut redis = redis.join().unwrap();
    let (mut a, mut b) = (open_stream_of(floor.streams, "a"), open_stream_of(floor.streams, "b"));
    let wire = [("a", "one"), ("nobody", "two"), ("b", "three"), ("a", "four")];
    let wire: String = wire.iter().map(|(channel, data)| redis_message(channel, data)).collect();
    // Cut in the middle of a message. The event before it tells that the first half was read.
    let (first, second) = wire.as_bytes().split_at(wire.len() / 2);
    redis.write_all(first).unwrap();
    assert!(read_event(&mut a).contains("data: one\n"));
    redis.write_all(second).unwrap();
    assert!(read_event(&mut b).contains("data: three\n"));
    assert!(read_event(&mut a).contains("data: four\n"));
    assert_eq!(floor.stop().deliveries, 3);
}

#[test]
fn redis_that_refuses_ends_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let redis = Some(listener.local_addr().unwrap());
    let refusing = std::thread::spawn(move || {
        follow_redis(&listener).write_all(b"-NOAUTH no\r\n").unwrap();
    });
    let any = "127.0.0.1:0".parse().unwrap();
    let error = Floor::bind(Options { listen: any, publish_listen: any, keepalive_interval: None, redis }).unwrap_err();
    assert!(error.to_string().contains("NOAUTH"), "{error}");
    refusing.join().unwrap();
}

#[test]
fn sigterm_ends_the_program_and_tells_the_counts() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fantail-bench-floor"))
        .args(["--listen", "127.0.0.1:0", "--publish-listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.next().unwrap().unwrap();
    let address = |key: &str| -> SocketAddr {
        let word = ready.split(' ').find_map(|word| word.strip_prefix(key)).unwrap();
        word.parse().unwrap()
    };
    let mut stream = open_stream(address("listen="));
    publish(&mut connect(address("publish=")), b"hello");
    assert!(read_event(&mut stream).contains("data: hello\n"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let last = lines.next().unwrap().unwrap();
    assert!(last.starts_with("stopped streams=1 deliveries=1 dropped=0 "), "{last}");
    assert!(child.wait().unwrap().success());
}
