//! The tickets that servers gave, for streams that come back. rustls's own store keeps eight per server, and here every stream
//! of a worker comes back to one server at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::hold::CONNECTIONS_PER_WORKER_MAX;

/// One per connection. A server may give several to each, and the oldest make room.
const TICKETS_MAX: usize = CONNECTIONS_PER_WORKER_MAX as usize;

/// The tickets of one server.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    kept: Mutex<Kept>,
    /// Whether streams come back. A new one has no ticket, though others have left theirs here.
    serve_returning: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    /// The oldest first. Each serves once.
    v1_3: VecDeque<Tls13ClientSessionValue>,
    /// In TLS 1.2 one session serves any number of connections.
    v1_2: Option<Tls12ClientSessionValue>,
}

impl Tickets {
    /// From now on all streams are ones that come back, or all are new.
    pub(crate) fn serve(&self, returning: bool) {
        self.serve_returning.store(returning, Ordering::Relaxed);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    /// The first group that is offered is the one that all servers here take.
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.kept().v1_2 = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        if self.serve_returning.load(Ordering::Relaxed) { self.kept().v1_2.clone() } else { None }
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.kept().v1_2 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let tickets = &mut self.kept().v1_3;
        if tickets.len() == TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.serve_returning.load(Ordering::Relaxed) { self.kept().v1_3.pop_front() } else { None }
    }
}
