//! A peer to measure against: axum's `Sse` over one tokio broadcast channel per name, as its documentation shows.
//! It takes HTTP/2 on the same ports, and listens with TLS too if it is given a certificate. It keeps no ids and no memory of events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use axum::serve::{Listener, ListenerExt as _};
use fantail_bench_peer_tls::{TlsListener, TlsStream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt as _};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events that a slow stream may lag behind.
const BACKLOG: usize = 64;

type Senders = Arc<Mutex<HashMap<String, broadcast::Sender<Arc<str>>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let channels = Senders::default();
    let public = Router::new().route("/sub/{channel}", get(subscribe)).with_state(Arc::clone(&channels));
    let internal = Router::new().route("/pub/{channel}", post(publish)).with_state(channels);
    let nodelay = |socket: &mut tokio::net::TcpStream| {
        // A socket that is already dead says so on its next use.
        let _ = socket.set_nodelay(true);
    };
    let public_listener = TcpListener::bind("127.0.0.1:18230").await?.tap_io(nodelay);
    let internal_listener = TcpListener::bind("127.0.0.1:18231").await?;
    let tls_listener = Encrypted(TlsListener::bind("127.0.0.1:18232").await?);
    tokio::try_join!(
        axum::serve(public_listener, public.clone()),
        axum::serve(tls_listener, public),
        axum::serve(internal_listener, internal)
    )?;
    Ok(())
}

/// The listener with TLS, as axum takes it.
struct Encrypted(TlsListener);

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Nobody asks for the client's address.
        (self.0.accept().await, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 18232)))
    }
}

async fn subscribe(
    State(channels): State<Senders>,
    Path(channel): Path<String>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = BroadcastStream::new(sender(&channels, channel).subscribe());
    let events = events.filter_map(|data| data.ok().map(|data| Ok(Event::default().data(data))));
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn publish(State(channels): State<Senders>, Path(channel): Path<String>, data: String) -> StatusCode {
    // Without a subscriber the event has nowhere to go.
    let _ = sender(&channels, channel).send(data.into());
    StatusCode::ACCEPTED
}

fn sender(channels: &Senders, channel: String) -> broadcast::Sender<Arc<str>> {
    let mut channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
    channels.entry(channel).or_insert_with(|| broadcast::channel(BACKLOG).0).clone()
}
