//! Clients of HTTP/2 against a shard whose sockets take as much as a test says, plain and over TLS.
//!
//! A client here reads frames, keeps its windows, and holds that no byte comes that they do not let.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fantail_telemetry::CloseReason;
use fantail_wire::{BareBlocks, Framing, SlowPolicy, feed_frame, keepalive};
use fastrand::Rng;

use super::*;
use crate::harness::Harness;
use crate::streams::{Stream, StreamState, narrow, tabs};
use crate::tls_record::opener::{ALERT, TlsOpener};
use crate::tls_record::{TlsCipher, TlsVersion};

const FORMS: [Option<(TlsVersion, TlsCipher)>; 4] = [
    None,
    Some((TlsVersion::V1_3, TlsCipher::Aes256Gcm)),
    Some((TlsVersion::V1_2, TlsCipher::Aes128Gcm)),
    Some((TlsVersion::V1_3, TlsCipher::ChaCha20Poly1305)),
];

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Keeps the requests of a connection for the test.
#[derive(Default)]
struct Kept(RefCell<Vec<Http2Stream>>);

impl Requests for Kept {
    fn decide(self: Rc<Self>, request: Http2Request) {
        self.0.borrow_mut().push(request.stream);
    }
}

/// A tab as its client sees it.
#[derive(Default)]
struct Seen {
    text: Vec<u8>,
    /// Bytes that may come in all, and the most that ever might: what was begun by an older window still comes.
    grant: i64,
    grant_max: i64,
    has_head: bool,
    has_ended: bool,
    was_reset: bool,
}

/// One connection, and all that came of it.
struct Client {
    key: ConnectionKey,
    generation: u32,
    socket: Option<TcpStream>,
    /// Opens what the server sends, and seals what it is sent.
    tls: Option<(TlsOpener, TlsSealer)>,
    wire: Vec<u8>,
    /// Bytes of text of the connection that were looked at.
    read: usize,
    tabs: BTreeMap<u32, Seen>,
    /// Bytes of text that may come in all, and that have.
    grant: i64,
    received: i64,
    initial_window: i64,
    next_id: u32,
    requests: Rc<Kept>,
}

impl Seen {
    fn widen(&mut self, by: i64) {
        self.grant += by;
        self.grant_max = self.grant_max.max(self.grant);
    }
}

impl Client {
    fn open(harness: &mut Harness, form: Option<(TlsVersion, TlsCipher)>, rng: &mut Rng) -> Self {
        let halves = form.map(|(version, cipher)| {
            let key: Vec<u8> = (0..32).map(|_| rng.u8(..)).collect();
            let key = if cipher == TlsCipher::Aes128Gcm { &key[..16] } else { &key };
            let sealer = TlsSealer::new(version, cipher, key, *b"of a client!", 0).expect("a key");
            let unsealer = TlsUnsealer::new(version, cipher, key, *b"of a client!", 0).expect("a key");
            (TlsOpener::new(version, cipher, rng), sealer, unsealer)
        });
        let (tls, sealed) = halves.map_or((None, None), |(opener, sealer, unsealer)| {
            let sealed = (opener.sealer(), unsealer);
            (Some((opener, sealer)), Some(sealed))
        });
        let requests = Rc::<Kept>::default();
        let (key, socket) = harness.open_connection(sealed, Rc::clone(&requests) as _);
        socket.set_nonblocking(true).expect("a socket can be");
        let generation = harness.engine.streams.outlets.connections.slab[key].generation;
        let mut client = Self {
            key,
            generation,
            socket: Some(socket),
            tls,
            wire: Vec::new(),
            read: 0,
            tabs: BTreeMap::new(),
            grant: 65_535,
            received: 0,
            initial_window: 65_535,
            next_id: 1,
            requests,
        };
        client.send(harness, &[&fantail_http2::PREFACE[..], &SETTINGS].concat());
        client
    }

    fn is_open(&self, harness: &Harness) -> bool {
        harness.engine.streams.outlets.connections.is_connection(self.key, self.generation)
    }

    /// Sends frames, which the shard reads at once.
    fn send(&mut self, harness: &mut Harness, frames: &[u8]) {
        let Some(socket) = &mut self.socket else { return };
        let bytes = self.tls.as_mut().map_or(Bytes::copy_from_slice(frames), |(_, sealer)| sealer.seal(frames));
        // The shard may have closed it by then.
        let _ = socket.write_all(&bytes);
        if self.is_open(harness) {
            tabs::read(&mut harness.engine.streams, self.key);
        }
    }

    fn open_tab(&mut self, harness: &mut Harness, channels: &[&str]) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        let head = [&[0, 0, 6, 1, 5][..], &id.to_be_bytes(), &[0x82, 0x87, 0x84, 0x41, 1, b'a']].concat();
        self.tabs.insert(id, Seen { grant: self.initial_window, grant_max: self.initial_window, ..Seen::default() });
        self.send(harness, &head);
        for (requests, request) in harness.engine.streams.outlets.connections.take_asked() {
            requests.decide(request);
        }
        let asked = self.requests.0.take();
        for tab in asked {
            harness.open_tab(tab, channels);
        }
        id
    }

    fn widen(&mut self, harness: &mut Harness, id: u32, by: u32) {
        match self.tabs.get_mut(&id) {
            Some(tab) => tab.widen(by.into()),
            None => self.grant += i64::from(by),
        }
        self.send(harness, &[&[0, 0, 4, 8, 0][..], &id.to_be_bytes(), &by.to_be_bytes()].concat());
    }

    fn set_initial_window(&mut self, harness: &mut Harness, window: u32) {
        let more = i64::from(window) - self.initial_window;
        self.initial_window += more;
        self.tabs.values_mut().for_each(|tab| tab.widen(more));
        self.send(harness, &[&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4][..], &window.to_be_bytes()].concat());
    }

    fn reset(&mut self, harness: &mut Harness, id: u32) {
        self.send(harness, &[&[0, 0, 4, 3, 0][..], &id.to_be_bytes(), &[0, 0, 0, 8]].concat());
    }

    /// The owners of its tabs, in the order of their numbers.
    fn keys(&self, harness: &Harness) -> Vec<Key> {
        if self.is_open(harness) {
            harness.engine.streams.outlets.connections.tabs(self.key).collect()
        } else {
            Vec::new()
        }
    }

    /// The socket takes bytes again, as the poll would tell.
    fn unblock(&self, harness: &mut Harness) {
        if self.is_open(harness) {
            tabs::unblock(&mut harness.engine.streams, self.key);
        }
    }

    fn read(&mut self, _: &Harness) {
        let Some(socket) = &mut self.socket else { return };
        // It ends where nothing is left, or with the connection; both are as good.
        let _ = socket.read_to_end(&mut self.wire);
        self.look_at_frames();
    }

    fn look_at_frames(&mut self) {
        let text: Vec<u8> = match &self.tls {
            None => self.wire.clone(),
            Some((opener, _)) => {
                let records = opener.open(&self.wire).into_iter();
                records.filter(|(content, _)| *content != ALERT).flat_map(|(_, text)| text).collect()
            }
        };
        let mut left = &text[self.read..];
        while let Some(head) = left.first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((frame, rest)) = left.split_at_checked(9 + length) else { break };
            self.take_frame(head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), &frame[9..]);
            (self.read, left) = (self.read + frame.len(), rest);
        }
    }

    fn take_frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let tab = self.tabs.get_mut(&id);
        match (kind, tab) {
            (0, Some(tab)) => {
                assert!(tab.has_head && !tab.has_ended && !tab.was_reset, "text for stream {id}, which is over");
                tab.text.extend_from_slice(payload);
                self.received += i64::try_from(payload.len()).expect("a frame is short");
                assert!(self.received <= self.grant, "more than the connection's window lets");
                assert!(
                    i64::try_from(tab.text.len()).is_ok_and(|bytes| bytes <= tab.grant_max),
                    "more than the window lets"
                );
                tab.has_ended = flags & 1 != 0;
            }
            (1, Some(tab)) => assert!(!std::mem::replace(&mut tab.has_head, true), "a second head"),
            (3, Some(tab)) => tab.was_reset = true,
            (4 | 6 | 7, None) => {}
            (kind, tab) => panic!("a frame {kind} of stream {id}, {}", tab.is_some()),
        }
    }

    fn text(&self, id: u32) -> String {
        String::from_utf8(self.tabs[&id].text.clone()).expect("text")
    }
}

fn keep_alive(harness: &mut Harness, key: Key) {
    let streams = &mut harness.engine.streams;
    if streams.get(key).is_some_and(Stream::is_between_frames) {
        streams.write_between(key, &Bytes::from_static(keepalive(Framing::CloseDelimited, BareBlocks::Closed)));
    }
}

/// Bytes that a connection keeps: the rest of what was begun, and control frames.
fn kept(harness: &Harness, key: ConnectionKey) -> (usize, usize) {
    let unsent = harness.engine.streams.outlets.connections.slab[key].unsent.as_ref();
    unsent.map_or((0, 0), |unsent| (unsent.rest.len(), unsent.control.len()))
}

/// The text that is the same in each life: the time to come back is drawn, ids go up, and no comment is due in the middle of a frame.
fn without_chance(text: &str) -> Vec<String> {
    let text = text.replace("\n:\n\n", "\n");
    let drawn = |line: &&str| line.starts_with("retry: ") || line.starts_with("id: ");
    text.lines().filter(|line| !drawn(line)).map(str::to_owned).collect()
}

/// 1. Three tabs follow a channel, and an event of it is one write for all of them.
/// 2. The socket takes so many bytes of all that the connection is sent in its life, and then is full once: each byte is cut at once, in heads,
///    in the three frames of an event, in a comment, and in the last words.
/// 3. Each tab has the same text as without a cut, and meanwhile no more was kept than one begun frame or record.
#[test]
fn tabs_of_a_connection_that_is_cut_behind_any_byte_read_as_those_of_one_that_is_not() {
    let mut rng = Rng::with_seed(1);
    for form in FORMS {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
        let (whole, length) = a_life(&mut harness, form, usize::MAX, &mut rng);
        for text in &whole {
            assert!(
                text.contains(&"data: second".to_owned()) && text.iter().any(|line| line.contains("kicked")),
                "{text:?}"
            );
        }
        assert!(length > 700, "{length}");
        for cut in 0..length {
            let (texts, _) = a_life(&mut harness, form, cut, &mut rng);
            assert_eq!(texts, whole, "cut behind byte {cut} of {form:?}");
        }
    }
}

/// The text of each tab, and the bytes on the wire.
fn a_life(
    harness: &mut Harness,
    form: Option<(TlsVersion, TlsCipher)>,
    cut: usize,
    rng: &mut Rng,
) -> (Vec<Vec<String>>, usize) {
    let left = Rc::new(Cell::new(Some(cut)));
    narrow::make(move |length| {
        let taken = left.get().map_or(length, |left| left.min(length));
        left.set(left.get().filter(|_| taken > 0).map(|left| left - taken));
        taken
    });
    let mut client = Client::open(harness, form, rng);
    let ids = [(); 3].map(|()| client.open_tab(harness, &["a"]));
    let go_on = |harness: &mut Harness, client: &Client| {
        // Twice: a write that was cut may be full once more when it goes on.
        for _ in 0..2 {
            harness.settle();
            client.unblock(harness);
        }
        harness.settle();
    };
    go_on(harness, &client);
    for data in ["first", "second"] {
        harness.publish(&["a"], data);
        harness.settle();
        let (rest, _) = kept(harness, client.key);
        // A frame of 60 bytes and its head; a record of three of them, with what seals it.
        assert!(rest <= if form.is_none() { 80 } else { 300 }, "{rest} bytes are kept");
        for key in client.keys(harness) {
            keep_alive(harness, key);
        }
        go_on(harness, &client);
    }
    for key in client.keys(harness) {
        harness.engine.streams.end(key, CloseReason::Kicked);
    }
    go_on(harness, &client);
    client.read(harness);
    assert!(client.tabs.values().all(|tab| tab.has_ended && !tab.was_reset), "cut behind byte {cut}");
    assert_eq!(kept(harness, client.key), (0, 0));
    let texts = ids.map(|id| without_chance(&client.text(id))).into();
    let length = client.wire.len();
    client.socket = None;
    tabs::read(&mut harness.engine.streams, client.key);
    harness.settle();
    assert!(!client.is_open(harness));
    (texts, length)
}

/// One pass, one write.
#[test]
fn a_hundred_tabs_of_a_connection_get_an_event_with_one_write() {
    narrow::make(|length| length);
    let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
    let mut client = Client::open(&mut harness, None, &mut Rng::with_seed(1));
    let ids: Vec<u32> = (0..100).map(|_| client.open_tab(&mut harness, &["a"])).collect();
    harness.settle();
    let writes = |harness: &Harness| harness.engine.streams.counters().write_calls.get();
    let before = writes(&harness);
    harness.publish(&["a"], "for all");
    harness.settle();
    assert_eq!(writes(&harness) - before, 1);
    client.read(&harness);
    assert!(ids.iter().all(|id| client.text(*id).ends_with("data: for all\n\n")));
}

/// 1. Of ten tabs one has room for its opening and the beginning of an event, and the others for all that comes.
/// 2. Far more events come than their log keeps. The others get all of them, and it keeps its cursor and the rest of one event.
/// 3. Its window opens: its slow policy is applied to it. Meanwhile and behind that the others and the connection stay.
#[test]
fn a_tab_whose_window_is_shut_stalls_no_other_and_is_judged_by_its_policy_alone() {
    narrow::make(|length| length);
    for (policy, ends) in
        [(SlowPolicy::Disconnect, "overrun"), (SlowPolicy::Skip, "skipped"), (SlowPolicy::Latest, "skipped")]
    {
        let mut harness = Harness::new(policy, 5);
        let mut client = Client::open(&mut harness, FORMS[1], &mut Rng::with_seed(1));
        client.set_initial_window(&mut harness, 80);
        let stuck = client.open_tab(&mut harness, &["a"]);
        let others: Vec<u32> = (0..9).map(|_| client.open_tab(&mut harness, &["a"])).collect();
        for id in [0].iter().chain(&others) {
            client.widen(&mut harness, *id, 1_000_000);
        }
        harness.settle();
        for number in 0..50 {
            harness.publish(&["a"], &format!("a {number} {}", "x".repeat(100)));
            harness.settle();
        }
        let key = client.keys(&harness)[0];
        assert_eq!(harness.engine.streams.state(key), Some(StreamState::Blocked));
        assert!(harness.engine.streams.get(key).is_some_and(|stream| stream.unsent_bytes() < 200));
        client.read(&harness);
        assert_eq!(client.tabs[&stuck].text.len(), 80);
        for id in &others {
            assert_eq!(client.text(*id).matches("data: a ").count(), 50);
        }
        // A window that opens for others does not begin its deadline anew.
        let waiting_since = harness.engine.streams.get(key).map(Stream::written);
        while Some(harness.engine.streams.clock.now()) == waiting_since {
            harness.engine.streams.clock.begin_turn();
        }
        client.widen(&mut harness, 0, 1_000);
        harness.settle();
        assert_eq!(harness.engine.streams.get(key).map(Stream::written), waiting_since);
        client.widen(&mut harness, stuck, 10_000);
        harness.settle();
        harness.publish(&["a"], "a 50 x");
        harness.settle();
        client.read(&harness);
        let text = client.text(stuck);
        assert!(text.contains(ends), "{policy:?}: {text}");
        assert_eq!(client.tabs[&stuck].has_ended, policy == SlowPolicy::Disconnect);
        assert!(others.iter().all(|id| client.text(*id).ends_with("data: a 50 x\n\n")));
        assert_eq!(client.keys(&harness).len(), if policy == SlowPolicy::Disconnect { 9 } else { 10 });
    }
}

/// 1. A connection's socket is full in the middle of an event, and that of another is not.
/// 2. The bytes that the first keeps count as unsent.
/// 3. Memory is short: the first has taken nothing for a while, and ends with its tabs. The other stays.
#[test]
fn a_connection_that_takes_nothing_counts_as_unsent_and_ends_when_memory_is_short() {
    let mut harness = Harness::new(SlowPolicy::Skip, 100);
    let mut blocked = Client::open(&mut harness, FORMS[1], &mut Rng::with_seed(1));
    blocked.open_tab(&mut harness, &["a"]);
    let mut other = Client::open(&mut harness, FORMS[1], &mut Rng::with_seed(2));
    let id = other.open_tab(&mut harness, &["b"]);
    harness.settle();
    narrow::make(|length| length.min(10));
    harness.publish(&["a"], "x");
    harness.settle();
    narrow::make(|length| length);
    let kept = harness.engine.streams.outlets.connections.slab[blocked.key].unsent_bytes() as u64;
    assert!(kept > 0);
    let began = Instant::now();
    while harness.engine.streams.counters().unsent_bytes.get() != kept {
        assert!(began.elapsed() < Duration::from_secs(30), "{kept} bytes are never counted");
        harness.engine.tick();
        harness.settle();
    }
    let a_while = Duration::from_millis(5);
    let since = harness.engine.streams.clock.now();
    while harness.engine.streams.clock.now().since(since) < a_while {
        harness.engine.streams.clock.begin_turn();
    }
    for key in [blocked.key, other.key] {
        tabs::end_if_blocked(&mut harness.engine.streams, key, a_while);
    }
    harness.settle();
    assert!(!blocked.is_open(&harness));
    harness.publish(&["b"], "still here");
    harness.settle();
    other.read(&harness);
    assert!(other.text(id).ends_with("data: still here\n\n"));
}

/// Everything at random, for each policy, over some hundred connections with many tabs, beside streams with sockets of their own.
#[test]
fn tabs_get_their_events_in_order_and_once_in_a_storm_of_cuts_windows_kicks_and_resets() {
    for (seed, policy) in [SlowPolicy::Disconnect, SlowPolicy::Skip, SlowPolicy::Latest].into_iter().enumerate() {
        let clients = storm(policy, seed as u64);
        let tabs = || clients.iter().flat_map(|client| client.tabs.values());
        let (ended, reset) = (tabs().filter(|tab| tab.has_ended).count(), tabs().filter(|tab| tab.was_reset).count());
        let bytes: usize = tabs().map(|tab| tab.text.len()).sum();
        println!(
            "{policy:?}: {} connections, {} tabs, {ended} ended, {reset} reset, {bytes} bytes",
            clients.len(),
            tabs().count()
        );
        for tab in tabs() {
            assert_in_order(&String::from_utf8_lossy(&tab.text));
        }
        assert!(clients.len() > 50 && ended > 30 && reset > 10 && bytes > 1_000_000, "hardly anything was tried");
    }
}

/// Events of a channel come in order, each once, and each but the last is whole.
fn assert_in_order(text: &str) {
    for channel in ["a ", "b "] {
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: ")?.strip_prefix(channel));
        let numbers: Vec<u64> = lines.filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        let whole = &numbers[..numbers.len().saturating_sub(1)];
        assert!(whole.is_sorted_by(|before, after| before < after), "{numbers:?}");
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let filling = line.split(' ').nth(2).unwrap_or_default();
        assert!(filling.bytes().all(|byte| byte == b'x') || line.starts_with('{'), "{line}");
    }
}

fn storm(policy: SlowPolicy, seed: u64) -> Vec<Client> {
    let mut rng = Rng::with_seed(seed);
    let mut cuts = rng.fork();
    narrow::make(move |length| match cuts.u8(..100) {
        0..15 => 0,
        15..35 => cuts.usize(1..64).min(length),
        35..50 => cuts.usize(1..=length),
        _ => length,
    });
    let mut harness = Harness::new(policy, 12);
    let (mut clients, mut gone, mut plain) = (Vec::<Client>::new(), Vec::new(), Vec::new());
    for step in 0..6_000 {
        if clients.len() < 6 {
            let form = FORMS[rng.usize(..FORMS.len())];
            clients.push(Client::open(&mut harness, form, &mut rng));
        }
        let at = rng.usize(..clients.len());
        disturb(&mut harness, &mut clients[at], step, &mut rng);
        match rng.u8(..100) {
            0..30 => clients.iter().for_each(|client| client.unblock(&mut harness)),
            30..34 => plain.push(harness.open(&["a"])),
            34..36 if !plain.is_empty() => drop(plain.swap_remove(rng.usize(..plain.len()))),
            36 => harness.engine.announcement.begin(feed_frame(step % 2 == 0)),
            _ => drop(harness.engine.turn()),
        }
        for mut client in clients.extract_if(.., |client| client.socket.is_none() || !client.is_open(&harness)) {
            client.read(&harness);
            gone.push(client);
        }
    }
    for client in &mut clients {
        client.read(&harness);
    }
    gone.extend(clients);
    gone
}

fn disturb(harness: &mut Harness, client: &mut Client, step: u64, rng: &mut Rng) {
    let ids: Vec<u32> = client.tabs.keys().copied().collect();
    let id = ids.get(rng.usize(..=ids.len())).copied().unwrap_or(0);
    let keys = client.keys(harness);
    match rng.u8(..100) {
        0..25 => {
            let channel = ["a", "b"][rng.usize(..2)];
            let size = [10, 200, 5_000, 40_000][rng.usize(..4)];
            harness.publish(&[channel], &format!("{channel} {step} {}", "x".repeat(rng.usize(..size))));
        }
        25..40 => drop(client.open_tab(harness, [&["a"][..], &["b"], &["a", "b"]][rng.usize(..3)])),
        40..55 => client.read(harness),
        55..72 => client.widen(harness, id, rng.u32(1..20_000)),
        72..78 => client.set_initial_window(harness, [0, 1, 333, 65_535, 100_000][rng.usize(..5)]),
        78..82 if id != 0 => client.reset(harness, id),
        82..87 if !keys.is_empty() => keep_alive(harness, keys[rng.usize(..keys.len())]),
        87..91 if !keys.is_empty() => harness.engine.streams.end(keys[rng.usize(..keys.len())], CloseReason::Kicked),
        91..92 if !keys.is_empty() => {
            let key = keys[rng.usize(..keys.len())];
            if harness.engine.streams.state(key) == Some(StreamState::Blocked) {
                harness.engine.streams.reset(key, CloseReason::Stalled);
            }
        }
        92..94 => {
            client.read(harness);
            client.socket = None;
            if client.is_open(harness) {
                tabs::read(&mut harness.engine.streams, client.key);
            }
        }
        _ => {}
    }
}
