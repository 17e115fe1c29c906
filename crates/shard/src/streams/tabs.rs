//! The streams of HTTP/2 connections, and the turns of their connections.
//!
//! A connection tells that a stream is over, or may be sent more. It is told here to the stream. The end of a connection is the end of
//! its streams.

use fantail_http2::ErrorCode;
use fantail_telemetry::{CloseReason, Http2Fault};
use mio::event::Event;

use super::{Key, StreamState, Streams};
use crate::connections::{ConnectionKey, Http2Connection, News, Phase};
use crate::shard::ShardSettings;
use crate::slice::Slice;
use crate::sweep::LINGER;

/// How long a connection that comes in a drain has for its request.
const FIRST_REQUEST_IN_DRAIN: std::time::Duration = std::time::Duration::from_millis(500);

/// A client may ask for so many things more in a second beside its requests (`http2/budget.rs`).
const POINTS_PER_SECOND: u128 = 100;

/// Takes a connection over.
pub(crate) fn open_connection(streams: &mut Streams, mut connection: Http2Connection) -> ConnectionKey {
    let now = streams.clock.now();
    let text = std::mem::take(&mut connection.text);
    let key = streams.outlets.connections.open(connection, &streams.registry, now);
    let mut news = Vec::new();
    streams.outlets.connections.take_early(key, &text, now, &mut news);
    // It has no streams yet for which there could be news.
    debug_assert!(!news.iter().any(|news| matches!(news, News::Ended(_) | News::Opened(_))));
    key
}

/// The poll tells of a connection's socket.
pub(crate) fn connection_event(streams: &mut Streams, key: ConnectionKey, generation: u32, event: &Event) {
    if !streams.outlets.connections.is_connection(key, generation) {
        return;
    }
    if event.is_error() {
        return streams.outlets.connections.fail(key, CloseReason::ClientReset);
    }
    if event.is_readable()
        && let Some(connection) = streams.outlets.connections.get_mut(key)
    {
        // It is read in its turn, within a slice.
        connection.has_more_input = true;
        streams.outlets.connections.look_later(key);
    }
    if event.is_writable() {
        unblock(streams, key);
    }
}

pub(crate) fn read(streams: &mut Streams, key: ConnectionKey) {
    let mut news = std::mem::take(&mut streams.news);
    streams.outlets.connections.read(key, streams.clock.now(), &mut news);
    for news in news.drain(..) {
        match news {
            News::Ended(tab) => streams.close_at_its_end(tab),
            News::Opened(tab) => wake(streams, key, tab),
            News::AllOpened => wake_all(streams, key),
            News::Foreign => end_in_order(streams, key, CloseReason::TlsInput),
        }
    }
    streams.news = news;
}

/// The socket takes bytes again.
pub(crate) fn unblock(streams: &mut Streams, key: ConnectionKey) {
    let Some(connection) = streams.outlets.connections.get_mut(key).filter(|connection| connection.is_blocked) else {
        return;
    };
    connection.is_blocked = false;
    streams.outlets.connections.flush(key, streams.clock.now());
    streams.outlets.connections.look_later(key);
    if streams.outlets.connections.get(key).is_some_and(|connection| !connection.is_blocked) {
        wake_all(streams, key);
    }
}

/// A tab whose own window is shut stays as it is, whatever opens for others: its deadline on progress goes on.
fn wake(streams: &mut Streams, key: ConnectionKey, tab: Key) {
    if streams.state(tab) == Some(StreamState::Blocked) && streams.outlets.connections.has_room(key, tab) {
        streams.fall_behind(tab);
    }
}

/// The first one may fill the socket again at once, so each is the first in its turn.
fn wake_all(streams: &mut Streams, key: ConnectionKey) {
    let mut tabs = tabs(streams, key);
    if let Some(connection) = streams.outlets.connections.get_mut(key) {
        connection.turns = connection.turns.wrapping_add(1);
        let first = usize::from(connection.turns) % tabs.len().max(1);
        tabs.rotate_left(first);
    }
    for tab in tabs {
        wake(streams, key, tab);
    }
}

/// There are few: `streams_per_connection_max` bounds them.
fn tabs(streams: &Streams, key: ConnectionKey) -> Vec<Key> {
    streams.outlets.connections.tabs(key).collect()
}

/// All streams of a connection are told why they end, and it ends with them.
fn end_in_order(streams: &mut Streams, key: ConnectionKey, reason: CloseReason) {
    streams.outlets.connections.ask_to_leave(key);
    for tab in tabs(streams, key) {
        streams.end(tab, reason);
    }
}

/// Sees to the connections with something left to do, until the slice is over.
pub(crate) fn see_to_connections(streams: &mut Streams, slice: &mut Slice) {
    // A connection that is put aside again waits for the next turn.
    for _ in 0..streams.outlets.connections.unseen() {
        let Some(key) = streams.outlets.connections.next_unseen() else { return };
        see_to(streams, key);
        if slice.is_over() {
            return;
        }
    }
}

fn see_to(streams: &mut Streams, key: ConnectionKey) {
    let now = streams.clock.now();
    if streams.outlets.connections.get(key).is_some_and(|connection| connection.has_more_input) {
        read(streams, key);
    }
    streams.outlets.connections.flush(key, now);
    let streams_max = streams.outlets.connections.streams_max();
    let Some(connection) = streams.outlets.connections.get_mut(key) else { return };
    if connection.failed.is_none() && connection.is_flooded(streams_max) {
        connection.reset_on_close();
        connection.failed = Some(CloseReason::InputFlood);
        streams.counters.http2_faults.add(Http2Fault::Flood, 1);
    }
    let Some(connection) = streams.outlets.connections.get_mut(key) else { return };
    if let Some(reason) = connection.failed {
        return close_connection(streams, key, reason);
    }
    let is_left = connection.phase == Phase::Leaving || connection.protocol.client_leaves();
    match connection.phase {
        Phase::Open | Phase::Leaving if is_left && connection.protocol.streams() == 0 => {
            connection.begin_to_end(now);
            streams.outlets.connections.look_later(key);
        }
        Phase::Faulty => {
            connection.begin_to_end(now);
            streams.outlets.connections.look_later(key);
            close_tabs(streams, key, CloseReason::ProtocolFault);
        }
        Phase::Ending if connection.is_flushed() => linger(streams, key),
        _ => {}
    }
}

fn linger(streams: &mut Streams, key: ConnectionKey) {
    let connections = &mut streams.outlets.connections;
    if connections.get_mut(key).is_some_and(|connection| !connection.close_our_side()) {
        connections.fail(key, CloseReason::ClientClosed);
    }
}

fn close_tabs(streams: &mut Streams, key: ConnectionKey, reason: CloseReason) {
    for tab in tabs(streams, key) {
        let reason = streams.slab[tab].ending().unwrap_or(reason);
        streams.close(tab, reason);
    }
}

/// Takes a connection with all its streams out of everything.
fn close_connection(streams: &mut Streams, key: ConnectionKey, reason: CloseReason) {
    close_tabs(streams, key, reason);
    let closed = streams.outlets.connections.close(key);
    // Before another may take the place: what is counted as open is never more than there may be.
    streams.counters.connections_open.sub(1);
    streams.admission.release();
    if let Some(address) = closed.address {
        streams.admission.counts().release_address(address);
    }
}

/// Ends a connection that has taken nothing for so long, with all its streams: memory is short, and it pins some. A reset frees what the
/// kernel holds for it as well.
pub(crate) fn end_if_blocked(streams: &mut Streams, key: ConnectionKey, blocked_for: std::time::Duration) {
    let now = streams.clock.now();
    let connections = &mut streams.outlets.connections;
    let is_slow = |one: &crate::connections::Connection| one.is_blocked && now.since(one.written) >= blocked_for;
    if let Some(connection) = connections.get(key).filter(|one| is_slow(one)) {
        connection.reset_on_close();
        connections.fail(key, CloseReason::Memory);
    }
}

/// Keeps one connection's deadlines. `period` is the time between two looks.
pub(crate) fn look_after(streams: &mut Streams, key: ConnectionKey, period: std::time::Duration) {
    let now = streams.clock.now();
    let ShardSettings { keepalive_interval, progress_deadline, http2, .. } = *streams.settings();
    let is_draining = streams.outlets.connections.is_draining();
    let Some(connection) = streams.outlets.connections.get_mut(key) else { return };
    connection.protocol.refill((period.as_millis() * POINTS_PER_SECOND / 1_000) as u16 + 1);
    let silent = now.since(connection.written);
    let alone = now.since(connection.without_streams_since);
    let has_streams = connection.protocol.streams() > 0;
    if connection.is_blocked && silent >= progress_deadline {
        connection.reset_on_close();
        return streams.outlets.connections.fail(key, CloseReason::Stalled);
    }
    if !connection.phase.is_open() {
        if alone >= LINGER {
            streams.outlets.connections.fail(key, CloseReason::ClientClosed);
        }
        return;
    }
    connection.note_input(now);
    if connection.amid_input_since.is_some_and(|since| now.since(since) >= http2.request_deadline) {
        return give_up_input(streams, key);
    }
    if connection.is_worn_out() {
        return end_in_order(streams, key, CloseReason::Lifetime);
    }
    if !has_streams && connection.phase == Phase::Leaving {
        return streams.outlets.connections.look_later(key);
    }
    // Requests that are being decided get no answer where nothing more is understood.
    if connection.is_deaf && connection.protocol.owners().next().is_none() {
        connection.begin_to_end(now);
        return streams.outlets.connections.look_later(key);
    }
    if !has_streams && (alone >= http2.request_deadline || is_draining && alone >= FIRST_REQUEST_IN_DRAIN) {
        return streams.outlets.connections.ask_to_leave(key);
    }
    if has_streams && silent >= keepalive_interval + 2 * period {
        // Its streams would have got comments. While their windows are shut, nothing else tells that its client is gone.
        connection.control(|protocol, control| protocol.ping(control));
        streams.outlets.connections.look_later(key);
    }
}

/// Something that the client has begun does not get whole. A request ends by itself; anything else ends the connection.
fn give_up_input(streams: &mut Streams, key: ConnectionKey) {
    let now = streams.clock.now();
    let Some(connection) = streams.outlets.connections.get_mut(key) else { return };
    connection.control(fantail_http2::Connection::reset_unfinished);
    if connection.note_input(now) {
        streams.outlets.connections.end_with_fault(key, ErrorCode::EnhanceYourCalm);
    } else {
        streams.outlets.connections.look_later(key);
    }
}
