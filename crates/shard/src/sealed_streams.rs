//! Sealed streams under every disturbance: each number of a record serves once, whatever a socket takes of a write.
//!
//! The clients know the keys. They find the number of each record on the wire, and open all that was ever on it as numbered
//! without a gap. Example: half of record 8 went out, and a second text was sealed as record 8. Its bytes stand behind the
//! first one, so the wire tells 8 twice, and 9 does not open them.

use std::cell::Cell;
use std::collections::HashSet;
use std::io::Read;
use std::net::TcpStream;
use std::rc::Rc;

use bytes::Bytes;
use fantail_telemetry::CloseReason;
use fantail_wire::{BareBlocks, Framing, SlowPolicy, feed_frame, keepalive};
use fastrand::Rng;

use crate::harness::Harness;
use crate::streams::{Key, Sealer, Stream, StreamState, narrow};
use crate::tls_record::opener::{ALERT, TlsOpener, ends_within_a_record};
use crate::tls_record::{TlsCipher, TlsVersion};

const FORMS: [(TlsVersion, TlsCipher); 4] = [
    (TlsVersion::V1_3, TlsCipher::Aes256Gcm),
    (TlsVersion::V1_3, TlsCipher::ChaCha20Poly1305),
    (TlsVersion::V1_2, TlsCipher::Aes128Gcm),
    (TlsVersion::V1_2, TlsCipher::ChaCha20Poly1305),
];

/// One stream, and all that came of it.
struct Reader {
    key: Key,
    generation: u32,
    /// None once the client has gone away.
    socket: Option<TcpStream>,
    opener: TlsOpener,
    /// All that was ever on its wire.
    wire: Vec<u8>,
}

impl Reader {
    fn open(harness: &mut Harness, channels: &[&str], rng: &mut Rng) -> Self {
        let (version, cipher) = FORMS[rng.usize(..FORMS.len())];
        Self::open_for(harness, channels, TlsOpener::new(version, cipher, rng))
    }

    fn open_for(harness: &mut Harness, channels: &[&str], opener: TlsOpener) -> Self {
        let (key, socket) = harness.open_as(channels, None, Some(Sealer::Dissolved(opener.sealer())));
        socket.set_nonblocking(true).expect("a socket can be");
        let generation = harness.engine.streams.get(key).map_or(0, Stream::generation);
        Self { key, generation, socket: Some(socket), opener, wire: Vec::new() }
    }

    fn is_open(&self, harness: &Harness) -> bool {
        harness.engine.streams.is_stream(self.key, self.generation)
    }

    fn read(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        // It ends where nothing is left, or with the connection; both are as good.
        let _ = socket.read_to_end(&mut self.wire);
    }

    fn leave(&mut self) {
        self.read();
        self.socket = None;
    }

    /// The text of its whole records, and whether a `close_notify` was the last.
    fn opened(&self) -> (String, bool) {
        let records = self.opener.open(&self.wire);
        let is_closed = records.last().is_some_and(|(content, _)| *content == ALERT);
        let text = records.into_iter().filter(|(content, _)| *content != ALERT).flat_map(|(_, text)| text).collect();
        (String::from_utf8(text).expect("text"), is_closed)
    }
}

/// Goes on with all streams as if the poll had told that their sockets take bytes.
fn unblock(harness: &mut Harness, key: Key) {
    if harness.engine.streams.state(key) == Some(StreamState::Blocked) {
        harness.engine.streams.fall_behind(key);
    }
}

fn keep_alive(harness: &mut Harness, key: Key) {
    let streams = &mut harness.engine.streams;
    if streams.get(key).is_some_and(Stream::is_between_frames) {
        streams.write_between(key, &Bytes::from_static(keepalive(Framing::CloseDelimited, BareBlocks::Closed)));
    }
}

/// A socket takes so many bytes, and then is full once. Of everything that a stream is sent in its life each byte is cut at
/// once: its head, an event of a pass and one of catching up, a comment, and its last words.
#[test]
fn a_stream_that_is_cut_behind_any_byte_reads_as_one_that_is_not() {
    let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
    let mut rng = Rng::with_seed(1);
    for channels in [&["a"][..], &["a", "b"]] {
        let (whole, length) = a_life(&mut harness, channels, usize::MAX, &mut rng);
        assert!(length > 350 && whole.contains("data: second") && whole.contains("kicked"), "{length}: {whole}");
        for cut in 0..length {
            let (text, _) = a_life(&mut harness, channels, cut, &mut rng);
            assert_eq!(without_chance(&text), without_chance(&whole), "cut behind byte {cut}");
        }
    }
}

/// The text of a stream, and the bytes on its wire.
fn a_life(harness: &mut Harness, channels: &[&str], cut: usize, rng: &mut Rng) -> (String, usize) {
    let left = Rc::new(Cell::new(Some(cut)));
    narrow::make(move |length| {
        let taken = left.get().map_or(length, |left| left.min(length));
        left.set(left.get().filter(|_| taken > 0).map(|left| left - taken));
        taken
    });
    let mut reader = Reader::open(harness, channels, rng);
    harness.settle();
    unblock(harness, reader.key);
    harness.settle();
    for data in ["first", "second"] {
        harness.publish(&["a"], data);
        harness.settle();
        keep_alive(harness, reader.key);
        unblock(harness, reader.key);
        harness.settle();
    }
    harness.engine.streams.end(reader.key, CloseReason::Kicked);
    harness.settle();
    unblock(harness, reader.key);
    harness.settle();
    reader.leave();
    let (text, is_closed) = reader.opened();
    assert!(is_closed, "cut behind byte {cut}: there is no close_notify behind {text}");
    harness.engine.streams.close_at_its_end(reader.key);
    (text, reader.wire.len())
}

/// The text that is the same in each life: the time to come back is drawn, ids go up, and no comment is due in the middle of
/// a frame.
fn without_chance(text: &str) -> Vec<String> {
    let text = text.replace("\n:\n\n", "\n");
    let drawn = |line: &&str| line.starts_with("retry: ") || line.starts_with("id: ");
    text.lines().filter(|line| !drawn(line)).map(str::to_owned).collect()
}

/// Its socket takes ten bytes of a batch of 30 frames. The rest of the first one is kept for it, sealed, and no byte of those
/// behind it or of those that come later. Only its last words join it.
#[test]
fn a_stopped_stream_keeps_the_rest_of_one_begun_frame_and_its_last_words() {
    let mut rng = Rng::with_seed(1);
    for size in [100, 20_000, 256_000] {
        narrow::make(|length| length);
        let mut harness = Harness::new(SlowPolicy::Disconnect, 1_000);
        let reader = Reader::open(&mut harness, &["a"], &mut rng);
        harness.settle();
        let left = Cell::new(10);
        narrow::make(move |length| left.replace(0).min(length));
        let data = "x".repeat(size);
        let unsent = |harness: &Harness| harness.engine.streams.get(reader.key).map_or(0, Stream::unsent_bytes);
        // Its name, id and line ends, and 30 bytes for each of its records.
        let frame = size + 60 + 30 * (1 + size.div_ceil(1 << 14));
        for _ in 0..4 {
            (0..30).for_each(|_| harness.publish(&["a"], &data));
            harness.settle();
            assert!((size..frame).contains(&unsent(&harness)), "{} for a frame of {frame}", unsent(&harness));
            unblock(&mut harness, reader.key);
            harness.settle();
        }
        harness.engine.streams.end(reader.key, CloseReason::Kicked);
        assert!(unsent(&harness) < frame + 200, "{} for a frame of {frame} and its last words", unsent(&harness));
    }
}

/// A key may seal so many records (RFC 8446, 5.5, with room for the time between two sweeps).
const KEY_RECORDS: u64 = (1 << 24) - (1 << 18);

/// The bound of AES-GCM stands for all ciphers, and the sweep looks for it. With one record less the stream stays open.
#[test]
fn a_stream_ends_in_order_at_the_sweep_that_finds_its_key_worn_out_and_at_none_before() {
    narrow::make(|length| length);
    for form in FORMS {
        let (_, sent) = swept(form, 0);
        let sent = sent.len() as u64;
        let (reader, numbers) = swept(form, KEY_RECORDS - sent - 1);
        assert_eq!(numbers.last(), Some(&(KEY_RECORDS - 2)));
        assert!(!reader.opened().0.contains("fantail.close"), "{form:?}: it ends too early");

        let (reader, numbers) = swept(form, KEY_RECORDS - sent);
        let (text, is_closed) = reader.opened();
        assert!(
            text.contains("data: a 2\n\nevent: fantail.close\ndata: {\"reason\":\"lifetime\"}"),
            "{form:?}: {text}"
        );
        assert!(is_closed, "{form:?}: there is no close_notify");
        // The last words and the alert come behind the bound, and nothing else does.
        assert_eq!(numbers.last(), Some(&(KEY_RECORDS + 1)), "{form:?}");
    }
}

/// A stream that begins with this number, gets three events and is swept once; with the numbers of its records.
fn swept((version, cipher): (TlsVersion, TlsCipher), first: u64) -> (Reader, Vec<u64>) {
    let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
    let opener = TlsOpener::new(version, cipher, &mut Rng::with_seed(1)).beginning_at(first);
    let mut reader = Reader::open_for(&mut harness, &["a"], opener);
    harness.settle();
    (0..3).for_each(|number| harness.publish(&["a"], &format!("a {number}")));
    harness.settle();
    // A shard's first tick is long enough for its first slot.
    harness.engine.tick();
    harness.settle();
    reader.leave();
    let numbers = reader.opener.numbers(&reader.wire);
    (reader, numbers)
}

/// Everything at random, for each policy, over some 500 streams in slots that are taken again and again.
#[test]
fn no_number_of_a_record_serves_twice_in_a_storm_of_cuts_kicks_and_catching_up() {
    for (seed, policy) in [SlowPolicy::Disconnect, SlowPolicy::Skip, SlowPolicy::Latest].into_iter().enumerate() {
        let readers = storm(policy, seed as u64);
        let mut used = HashSet::new();
        let (mut records, mut cut, mut closed) = (0, 0, 0);
        for reader in &readers {
            let numbers = reader.opener.numbers(&reader.wire);
            records += numbers.len();
            for number in numbers {
                assert!(used.insert((reader.opener.key(), number)), "{policy:?}: {number} served twice");
            }
            let (text, is_closed) = reader.opened();
            assert_in_order_and_whole(&text, is_closed);
            closed += usize::from(is_closed);
            cut += usize::from(ends_within_a_record(&reader.wire));
        }
        println!("{policy:?}: {} streams, {records} records, {cut} ended within one, {closed} closed", readers.len());
        assert!(readers.len() > 150 && records > 5_000 && cut > 10 && closed > 50, "hardly anything was tried");
    }
}

/// Events of a channel come in order, each once, and each is as long as it says. Only behind the last whole block of a stream
/// that did not end in order may a part of one stand.
fn assert_in_order_and_whole(text: &str, is_closed: bool) {
    let (blocks, begun) = text.rsplit_once("\n\n").unwrap_or(("", text));
    assert!(begun.is_empty() || !is_closed, "the end of a stream stands behind a part of a block: {begun}");
    for channel in ["a ", "b "] {
        let events = blocks.lines().filter_map(|line| line.strip_prefix("data: ")?.strip_prefix(channel));
        let number_of = |event: &str| {
            let (number, rest) = event.split_once(' ').expect("a number");
            let (length, filling) = rest.split_once(' ').expect("a length");
            assert_eq!(length.parse(), Ok(filling.len()), "event {number} of {channel} is not whole");
            number.parse().expect("a number")
        };
        let numbers: Vec<u64> = events.map(number_of).collect();
        assert!(numbers.is_sorted_by(|before, after| before < after), "{numbers:?}");
    }
}

fn storm(policy: SlowPolicy, seed: u64) -> Vec<Reader> {
    let mut rng = Rng::with_seed(seed);
    let mut cuts = rng.fork();
    narrow::make(move |length| match cuts.u8(..100) {
        0..20 => 0,
        20..45 => cuts.usize(1..64).min(length),
        45..65 => cuts.usize(1..=length),
        _ => length,
    });
    let mut harness = Harness::new(policy, 12);
    let (mut readers, mut gone) = (Vec::<Reader>::new(), Vec::new());
    for step in 0..6_000 {
        disturb(&mut harness, &mut readers, step, &mut rng);
        for mut reader in readers.extract_if(.., |reader| reader.socket.is_none() || !reader.is_open(&harness)) {
            reader.leave();
            gone.push(reader);
        }
    }
    readers.iter_mut().for_each(Reader::leave);
    gone.extend(readers);
    gone
}

fn disturb(harness: &mut Harness, readers: &mut Vec<Reader>, step: u64, rng: &mut Rng) {
    if readers.len() < 20 {
        let channels = [&["a"][..], &["b"], &["a", "b"]][rng.usize(..3)];
        readers.push(Reader::open(harness, channels, rng));
    }
    let at = rng.usize(..readers.len());
    let reader = &mut readers[at];
    let is_open = reader.is_open(harness);
    match rng.u8(..100) {
        0..20 => {
            let channel = ["a", "b"][rng.usize(..2)];
            let size = [10, 200, 5_000, 40_000][rng.usize(..4)];
            let length = rng.usize(..size);
            harness.publish(&[channel], &format!("{channel} {step} {length} {}", "x".repeat(length)));
        }
        20..55 => drop(harness.engine.turn()),
        55..75 => readers.iter().for_each(|reader| unblock(harness, reader.key)),
        75..85 => reader.read(),
        85..92 if is_open => keep_alive(harness, reader.key),
        92..95 if is_open => harness.engine.streams.end(reader.key, CloseReason::Kicked),
        95..96 => harness.engine.announcement.begin(feed_frame(step.is_multiple_of(2))),
        96..98 => reader.leave(),
        98.. if is_open && harness.engine.streams.state(reader.key) == Some(StreamState::Ending) => {
            harness.engine.streams.close_at_its_end(reader.key);
        }
        _ => {}
    }
}
