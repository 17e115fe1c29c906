//! The client's half of one connection of HTTP/2, without a socket and without a clock: it tells heads, text and ends of streams, and
//! writes the frames that a server waits for. It knows neither events nor which streams still read.
//!
//! A browser's client is a large one. This one keeps no table, offers no push, and asks for streams alone.

pub(crate) mod frame;
mod head;

use crate::hold::connection::Over;
use crate::hold::http2::frame::{
    ACK, END_HEADERS, END_STREAM, FrameHead, FrameReader, GOAWAY, HEADERS, PING, PREFACE, PUSH_PROMISE, Part,
    RST_STREAM, SETTINGS, header_block, write, write_window_update,
};
use crate::hold::http2::head::request_block;
use crate::hold::stream_request::StreamRequest;
use crate::http2_options::WINDOW_MAX;

const SETTING_HEADER_TABLE_SIZE: u16 = 1;
const SETTING_ENABLE_PUSH: u16 = 2;
const SETTING_INITIAL_WINDOW: u16 = 4;
/// The window of a connection before anything is said.
const CONNECTION_WINDOW: u32 = 65_535;
const CONNECTION: u32 = 0;

/// One connection. Its streams are numbered from 0 in the order of their requests.
#[derive(Debug)]
pub(crate) struct Http2Client {
    reader: FrameReader,
    /// Bytes that have come since the window of the connection was last opened.
    unacknowledged: u32,
}

/// News of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News<'a> {
    /// Its answer has a head with this status; `None` if it cannot be read.
    Head { stream: usize, status: Option<u16> },
    /// So many bytes of its window are used.
    Used { stream: usize, bytes: u32 },
    /// Its next text.
    Text { stream: usize, text: &'a [u8] },
    /// It has ended.
    Ended { stream: usize, reason: Over },
    /// All from this one on were never looked at.
    Refused { first: usize },
}

/// The first bytes of a connection: the preface, and the requests of all its streams. Each stream has this window, and the
/// connection the largest one.
pub(crate) fn first_words<'a>(window: u32, requests: impl IntoIterator<Item = StreamRequest<'a>>) -> Vec<u8> {
    let settings = [(SETTING_HEADER_TABLE_SIZE, 0), (SETTING_ENABLE_PUSH, 0), (SETTING_INITIAL_WINDOW, window)];
    let settings: Vec<u8> =
        settings.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    let mut out = PREFACE.to_vec();
    write(SETTINGS, 0, CONNECTION, &settings, &mut out);
    write_window_update(CONNECTION, WINDOW_MAX - CONNECTION_WINDOW, &mut out);
    for (stream, request) in requests.into_iter().enumerate() {
        write(HEADERS, END_STREAM | END_HEADERS, id_of(stream), &request_block(&request), &mut out);
    }
    out
}

/// Appends the frame that opens the window of a stream again.
pub(crate) fn open_window(stream: usize, bytes: u32, out: &mut Vec<u8>) {
    write_window_update(id_of(stream), bytes, out);
}

/// Clients have the odd numbers.
fn id_of(stream: usize) -> u32 {
    2 * stream as u32 + 1
}

fn stream_of(id: u32) -> Result<usize, Over> {
    if id % 2 == 1 { Ok(id as usize / 2) } else { Err(format!("the server sent a frame for stream {id}")) }
}

impl Http2Client {
    pub(crate) fn new() -> Self {
        Self { reader: FrameReader::default(), unacknowledged: 0 }
    }

    /// Reads these bytes, and hands news of streams to `each`. Frames that must go back are appended to `out`, to which `each` may
    /// append its own.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        each: &mut impl FnMut(News<'_>, &mut Vec<u8>) -> Result<(), Over>,
    ) -> Result<(), Over> {
        let Self { reader, unacknowledged } = self;
        reader.read(bytes, &mut |part| match part {
            Part::DataBegins { stream, length } => {
                *unacknowledged += length;
                if *unacknowledged > WINDOW_MAX / 2 {
                    write_window_update(CONNECTION, std::mem::take(unacknowledged), out);
                }
                each(News::Used { stream: stream_of(stream)?, bytes: length }, out)
            }
            Part::Text { stream, text } => each(News::Text { stream: stream_of(stream)?, text }, out),
            Part::DataEnds { stream } => each(ended(stream_of(stream)?), out),
            Part::Other { head, payload } => take_other(head, payload, out, each),
        })
    }
}

fn take_other(
    head: FrameHead,
    payload: &[u8],
    out: &mut Vec<u8>,
    each: &mut impl FnMut(News<'_>, &mut Vec<u8>) -> Result<(), Over>,
) -> Result<(), Over> {
    match head.kind {
        HEADERS => {
            let stream = stream_of(head.stream)?;
            let block = header_block(head, payload).ok_or("a head has more padding than bytes")?;
            each(News::Head { stream, status: head::status(block) }, out)?;
            if head.has(END_STREAM) { each(ended(stream), out) } else { Ok(()) }
        }
        RST_STREAM => {
            let reason = format!("the server reset the stream, with code {}", number_at(payload, 0)?);
            each(News::Ended { stream: stream_of(head.stream)?, reason }, out)
        }
        GOAWAY => {
            let (last, code) = (number_at(payload, 0)? & WINDOW_MAX, number_at(payload, 4)?);
            if code != 0 {
                return Err(format!("the server closed the connection, with code {code}"));
            }
            each(News::Refused { first: last.div_ceil(2) as usize }, out)
        }
        SETTINGS if !head.has(ACK) => {
            write(SETTINGS, ACK, CONNECTION, &[], out);
            Ok(())
        }
        PING if !head.has(ACK) => {
            write(PING, ACK, CONNECTION, payload, out);
            Ok(())
        }
        PUSH_PROMISE => Err("the server pushes, which nobody allowed".to_owned()),
        // Windows of requests, which have no bodies, priorities, and the rest of a head whose status came first.
        _ => Ok(()),
    }
}

fn ended(stream: usize) -> News<'static> {
    News::Ended { stream, reason: "stream ended with its head".to_owned() }
}

fn number_at(payload: &[u8], at: usize) -> Result<u32, Over> {
    let bytes = payload.get(at..).and_then(|rest| rest.first_chunk()).ok_or("a frame of the server is too short")?;
    Ok(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "the frames are constants")]
    use super::*;
    use crate::hold::http2::frame::{DATA, WINDOW_UPDATE, frame};

    /// The news of these frames, and the bytes that went back.
    fn received(frames: &[Vec<u8>]) -> Result<(Vec<String>, Vec<u8>), Over> {
        let (mut client, mut out, mut told) = (Http2Client::new(), Vec::new(), Vec::new());
        client.receive(&frames.concat(), &mut out, &mut |news, _| {
            told.push(match news {
                News::Head { stream, status } => format!("{stream}: status {status:?}"),
                News::Used { stream, bytes } => format!("{stream}: {bytes} used"),
                News::Text { stream, text } => format!("{stream}: {}", String::from_utf8_lossy(text)),
                News::Ended { stream, reason } => format!("{stream}: {reason}"),
                News::Refused { first } => format!("refused from {first} on"),
            });
            Ok(())
        })?;
        Ok((told, out))
    }

    #[test]
    fn first_words_are_those_of_the_standard() {
        let request = |path| StreamRequest { is_encrypted: false, host: "a", path, last_id: None };
        let words = first_words(1_000, [request("/x"), request("/y")]);
        let expected = [
            PREFACE.to_vec(),
            frame(SETTINGS, 0, 0, b"\0\x01\0\0\0\0\0\x02\0\0\0\0\0\x04\0\0\x03\xe8"),
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()),
            frame(HEADERS, 0x5, 1, &request_block(&request("/x"))),
            frame(HEADERS, 0x5, 3, &request_block(&request("/y"))),
        ];
        assert_eq!(words, expected.concat());
    }

    #[test]
    fn news_tell_the_stream_by_its_place() {
        let (told, out) = received(&[
            frame(HEADERS, END_HEADERS, 1, b"\x88"),
            frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x08\x03429"),
            frame(DATA, 0, 1, b"data: x\n\n"),
            frame(RST_STREAM, 0, 5, &8_u32.to_be_bytes()),
            frame(DATA, END_STREAM, 1, b""),
        ])
        .unwrap();
        assert_eq!(
            told,
            [
                "0: status Some(200)",
                "1: status Some(429)",
                "1: stream ended with its head",
                "0: 9 used",
                "0: data: x\n\n",
                "2: the server reset the stream, with code 8",
                "0: 0 used",
                "0: stream ended with its head",
            ]
        );
        assert_eq!(out, b"");
    }

    #[test]
    fn settings_and_pings_are_answered_once() {
        let (told, out) = received(&[
            frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64"),
            frame(SETTINGS, ACK, 0, b""),
            frame(PING, 0, 0, b"12345678"),
            frame(PING, ACK, 0, b"87654321"),
            frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
            frame(0xfe, 0xff, 0, b"unknown"),
        ])
        .unwrap();
        assert_eq!(told, Vec::<String>::new());
        assert_eq!(out, [frame(SETTINGS, ACK, 0, b""), frame(PING, ACK, 0, b"12345678")].concat());
    }

    /// 1. Of three streams the server has looked at the first two: the last number is 3.
    /// 2. Before it has looked at any, the last number is 0.
    #[test]
    fn streams_that_were_never_looked_at_are_refused() {
        let goodbye = |last: u32, code: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
        assert_eq!(received(&[goodbye(3, 0)]).unwrap().0, ["refused from 2 on"]);
        assert_eq!(received(&[goodbye(0, 0)]).unwrap().0, ["refused from 0 on"]);
        assert_eq!(received(&[goodbye(3, 11)]).unwrap_err(), "the server closed the connection, with code 11");
    }

    #[test]
    fn the_window_of_the_connection_is_opened_when_half_of_it_is_used() {
        let mut client = Http2Client::new();
        let mut out = Vec::new();
        client.unacknowledged = WINDOW_MAX / 2 - 3;
        for (text, is_opened) in [(&b"abc"[..], false), (b"d", true), (b"e", false)] {
            out.clear();
            client.receive(&frame(DATA, 0, 1, text), &mut out, &mut |_, _| Ok(())).unwrap();
            let expected = if is_opened { frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()) } else { vec![] };
            assert_eq!(out, expected, "{text:?}");
        }
    }

    #[test]
    fn frames_that_make_no_sense_end_the_connection() {
        for nonsense in [
            frame(DATA, 0, 2, b"x"),
            frame(HEADERS, END_HEADERS, 0, b"\x88"),
            frame(RST_STREAM, 0, 1, b"\0"),
            frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02\x82"),
            frame(GOAWAY, 0, 0, b"\0\0\0\x03"),
        ] {
            assert!(received(std::slice::from_ref(&nonsense)).is_err(), "{nonsense:?}");
        }
    }
}
