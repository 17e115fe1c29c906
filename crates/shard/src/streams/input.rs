//! Bytes that clients send behind their requests: a browser sends none. They are dropped within a bound.

use fantail_telemetry::CloseReason;
use mio::event::Event;

use super::carrier::Input;
use super::{Key, StreamState, Streams, Way, from_token, tabs};
use crate::connections::in_token;

/// Bytes that a client may send behind its request before the stream is reset.
const INPUT_BYTES_MAX: u32 = 64 * 1024;

/// The poll tells of a socket.
pub(crate) fn socket_event(streams: &mut Streams, event: &Event) {
    if let Some((connection, generation)) = in_token(event.token()) {
        return tabs::connection_event(streams, connection, generation, event);
    }
    let (key, generation) = from_token(event.token());
    if !streams.is_stream(key, generation) {
        return;
    }
    if event.is_error() {
        return streams.close(key, CloseReason::ClientReset);
    }
    if event.is_readable() && !drop_input(streams, key) {
        return;
    }
    if event.is_writable() && streams.slab[key].state == StreamState::Blocked {
        streams.fall_behind(key);
    }
}

/// Reads and drops what the client sends. False if that was the end of the stream.
///
/// A stream of which only a key is left ends with any input: it may be the client's `close_notify`, mostly just before the end
/// of its side, or a change of keys, which this side has nothing to answer with. The client comes back with its id.
fn drop_input(streams: &mut Streams, key: Key) -> bool {
    let mut ends = false;
    let mut buffer = [0; 4096];
    loop {
        let Way::Socket { carrier, input_bytes } = &mut streams.slab[key].way else { return true };
        match carrier.read_input(&mut buffer) {
            Ok(Input::End) => return client_is_done(streams, key),
            Ok(Input::Nothing) => {
                if ends {
                    streams.end(key, CloseReason::TlsInput);
                }
                return true;
            }
            Ok(Input::Bytes(bytes)) => {
                *input_bytes += bytes as u32;
                if *input_bytes > INPUT_BYTES_MAX {
                    streams.reset(key, CloseReason::InputFlood);
                    return false;
                }
                if let Some(sealer) = streams.outlets.sealers.get(key) {
                    ends |= sealer.ends_by_input(&buffer[..bytes]);
                }
            }
            Err(e) => {
                streams.fail(key, &e);
                return false;
            }
        }
    }
}

/// The client closed its side. A browser that went away looks like this, and so does a script that only half-closed:
/// the stream ends either way, and for the script it ends cleanly. False if the stream is gone.
fn client_is_done(streams: &mut Streams, key: Key) -> bool {
    let stream = &streams.slab[key];
    match (stream.state, stream.ending()) {
        (StreamState::Waiting, _) => streams.close(key, CloseReason::ClientClosed),
        (StreamState::Ending, Some(reason)) => streams.close(key, reason),
        // Its last bytes are not with the kernel yet. The socket counts as readable from now on, so this is seen
        // again with every event that says that it takes more.
        (_, Some(_)) => return true,
        _ => {
            streams.end(key, CloseReason::ClientClosed);
            return true;
        }
    }
    false
}
