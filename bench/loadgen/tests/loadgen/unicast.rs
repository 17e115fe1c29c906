//! Every event for one stream: each comes once and at its stream, and whatever breaks that promise is told.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::floor::RunningFloor;
use crate::program::{FinishedRun, loadgen};
use crate::tls_front::TlsFront;
use crate::toy_server::{Lie, ToyServer};

const BROKEN: i32 = 3;

fn unicast(urls: &[String], more: &[&str]) -> FinishedRun {
    let mut all = vec!["unicast"];
    all.extend(urls.iter().map(String::as_str));
    all.extend(more);
    loadgen(&all)
}

fn on_floor(more: &[&str]) -> FinishedRun {
    let floor = RunningFloor::start();
    let outcome = unicast(&floor.words(), more);
    floor.stop();
    outcome
}

/// Five streams; each gets four events or more.
fn against(lie: Lie, more: &[&str]) -> FinishedRun {
    let mut all = vec!["--streams", "5", "--warm-up", "0", "--events", "20", "--deadline", "2"];
    all.extend(more);
    unicast(&ToyServer::start(lie).words(), &all)
}

#[test]
fn every_event_reaches_its_stream_once() {
    for more in [["--publish-connections", "1"], ["--publish-connections", "16"], ["--wait-for", "both"]] {
        let mut all = vec!["--streams", "300", "--warm-up", "0", "--events", "5000"];
        all.extend(more);
        let outcome = on_floor(&all);
        outcome.assert_clean(5_000);
        assert_eq!(outcome.number("/round/measured/events"), 5_000);
        assert_eq!(outcome.number("/round/answer_us/count"), 5_000);
    }
}

#[test]
fn streams_may_be_encrypted() {
    let server = ToyServer::start(Lie::None);
    let front = TlsFront::before(&server.address);
    let mut words = server.words();
    words[1] = format!("https://{}/sse/{{channel}}", front.address);
    let ca = front.ca();
    let more = ["--streams", "5", "--warm-up", "0", "--events", "50", "--tls-ca", ca.to_str().unwrap()];
    unicast(&words, &more).assert_clean(50);
}

#[test]
fn warm_up_is_checked_and_not_measured() {
    let outcome = on_floor(&["--streams", "50", "--warm-up", "300", "--events", "100"]);
    assert_eq!((outcome.code, outcome.faults()), (0, [0; 5]), "{}", outcome.stderr);
    assert!(outcome.number("/round/deliveries") <= 101, "{}", outcome.stdout);
}

#[test]
fn open_loop_sends_every_event_and_counts_from_when_it_was_due() {
    let outcome = on_floor(&["--streams", "20", "--warm-up", "0", "--events", "200", "--rate", "2000"]);
    assert_eq!((outcome.code, outcome.faults()), (0, [0; 5]), "{}", outcome.stderr);
    assert_eq!(outcome.number("/round/deliveries"), 200);
    assert_eq!(outcome.number("/round/unsent"), 0);
}

#[test]
fn more_than_a_server_can_take_is_told_as_unsent() {
    let more = ["--streams", "20", "--seconds", "0.3", "--warm-up", "0", "--rate", "5000000"];
    let outcome = on_floor(&more);
    assert_eq!((outcome.code, outcome.faults()), (0, [0; 5]), "{}", outcome.stderr);
    assert!(outcome.number("/round/unsent") > 0, "{}", outcome.stdout);
}

#[test]
fn servers_threads_are_told_with_their_switches() {
    let own = std::process::id().to_string();
    let outcome = on_floor(&["--streams", "20", "--events", "3000", "--server-pid", &own]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.fraction("/round/measured/server/cpu_us_per_event") > 0.0);
    let threads = outcome.json["round"]["measured"]["server"]["threads"].as_object().unwrap();
    assert!(threads.values().any(|thread| thread["voluntary"].as_u64().unwrap() > 0), "{threads:?}");
}

#[test]
fn broken_promises_are_told_as_what_they_are() {
    let told = |lie| {
        let outcome = against(lie, &[]);
        (outcome.code, outcome.faults())
    };
    assert_eq!(told(Lie::None), (0, [0; 5]));
    assert_eq!(told(Lie::Drop), (BROKEN, [5, 0, 0, 0, 0]));
    assert_eq!(told(Lie::Double), (BROKEN, [0, 5, 0, 0, 0]));
    assert_eq!(told(Lie::Swap), (BROKEN, [0, 0, 5, 0, 0]));
    assert_eq!(told(Lie::Cut), (BROKEN, [5, 0, 0, 5, 0]));
    // The third event of each of five channels reaches the four other streams too.
    assert_eq!(told(Lie::Misdirect), (BROKEN, [0, 0, 0, 0, 20]));
}

#[test]
fn lost_event_ends_the_wait_for_both() {
    let outcome = against(Lie::Drop, &["--wait-for", "both"]);
    assert_eq!(outcome.code, BROKEN, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("not every event came before the deadline"), "{}", outcome.stderr);
}

#[test]
fn refused_streams_end_the_run_with_their_reason() {
    let outcome = against(Lie::Refuse, &[]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("5 of 5 streams did not open: answered with status 503 (5)"), "{}", outcome.stderr);
}

/// A Redis of one publisher and one subscriber: each `PUBLISH` becomes a message of the pattern.
struct ToyRedis {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl ToyRedis {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut subscriber, _) = listener.accept().unwrap();
            subscriber.write_all(b"*3\r\n$10\r\npsubscribe\r\n$9\r\nfantail:*\r\n:1\r\n").unwrap();
            let (publisher, _) = listener.accept().unwrap();
            pass_on(&publisher, &mut subscriber);
        });
        Self { address, thread }
    }
}

/// Until the publisher closes.
fn pass_on(mut publisher: &TcpStream, subscriber: &mut TcpStream) {
    let mut input = BufReader::new(publisher);
    while let Some([channel, data]) = read_publish(&mut input) {
        let (name, length) = (String::from_utf8(channel).unwrap(), data.len());
        write!(subscriber, "*4\r\n$8\r\npmessage\r\n$9\r\nfantail:*\r\n${}\r\n{name}\r\n${length}\r\n", name.len())
            .unwrap();
        subscriber.write_all(&[&data[..], b"\r\n"].concat()).unwrap();
        publisher.write_all(b":1\r\n").unwrap();
    }
}

fn read_publish(input: &mut impl BufRead) -> Option<[Vec<u8>; 2]> {
    let mut head = String::new();
    for _ in 0..3 {
        if input.read_line(&mut head).unwrap() == 0 {
            return None;
        }
    }
    assert_eq!(head, "*3\r\n$7\r\nPUBLISH\r\n");
    Some([(); 2].map(|()| {
        let mut length = String::new();
        input.read_line(&mut length).unwrap();
        let mut text = vec![0; length.trim_end()[1..].parse::<usize>().unwrap() + 2];
        input.read_exact(&mut text).unwrap();
        text.truncate(text.len() - 2);
        text
    }))
}

#[test]
fn window_of_messages_goes_through_redis() {
    let redis = ToyRedis::start();
    let floor = RunningFloor::start_with(Some(redis.address));
    let mut words = floor.words();
    words[3] = format!("redis://{}/fantail:{{channel}}", redis.address);
    let more = ["--streams", "200", "--warm-up", "0", "--events", "3000", "--in-flight", "64"];
    let outcome = unicast(&words, &more);
    outcome.assert_clean(3_000);
    assert_eq!(outcome.number("/round/answer_us/count"), 0);
    redis.thread.join().unwrap();
}
