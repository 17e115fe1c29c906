//! A peer to measure against: hyper with one task per stream and one shared frame per event, handed around by a tokio
//! broadcast channel per name. It speaks HTTP/2 on a port of its own, and over TLS with clients that choose it. It listens with
//! TLS if it is given a certificate. It keeps no ids and no memory of events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use fantail_bench_peer_tls::{TlsListener, speaks_http2};
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, error::RecvError};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events that a slow stream may lag behind.
const BACKLOG: usize = 64;

type Senders = Arc<Mutex<HashMap<String, broadcast::Sender<Bytes>>>>;

/// The wait for the next frame. It owns the receiver and hands it back, so that a body can hold it between polls.
type Next = Pin<Box<dyn Future<Output = (Result<Bytes, RecvError>, broadcast::Receiver<Bytes>)> + Send>>;

struct Frames {
    next: Next,
}

/// The version of HTTP that a connection speaks.
#[derive(Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let channels = Senders::default();
    let public = TcpListener::bind("127.0.0.1:18240").await?;
    let internal = TcpListener::bind("127.0.0.1:18241").await?;
    let mut encrypted = TlsListener::bind("127.0.0.1:18242").await?;
    let public_http2 = TcpListener::bind("127.0.0.1:18243").await?;
    loop {
        let ((socket, _), version) = tokio::select! {
            accepted = public.accept() => (accepted?, Version::Http1),
            accepted = public_http2.accept() => (accepted?, Version::Http2),
            accepted = internal.accept() => (accepted?, Version::Http1),
            stream = encrypted.accept() => {
                let version = if speaks_http2(&stream) { Version::Http2 } else { Version::Http1 };
                serve(stream, version, &channels);
                continue;
            }
        };
        socket.set_nodelay(true)?;
        serve(socket, version, &channels);
    }
}

/// The task of a connection is as large as its version needs.
fn serve(connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, version: Version, channels: &Senders) {
    let channels = Arc::clone(channels);
    let service = service_fn(move |request| answer(Arc::clone(&channels), request));
    let connection = TokioIo::new(connection);
    // A client that goes away in the middle is normal.
    match version {
        Version::Http1 => {
            tokio::spawn(async move { drop(http1::Builder::new().serve_connection(connection, service).await) });
        }
        Version::Http2 => {
            let builder = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(async move { drop(builder.serve_connection(connection, service).await) });
        }
    }
}

async fn answer(
    channels: Senders,
    request: Request<Incoming>,
) -> Result<Response<Either<Frames, Empty<Bytes>>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let mut response = Response::new(Either::Right(Empty::new()));
    if let Some(channel) = path.strip_prefix("/sub/") {
        let receiver = sender(&channels, channel).subscribe();
        response = Response::new(Either::Left(Frames { next: next(receiver) }));
        let event_stream = hyper::header::HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, event_stream);
    } else if let Some(channel) = path.strip_prefix("/pub/") {
        let data = request.into_body().collect().await?.to_bytes();
        let frame = [b"data: ", data.as_ref(), b"\n\n"].concat();
        // Without a subscriber the event has nowhere to go.
        let _ = sender(&channels, channel).send(frame.into());
        *response.status_mut() = StatusCode::ACCEPTED;
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

fn sender(channels: &Senders, channel: &str) -> broadcast::Sender<Bytes> {
    let mut channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
    channels.entry(channel.to_owned()).or_insert_with(|| broadcast::channel(BACKLOG).0).clone()
}

fn next(mut receiver: broadcast::Receiver<Bytes>) -> Next {
    Box::pin(async move { (receiver.recv().await, receiver) })
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let Poll::Ready((frame, receiver)) = self.next.as_mut().poll(context) else { return Poll::Pending };
            self.next = next(receiver);
            match frame {
                Ok(frame) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
                // The load generator counts skipped events.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Poll::Ready(None),
            }
        }
    }
}
