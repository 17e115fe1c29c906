//! An HTTP listener of the control loop with a bound on its connections.
//!
//! It waits on a place, then on the listener; each connection is a task of its own. At the bound it waits until a
//! connection ends, and the others wait in the kernel's backlog.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::listening_socket::ListeningSocket;
use crate::plain_http::{self, Beginning, beginning_of, is_handshake};
use crate::problem::Answer;
use crate::tls::{FailedHandshakes, HANDSHAKE_DEADLINE, TlsServer};

/// The shortest time between two log lines that say that there is no room.
const FULL_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The wait after accepting failed, without which the loop would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// The handshakes of a listener, and the account of those that fail.
pub(crate) struct Handshaking {
    pub(crate) tls: Arc<TlsServer>,
    pub(crate) failed: FailedHandshakes,
}

/// A listener and its bounds.
pub(crate) struct BoundedServer {
    pub(crate) listener: ListeningSocket,
    /// Connections begin with a handshake.
    pub(crate) handshaking: Option<Arc<Handshaking>>,
    /// Connections that are served at a time.
    pub(crate) connections_max: usize,
    /// The longest life of a connection, if it has an end.
    pub(crate) connection_deadline: Option<Duration>,
    pub(crate) http: http1::Builder,
    pub(crate) told_when_full: &'static str,
}

impl BoundedServer {
    /// Accepts for ever.
    pub(crate) async fn run<F>(self, answer: impl Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static)
    where
        F: Future<Output = Result<Answer, Infallible>> + Send + 'static,
    {
        let Self { listener, handshaking, connections_max, connection_deadline, http, told_when_full } = self;
        let room = Arc::new(Semaphore::new(connections_max));
        let mut told_full: Option<Instant> = None;
        loop {
            if room.available_permits() == 0 && told_full.is_none_or(|at| at.elapsed() > FULL_LOG_INTERVAL) {
                told_full = Some(Instant::now());
                warn!(connections_max, "{told_when_full}");
            }
            let place = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((socket, peer)) => {
                    let (answer, http, handshaking) = (answer.clone(), http.clone(), handshaking.clone());
                    tokio::spawn(async move {
                        let answer = move |request| answer(request, peer);
                        let connection = begin(http, handshaking, socket, peer, answer);
                        match connection_deadline {
                            Some(deadline) => drop(timeout(deadline, connection).await),
                            None => connection.await,
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept on a listener of the control loop");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn begin<F>(
    http: http1::Builder,
    handshaking: Option<Arc<Handshaking>>,
    socket: TcpStream,
    peer: SocketAddr,
    answer: impl Fn(Request<Incoming>) -> F,
) where
    F: Future<Output = Result<Answer, Infallible>>,
{
    // An answer is small and nothing follows it: do not wait for more.
    let _ = socket.set_nodelay(true);
    let Some(handshaking) = handshaking else { return serve(http, socket, peer, answer).await };
    let Handshaking { tls, failed } = &*handshaking;
    match timeout(HANDSHAKE_DEADLINE, beginning_of(&socket)).await {
        Ok(Ok(Beginning::Handshake)) => match Box::pin(tls.shake_hands(socket)).await {
            // On the heap: a task is as large as the largest of its states.
            Ok((stream, _)) => Box::pin(serve(http, stream, peer, answer)).await,
            Err(error) => failed.add(peer, &error),
        },
        Ok(Ok(Beginning::PlainHttp)) => {
            failed.add_plain_http(peer);
            plain_http::refuse(http, socket).await;
        }
        Ok(Ok(Beginning::Nothing) | Err(_)) | Err(_) => {
            debug!(%peer, "a connection to an encrypted port ended before its handshake began");
        }
    }
}

async fn serve<F, S>(http: http1::Builder, socket: S, peer: SocketAddr, answer: impl Fn(Request<Incoming>) -> F)
where
    F: Future<Output = Result<Answer, Infallible>>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = http.serve_connection(TokioIo::new(socket), service_fn(answer));
    if let Err(error) = Pin::new(&mut connection).await {
        if is_handshake(&connection.into_parts().read_buf) {
            debug!(%peer, "a TLS handshake was sent to a port for plain HTTP; is internal_tls_cert missing");
        } else {
            debug!(%peer, %error, "a connection to the control loop ended");
        }
    }
}
