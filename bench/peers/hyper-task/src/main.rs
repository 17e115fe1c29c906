//! A peer to measure against: hyper with one task per stream and one shared frame per event, handed around by a tokio
//! broadcast channel per name. It listens with TLS too if it is given a certificate. It keeps no ids and no memory of events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use fantail_bench_peer_tls::TlsListener;
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let channels = Senders::default();
    let public = TcpListener::bind("127.0.0.1:18240").await?;
    let internal = TcpListener::bind("127.0.0.1:18241").await?;
    let mut encrypted = TlsListener::bind("127.0.0.1:18242").await?;
    loop {
        let (socket, _) = tokio::select! {
            accepted = public.accept() => accepted?,
            accepted = internal.accept() => accepted?,
            stream = encrypted.accept() => {
                tokio::spawn(serve(stream, Arc::clone(&channels)));
                continue;
            }
        };
        socket.set_nodelay(true)?;
        tokio::spawn(serve(socket, Arc::clone(&channels)));
    }
}

async fn serve(connection: impl AsyncRead + AsyncWrite + Unpin, channels: Senders) {
    let service = service_fn(move |request| answer(Arc::clone(&channels), request));
    // A client that goes away in the middle is normal.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
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
