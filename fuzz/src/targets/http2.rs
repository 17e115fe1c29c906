//! HTTP/2, from the first byte of a client.

use bytes::Bytes;
use fantail_http2::{Bounds, Connection, Decoder, HEAD_BYTES, Incoming, PREFACE, encode_head};

const BOUNDS: Bounds = Bounds { streams_max: 4, head_bytes_max: 2_000, fields_max: 8 };

/// However its bytes come, a connection says the same, in whole frames, and never opens more than it may.
pub(super) fn http2(data: &[u8]) {
    let (cut, data) = data.split_first().map_or((0, data), |(cut, data)| (usize::from(*cut), data));
    // Most inputs would not get over the preface.
    let begin = [&PREFACE[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let bytes = if data.first().is_some_and(|byte| byte & 1 == 0) { [&begin, data].concat() } else { data.to_vec() };
    let whole = run(&[&bytes]);
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    assert_eq!(run(&[first, second]), whole);
}

/// The answer, the streams that are open at the end, and whether the client broke the rules.
fn run(pieces: &[&[u8]]) -> (Vec<u8>, usize, bool) {
    let mut control = Vec::new();
    let mut connection = Connection::begin(&BOUNDS, &mut control);
    let mut is_faulty = false;
    'all: for piece in pieces {
        let mut piece = *piece;
        loop {
            match connection.receive(&mut piece, &BOUNDS, &mut control) {
                Ok(None) => break,
                Ok(Some(Incoming::Request { stream, .. })) => answer(&mut connection, stream, &mut control),
                Ok(Some(Incoming::Ended { owner } | Incoming::Opened { owner })) => assert!(owner % 4 == 3),
                Ok(Some(Incoming::AllOpened)) => {}
                Err(_) => {
                    is_faulty = true;
                    break 'all;
                }
            }
            assert!(connection.streams() <= BOUNDS.streams_max as usize);
        }
    }
    assert_whole_frames(&control);
    (control, connection.streams(), is_faulty)
}

/// Every second one is answered whole, and the others become streams that get all that they may.
fn answer(connection: &mut Connection, stream: u32, control: &mut Vec<u8>) {
    if stream % 4 == 1 {
        assert!(connection.answer(stream, &encode_head(404, []), Bytes::from_static(b"not found"), control));
        return;
    }
    assert!(connection.give(stream, stream));
    connection.send_head(stream, &encode_head(200, []), control);
    let room = connection.room(stream, 0);
    connection.spend(stream, room);
    assert_eq!(connection.room(stream, 0), 0);
}

fn assert_whole_frames(mut bytes: &[u8]) {
    while let Some(head) = bytes.first_chunk::<HEAD_BYTES>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        assert!(length <= 1 << 14);
        bytes = &bytes[HEAD_BYTES + length..];
    }
    assert!(bytes.is_empty());
}

/// Blocks of one decoder: what is read of them can be written and read again, and a decoder without a table reads that alike.
pub(super) fn header_block(data: &[u8]) {
    let mut decoder = Decoder::new();
    for block in data.split(|byte| *byte == b'\n') {
        let mut fields = Vec::new();
        if decoder.decode(block, |name, value| fields.push((name.to_vec(), value.to_vec()))).is_err() {
            return;
        }
        let plain = fields.iter().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value.as_slice())));
        let plain: Vec<_> = plain.filter(|(name, _)| !name.is_empty()).collect();
        let mut without_table = Decoder::new();
        without_table.forget_table();
        let mut again = Vec::new();
        let written = encode_head(200, plain.iter().copied());
        without_table.decode(&written, |name, value| again.push((name.to_vec(), value.to_vec()))).expect("it is ours");
        assert_eq!(again.len(), 1 + plain.len());
        assert!(
            again[1..].iter().zip(&plain).all(|(read, (name, value))| read.0 == name.as_bytes() && read.1 == *value)
        );
    }
}
