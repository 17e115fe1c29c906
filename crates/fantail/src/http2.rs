//! HTTP/2 connections: their requests are decided here, by the same rules as those of HTTP/1.
//!
//! The shard has the connection from its first byte on, and reads the requests. Each is decided by a task of its own, and its answer goes back to
//! the shard: a stream, or a whole answer. The connection may be gone by then. Then the answer is dropped, and the places that the
//! stream has taken are given back.

use std::rc::Rc;

use bytes::Bytes;
use fantail_access::ClientCertificate;
use fantail_shard::{
    HTTP2_PREFACE, Http2Connection, Http2Request, Http2Stream, Requests, SubscribeOn, TlsSealer, TlsUnsealer,
    WholeAnswer,
};
use fantail_telemetry::StatusClass;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Either, Empty, Full};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::access::unix_second;
use crate::connection::{Judged, Noted, Peer, ShardContext, judge};
use crate::place::Place;
use crate::problem::{Answer, Problem};
use crate::request_log::RequestLine;
use crate::response_head::header_block;

/// The requests of one connection.
struct PeersRequests {
    peer: Peer,
    /// The authorities of client certificates at its beginning.
    authorities: u64,
    context: Rc<ShardContext>,
}

/// Gives a connection to the shard, with the text that was read of it. Nothing happens if it has no place: those in the reserve speak HTTP/1.
pub(crate) fn serve(
    socket: std::net::TcpStream,
    tls: Option<(TlsSealer, TlsUnsealer)>,
    text: Vec<u8>,
    peer: Peer,
    place: Place,
    context: Rc<ShardContext>,
) {
    let Some((permit, address_permit)) = place.into_permits() else { return };
    let shard = context.shard.clone();
    let authorities = context.settings.access.client_authorities();
    let requests = Rc::new(PeersRequests { peer, authorities, context });
    shard.serve_http2(Http2Connection { socket, tls, text, permit, address_permit, requests });
}

/// Whether the client's first bytes are those of HTTP/2. They are looked at and not taken. Four of them decide: no client sends fewer at first, and
/// no request of HTTP/1 begins so.
pub(crate) async fn is_spoken_on(socket: &TcpStream) -> bool {
    let mut first = [0; HTTP2_PREFACE.len()];
    let seen = socket.peek(&mut first).await.unwrap_or_default();
    seen >= 4 && HTTP2_PREFACE.starts_with(&first[..seen])
}

impl Requests for PeersRequests {
    fn decide(self: Rc<Self>, request: Http2Request) {
        spawn_local(async move { self.answer(request).await });
    }
}

impl PeersRequests {
    async fn answer(&self, Http2Request { stream, request, has_body }: Http2Request) {
        let Self { peer, context, .. } = self;
        let (head, ()) = request.into_parts();
        let body = if has_body {
            Either::Right(Full::new(Bytes::from_static(b"dropped")))
        } else {
            Either::Left(Empty::new())
        };
        let request: Request<Either<Empty<Bytes>, Full<Bytes>>> = Request::from_parts(head, body);
        let client = context.settings.client(peer.address, request.headers());
        let line = RequestLine::begin("public", Some(peer.address), client, &request);
        let counted = Some(client.unwrap_or(peer.address.ip()));
        let counts = self.counts_still();
        let judged = if counts {
            judge(&request, peer, client, counted, context, || true).await
        } else {
            let detail = "your certificate or its authorities count no longer: connect again";
            context.counters.requests.add(StatusClass::ClientError, 1);
            Judged::Answer(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into())
        };
        match judged {
            Judged::Stream(accepted, places) => {
                let noted = Noted { accepted, client, places, line };
                context.begin_stream(SubscribeOn::Tab(stream), noted, peer, None);
            }
            Judged::Answer(answer) => {
                if let Some(line) = line {
                    line.end(answer.status(), None);
                }
                self.send(stream, answer, request.method() == Method::HEAD).await;
                if !counts {
                    context.shard.ask_to_leave(stream);
                }
            }
        }
    }

    /// Whether a handshake now would let the client in as its own did. Over HTTP/1 each stream has a handshake of its own.
    fn counts_still(&self) -> bool {
        let holds = |certificate: &ClientCertificate| certificate.holds_at(unix_second().into());
        self.authorities == self.context.settings.access.client_authorities()
            && self.peer.certificate.as_ref().is_none_or(holds)
    }

    async fn send(&self, stream: Http2Stream, answer: Answer, is_head: bool) {
        let (mut head, body) = answer.into_parts();
        let Ok(body) = body.collect().await;
        let body = body.to_bytes();
        if !body.is_empty() {
            head.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let fields = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let head = header_block(head.status, fields);
        let body = if is_head { Bytes::new() } else { body };
        self.context.shard.answer(stream, WholeAnswer { head, body });
    }
}
