//! A client that knows frames alone, against one connection.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::frame::{HEAD_BYTES, SETTING_INITIAL_WINDOW};

const BOUNDS: Bounds = Bounds { streams_max: 10, head_bytes_max: 4_096, fields_max: 64 };

/// A frame of the server's: type, flags, stream, payload.
type Sent = (Kind, u8, u32, Vec<u8>);

struct Client {
    connection: Connection,
    control: Vec<u8>,
}

impl Client {
    /// It has sent its preface and its settings.
    fn connected() -> Self {
        let mut client = Self::silent();
        client.send(PREFACE).expect("a preface");
        client.send(&frame(4, 0, 0, &[])).expect("settings");
        client.send(&frame(4, 1, 0, &[])).expect("an acknowledgment");
        client.sent();
        client
    }

    fn silent() -> Self {
        let mut control = Vec::new();
        Self { connection: Connection::begin(&BOUNDS, &mut control), control }
    }

    /// All that the bytes mean.
    fn send(&mut self, mut bytes: &[u8]) -> Result<Vec<Incoming>, Fault> {
        let mut all = Vec::new();
        while let Some(incoming) = self.connection.receive(&mut bytes, &BOUNDS, &mut self.control)? {
            all.push(incoming);
        }
        assert!(bytes.is_empty());
        Ok(all)
    }

    fn code(&mut self, bytes: &[u8]) -> Option<ErrorCode> {
        self.send(bytes).err().map(|fault| fault.code)
    }

    /// The frames that have been sent since the last look.
    fn sent(&mut self) -> Vec<Sent> {
        frames(&std::mem::take(&mut self.control))
    }

    /// Opens a stream whose owner has the same number.
    fn open(&mut self, stream: u32) {
        let incoming = self.send(&get(stream)).expect("a request");
        assert!(matches!(incoming[..], [Incoming::Request { .. }]), "{incoming:?}");
        assert!(self.connection.give(stream, stream));
    }

    /// The code of the one `RST_STREAM` that was sent.
    fn reset_code(&mut self) -> Option<u32> {
        let resets: Vec<_> = self.sent().into_iter().filter(|(kind, ..)| *kind == Kind::ResetStream).collect();
        let [(_, _, _, code)] = &resets[..] else { return None };
        code.first_chunk().map(|code| u32::from_be_bytes(*code))
    }

    fn text_sent(&mut self, stream: u32) -> Vec<u8> {
        let sent = self.sent().into_iter();
        sent.filter(|(kind, _, of, _)| *kind == Kind::Data && *of == stream).flat_map(|(.., text)| text).collect()
    }
}

fn frames(mut bytes: &[u8]) -> Vec<Sent> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let head = FrameHead::read(head);
        let (payload, rest) = rest.split_at(head.length as usize);
        frames.push((head.kind, head.flags, head.stream, payload.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    frames
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

const GET: [u8; 6] = [0x82, 0x87, 0x84, 0x41, 0x01, b'a'];
const POST: [u8; 6] = [0x83, 0x87, 0x84, 0x41, 0x01, b'a'];

fn get(stream: u32) -> Vec<u8> {
    frame(1, 0x5, stream, &GET)
}

fn post(stream: u32, length: Option<&str>) -> Vec<u8> {
    let mut block = POST.to_vec();
    if let Some(length) = length {
        block.extend_from_slice(&[0x0f, 0x0d, length.len() as u8]);
        block.extend_from_slice(length.as_bytes());
    }
    frame(1, 0x4, stream, &block)
}

fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(8, 0, stream, &more.to_be_bytes())
}

fn initial_window(window: u32) -> Vec<u8> {
    frame(4, 0, 0, &[&SETTING_INITIAL_WINDOW.to_be_bytes()[..], &window.to_be_bytes()].concat())
}

#[test]
fn a_connection_is_greeted_with_settings_that_leave_its_decoder_without_state() {
    let mut client = Client::silent();
    let [(Kind::Settings, 0, 0, settings)] = &client.sent()[..] else { panic!("settings alone") };
    assert_eq!(settings[..12], [0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 10]);
    assert!(client.connection.is_owed());
    client.send(PREFACE).expect("a preface");
    client.send(&frame(4, 0, 0, &[])).expect("settings");
    assert_eq!(client.sent(), [(Kind::Settings, ACK, 0, Vec::new())]);
    assert!(client.connection.is_owed(), "it has not acknowledged our settings");
    client.send(&frame(4, 1, 0, &[])).expect("an acknowledgment");
    assert!(!client.connection.is_owed());
}

#[test]
fn a_request_comes_out_whole_wherever_its_bytes_are_cut() {
    let request = [&frame(1, 0x1, 1, &GET[..2])[..], &frame(9, 0, 1, &[]), &frame(9, 0x4, 1, &GET[2..])].concat();
    let bytes = [&PREFACE[..], &frame(4, 0, 0, &[]), &request].concat();
    for cut in 0..bytes.len() {
        let mut client = Client::silent();
        let mut incoming = client.send(&bytes[..cut]).expect("valid");
        assert!(client.connection.is_owed(), "at {cut}");
        incoming.extend(client.send(&bytes[cut..]).expect("valid"));
        let [Incoming::Request { stream: 1, request, has_body: false }] = &incoming[..] else { panic!("{incoming:?}") };
        assert_eq!(
            (request.method().as_str(), request.uri().path(), &request.headers()["host"]),
            ("GET", "/", &"a".parse().expect("a value"))
        );
    }
}

#[test]
fn a_fault_of_the_connection_is_told_by_its_code() {
    use ErrorCode::{Compression, EnhanceYourCalm, FlowControl, FrameSize, Protocol, StreamClosed};
    let settings = |name: u8, value: u32| frame(4, 0, 0, &[&[0, name][..], &value.to_be_bytes()].concat());
    let block = |more: &[u8]| [&frame(1, 0x1, 5, &GET)[..], more].concat();
    let cases = [
        ("a second preface", PREFACE.to_vec(), FrameSize),
        ("an even stream", get(2), Protocol),
        ("a lower stream", [get(9), get(7)].concat(), Protocol),
        ("a closed stream", get(1), StreamClosed),
        ("a head for nobody", frame(1, 0x5, 0, &GET), Protocol),
        ("a block that cannot be read", frame(1, 0x5, 5, &[0x80]), Compression),
        ("a block that is left", block(&get(7)), Protocol),
        ("a block that goes on elsewhere", block(&frame(9, 0x4, 7, &[])), Protocol),
        ("a fragment of nothing", frame(9, 0x4, 1, &[]), Protocol),
        ("a block without an end", block(&frame(9, 0, 5, &[0; 16_384]).repeat(2)), EnhanceYourCalm),
        ("too much padding", frame(1, 0xd, 5, &[6, 0x82, 0x87]), Protocol),
        ("a priority that is cut", frame(1, 0x25, 5, &[0, 0, 0, 0]), FrameSize),
        ("text for nobody", frame(0, 0, 0, b"x"), Protocol),
        ("text for an idle stream", frame(0, 0, 5, b"x"), Protocol),
        ("text with too much padding", [post(5, None), frame(0, 0x8, 5, &[1])].concat(), Protocol),
        ("a reset of an idle stream", frame(3, 0, 5, &[0; 4]), Protocol),
        ("a reset of nobody", frame(3, 0, 0, &[0; 4]), Protocol),
        ("a window of an idle stream", window_update(5, 1), Protocol),
        ("a window that opens by nothing", window_update(0, 0), Protocol),
        ("a window that is too large", window_update(0, NUMBER_MAX), FlowControl),
        (
            "windows that get too large",
            [window_update(3, NUMBER_MAX - 65_535), initial_window(65_536)].concat(),
            FlowControl,
        ),
        ("a push", frame(5, 0x4, 1, &[0; 8]), Protocol),
        ("a ping of a stream", frame(6, 0, 1, &[0; 8]), Protocol),
        ("settings of a stream", frame(4, 0, 1, &[]), Protocol),
        ("an acknowledgment with settings", frame(4, 1, 0, &[0; 6]), FrameSize),
        ("a push that is neither on nor off", settings(2, 2), Protocol),
        ("an initial window that is too large", settings(4, 1 << 31), FlowControl),
        ("frames that are too short", settings(5, 16_383), Protocol),
        ("frames that are too long", settings(5, 1 << 24), Protocol),
        ("a goodbye of a stream", frame(7, 0, 1, &[0; 8]), Protocol),
        ("a priority of itself", frame(2, 0, 5, &[0, 0, 0, 5, 0]), Protocol),
    ];
    for (name, bytes, code) in cases {
        let mut client = Client::connected();
        client.open(1);
        client.connection.end(1, &mut client.control);
        client.open(3);
        assert_eq!(client.code(&bytes), Some(code), "{name}");
    }
    for begins in [&get(1)[..], &frame(4, 1, 0, &[]), &frame(6, 0, 0, &[0; 8])] {
        let mut client = Client::silent();
        client.send(PREFACE).expect("a preface");
        assert_eq!(client.code(begins), Some(Protocol), "settings come first");
    }
    assert_eq!(Client::silent().code(b"GET / HTTP/1.1\r\n"), Some(Protocol));
}

#[test]
fn a_fault_of_a_stream_ends_that_stream_and_tells_its_owner() {
    use ErrorCode::{FlowControl, Protocol, StreamClosed};
    let cases = [
        ("a second head", get(1), StreamClosed),
        ("text behind the end", frame(0, 0, 1, b"x"), StreamClosed),
        ("a window that opens by nothing", window_update(1, 0), Protocol),
        ("a window that is too large", window_update(1, NUMBER_MAX), FlowControl),
    ];
    for (name, bytes, code) in cases {
        let mut client = Client::connected();
        client.open(1);
        client.open(3);
        let incoming = client.send(&bytes).expect("no fault of the connection");
        assert!(matches!(incoming[..], [Incoming::Ended { owner: 1 }]), "{name}: {incoming:?}");
        assert_eq!(client.reset_code(), Some(code as u32), "{name}");
        assert_eq!(client.connection.owners().collect::<Vec<_>>(), [3]);
    }
}

#[test]
fn a_request_that_breaks_the_rules_is_refused_and_those_behind_it_are_not() {
    let malformed = frame(1, 0x5, 1, &[0x82, 0x87]);
    let itself = frame(1, 0x25, 1, &[&[0, 0, 0, 1, 0][..], &GET].concat());
    let ended_with_length = {
        let mut bytes = post(1, Some("1"));
        bytes[4] |= 1;
        bytes
    };
    for bytes in [malformed, itself, ended_with_length] {
        let mut client = Client::connected();
        assert!(client.send(&bytes).expect("no fault of the connection").is_empty());
        assert_eq!(client.reset_code(), Some(ErrorCode::Protocol as u32));
        client.open(3);
    }
    let mut client = Client::connected();
    let large: Vec<u8> = [&GET[..], &[0, 1, b'x', 0x7f, 0xa1, 0x1f], &[b'x'; 4_128]].concat();
    assert!(client.send(&frame(1, 0x5, 1, &large)).expect("no fault of the connection").is_empty());
    let [(Kind::Headers, flags, 1, block)] = &client.sent()[..] else { panic!("an answer") };
    assert_eq!((*flags, &block[block.len() - 3..]), (END_HEADERS | END_STREAM, &b"431"[..]));
    client.open(3);
}

#[test]
fn so_many_streams_are_open_at_a_time_and_one_more_is_refused_until_one_has_ended() {
    let mut client = Client::connected();
    (0..10).for_each(|number| client.open(2 * number + 1));
    assert!(client.send(&get(21)).expect("no fault of the connection").is_empty());
    assert_eq!(client.reset_code(), Some(ErrorCode::RefusedStream as u32));
    client.connection.end(5, &mut client.control);
    client.open(23);
}

#[test]
fn a_body_is_dropped_within_a_bound_and_its_length_must_be_true() {
    let text = |length: usize, ends: u8| frame(0, ends, 1, &vec![b'x'; length]);
    let outcome = |length: Option<&str>, bodies: &[Vec<u8>]| {
        let mut client = Client::connected();
        assert!(client.send(&post(1, length)).expect("a request").is_empty());
        let incoming = client.send(&bodies.concat()).expect("no fault of the connection");
        (incoming.len(), client)
    };
    for (length, bodies) in [
        (None, vec![text(10, 0), text(0, 1)]),
        (Some("3"), vec![text(3, 0), frame(1, 0x5, 1, &[0x00, 0x01, b'x', 0x01, b'1'])]),
        (Some("10"), vec![text(4, 0), frame(0, 0x9, 1, &[2, 1, 2, 3, 4, 5, 6, 0, 0])]),
        (None, vec![text(16_000, 0), text(16_000, 0), text(16_000, 0), text(16_000, 1)]),
    ] {
        assert_eq!(outcome(length, &bodies).0, 1);
    }
    for (length, bodies) in
        [(Some("5"), vec![text(6, 0)]), (Some("5"), vec![text(4, 1)]), (None, vec![text(1, 0), frame(1, 0x5, 1, &GET)])]
    {
        let (requests, mut client) = outcome(length, &bodies);
        assert_eq!((requests, client.reset_code()), (0, Some(ErrorCode::Protocol as u32)));
    }
    let whole_window = [vec![text(16_384, 0); 3], vec![text(16_383, 0)]].concat();
    let (requests, mut client) = outcome(None, &whole_window);
    let sent = client.sent();
    let kinds: Vec<_> = sent.iter().map(|(kind, _, stream, _)| (*kind, *stream)).collect();
    assert_eq!(requests, 0);
    let windows = [(Kind::WindowUpdate, 0); 2];
    assert_eq!(kinds, [&windows[..], &[(Kind::Headers, 1), (Kind::ResetStream, 1)]].concat(), "413, and no more of it");
    client.open(3);
}

#[test]
fn a_small_answer_goes_out_as_the_windows_let_it_and_then_its_stream_is_closed() {
    let mut client = Client::connected();
    client.send(&initial_window(0)).expect("settings");
    client.send(&get(1)).expect("a request");
    client.sent();
    let body = Bytes::from_static(b"twelve bytes");
    assert!(client.connection.answer(1, &encode_head(404, []), body, &mut client.control));
    assert_eq!(client.text_sent(1), b"");
    client.send(&window_update(1, 1)).expect("a window");
    assert_eq!(client.text_sent(1), b"t");
    client.send(&initial_window(3)).expect("a window");
    assert_eq!(client.text_sent(1), b"wel");
    client.send(&initial_window(1)).expect("a window");
    client.send(&window_update(1, 2)).expect("a window");
    assert_eq!(client.text_sent(1), b"", "the window is still below zero");
    client.send(&window_update(1, 100)).expect("a window");
    let sent = client.sent();
    assert_eq!(sent, [(Kind::Data, END_STREAM, 1, b"ve bytes".to_vec())]);
    assert_eq!((client.connection.streams(), client.connection.unfinished.is_none()), (0, true));
    assert!(!client.connection.answer(1, &[], Bytes::new(), &mut client.control));
}

#[test]
fn answers_that_no_window_lets_out_are_dropped_beyond_a_bound() {
    let mut client = Client::connected();
    client.send(&initial_window(0)).expect("settings");
    for number in 0..5 {
        client.send(&get(2 * number + 1)).expect("a request");
        client.sent();
        assert!(client.connection.answer(
            2 * number + 1,
            &encode_head(404, []),
            vec![b'x'; 4_000].into(),
            &mut client.control
        ));
    }
    assert_eq!(client.reset_code(), Some(ErrorCode::EnhanceYourCalm as u32));
    assert_eq!(client.connection.streams(), 4);
}

#[test]
fn a_stream_has_the_room_of_both_windows_and_no_less_than_none() {
    let mut client = Client::connected();
    client.open(1);
    client.open(3);
    let rooms = |client: &Client| {
        [client.connection.room(1, 0), client.connection.room(3, 0), client.connection.room(1, 65_000)]
    };
    assert_eq!(rooms(&client), [65_535, 65_535, 535]);
    client.connection.spend(1, 60_000);
    assert_eq!(rooms(&client), [5_535, 5_535, 0]);
    let incoming = client.send(&window_update(0, 100_000)).expect("a window");
    assert!(matches!(incoming[..], [Incoming::AllOpened]));
    assert_eq!(rooms(&client), [5_535, 65_535, 5_535]);
    assert!(client.send(&initial_window(10)).expect("settings").is_empty());
    assert_eq!(rooms(&client), [0, 10, 0], "stream 1 stands at -59,990");
    let incoming = client.send(&window_update(1, 60_001)).expect("a window");
    assert!(matches!(incoming[..], [Incoming::Opened { owner: 1 }]));
    assert_eq!(client.connection.room(1, 0), 11);
    assert_eq!(client.connection.room(99, 0), 0);
}

#[test]
fn trailers_that_were_on_their_way_when_their_stream_was_reset_end_nothing_else() {
    let mut client = Client::connected();
    client.open(1);
    client.send(&post(3, Some("1"))).expect("a request");
    client.send(&frame(0, 0, 3, b"too long")).expect("a fault of the stream");
    assert_eq!(client.reset_code(), Some(ErrorCode::Protocol as u32));
    let trailers = frame(1, 0x5, 3, &[0x00, 0x01, b'x', 0x01, b'1']);
    assert!(client.send(&trailers).expect("no fault of the connection").is_empty());
    assert_eq!(client.connection.owners().collect::<Vec<_>>(), [1]);
}

/// A client that does not acknowledge our settings has a table, and tells a long field by one byte.
#[test]
fn heads_that_nobody_has_decided_are_held_within_a_bound() {
    let mut client = Client::silent();
    let plain = [0x83, 0x87, 0x84, 0x01, 1, b'a'];
    client.send(&[&PREFACE[..], &frame(4, 0, 0, &[])].concat()).expect("settings");
    let entry = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x17][..], &[b'x'; 3_104]].concat();
    client.send(&frame(1, 0x4, 1, &[&plain[..], &entry].concat())).expect("a request");
    for number in 1..10 {
        client.send(&frame(1, 0x4, 2 * number + 1, &[&plain[..], &[0xbe]].concat())).expect("a request");
    }
    let resets = client.sent().into_iter().filter(|(kind, ..)| *kind == Kind::ResetStream).count();
    assert_eq!((client.connection.streams(), resets), (5, 5), "five heads of 3,100 bytes are four times 4,096");
    // Those that are decided are held no more.
    (0..5).for_each(|number| assert!(client.connection.give(2 * number + 1, number)));
    client.send(&frame(1, 0x5, 41, &[&plain[..], &[0xbe]].concat())).expect("a request");
    assert_eq!(client.connection.streams(), 6);
}

#[test]
fn every_flood_ends_the_connection_and_a_busy_reader_does_not() {
    let floods: [(&str, Vec<u8>); 7] = [
        ("settings", frame(4, 0, 0, &[])),
        ("pings", frame(6, 0, 0, &[0; 8])),
        ("windows", window_update(0, 1)),
        ("priorities", frame(2, 0, 1, &[0; 5])),
        ("unknown frames", frame(99, 0, 1, &[])),
        ("windows of a stream", window_update(1, 1)),
        ("empty text", frame(0, 0, 1, &[])),
    ];
    for (name, bytes) in floods {
        let mut client = Client::connected();
        client.open(1);
        assert_eq!(client.code(&bytes.repeat(2_000)), Some(ErrorCode::EnhanceYourCalm), "{name}");
    }
    // Rapid Reset, and a client that makes this side reset (MadeYouReset).
    for end in [frame(3, 0, 0, &[0; 4]), window_update(0, 0)] {
        let mut client = Client::connected();
        let mut requests = 0;
        let code = loop {
            let stream: u32 = 2 * requests + 1;
            let mut end = end.clone();
            end[5..9].copy_from_slice(&stream.to_be_bytes());
            match client.send(&[get(stream), end].concat()) {
                Ok(_) => requests += 1,
                Err(fault) => break fault.code,
            }
        };
        assert_eq!(code, ErrorCode::EnhanceYourCalm);
        assert!((100..150).contains(&requests), "{requests}");
    }
    let fragments = [frame(1, 0x1, 1, &GET), frame(9, 0, 1, &[]).repeat(2_000)].concat();
    assert_eq!(Client::connected().code(&fragments), Some(ErrorCode::EnhanceYourCalm), "fragments without an end");
    let mut client = Client::connected();
    client.open(1);
    for _ in 0..10_000 {
        client.connection.spend(1, 100);
        client.send(&[window_update(0, 100), window_update(1, 100)].concat()).expect("it reads what it gets");
    }
}

#[test]
fn requests_that_never_end_are_ended_and_owned_streams_stay() {
    let mut client = Client::connected();
    client.open(1);
    client.send(&post(3, None)).expect("a request");
    assert!(client.connection.is_owed());
    client.connection.reset_unfinished(&mut client.control);
    assert_eq!(client.reset_code(), Some(ErrorCode::Cancel as u32));
    // An answer that no window lets out is no better.
    client.send(&[initial_window(0), get(5)].concat()).expect("a request");
    assert!(client.connection.answer(5, &encode_head(404, []), Bytes::from_static(b"x"), &mut client.control));
    assert!(client.connection.is_owed());
    client.sent();
    client.connection.reset_unfinished(&mut client.control);
    assert_eq!(client.reset_code(), Some(ErrorCode::Cancel as u32));
    assert!(!client.connection.is_owed());
    assert_eq!(client.connection.owners().collect::<Vec<_>>(), [1]);
}

/// Our part of an idle connection.
#[test]
fn an_idle_connection_costs_at_most_112_bytes() {
    assert!(size_of::<Connection>() <= 112, "{}", size_of::<Connection>());
    let mut client = Client::connected();
    client.send(&frame(4, 1, 0, &[])).expect("an acknowledgment");
    client.open(1);
    assert!(client.connection.unfinished.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever comes, the answer is whole frames, cut anywhere it is the same, and no more streams are open than may be.
    #[test]
    fn any_frames_are_answered_in_whole_frames_and_alike_however_they_are_cut(
        sent in prop::collection::vec((0..12_u8, any::<u8>(), 0..12_u32, prop::collection::vec(any::<u8>(), 0..40)), 0..40),
        requests in prop::collection::vec(any::<bool>(), 40),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = [&PREFACE[..], &frame(4, 0, 0, &[])].concat();
        for (number, (kind, flags, stream, payload)) in sent.into_iter().enumerate() {
            if requests[number] {
                bytes.extend(get(2 * number as u32 + 1));
            }
            bytes.extend(frame(kind, flags, stream, &payload));
        }
        let run = |pieces: &[&[u8]]| {
            let mut client = Client::silent();
            let fault = pieces.iter().find_map(|piece| client.send(piece).err());
            let streams = client.connection.streams();
            (fault, streams, client.sent())
        };
        let cut = cut.index(bytes.len());
        let whole = run(&[&bytes]);
        prop_assert!(whole.1 <= 10);
        prop_assert_eq!(run(&[&bytes[..cut], &bytes[cut..]]), whole);
    }
}
