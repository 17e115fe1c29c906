//! The server's side of HTTP/2 (RFC 9113), without IO and without a clock.
//!
//! A [`Connection`] takes the bytes of a client in pieces of any size, and tells what they mean: a request, a window that has opened, a
//! stream that has ended. The bytes that it answers with are appended to a buffer of its caller. It keeps no text of streams. Its
//! caller asks how much of a stream may be sent, and tells how much of it was begun.
//!
//! A stream has an owner here, which is a number of the caller's.

#![forbid(unsafe_code)]

mod budget;
mod connection;
mod fields;
mod frame;
mod frame_reader;
mod hpack;
mod huffman;
mod open_streams;
mod peer_settings;
mod request;
mod static_table;

pub use connection::{Bounds, Connection, Incoming};
pub use fields::encode_head;
pub use frame::{ErrorCode, Fault, HEAD_BYTES, PAYLOAD_BYTES_MAX, PREFACE, data_head};
pub use hpack::{Decoder, HpackError};
