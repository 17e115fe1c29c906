//! One public connection: hyper reads the request, and if it is a subscribe the socket leaves hyper.
//!
//! hyper keeps two buffers of 8 KiB for the life of a connection, which is what an idle stream must not cost. For an
//! accepted subscribe the service leaves a note and never answers. The task polls the connection by hand, sees the note,
//! takes the connection apart and gives the bare socket to the shard. It does so before the feed has confirmed, so that
//! waiting costs no buffers either.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context;
use fantail_access::ClientCertificate;
use fantail_config::TlsStreamState;
use fantail_shard::{AddressPermit, Admission, Sealer, Shard, Shed, StreamRight, Subscribe, SubscribeOn};
use fantail_telemetry::{ShardCounters, StatusClass};
use fantail_wire::Closing;
use http::{Request, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::accept::Entrance;
use crate::access::Answers;
use crate::handshakes::Handshakes;
use crate::http2;
use crate::place::Place;
use crate::plain_http::{self, Beginning, beginning_of, is_handshake};
use crate::problem::Answer;
use crate::proxy_header;
use crate::public::{Accepted, Client, Decision, PublicSettings};
use crate::refusals::Refusals;
use crate::request_log::RequestLine;
use crate::reserve::{come_back_later, turn_away};
use crate::response_head::{HeadForm, shed, stream_head};
use crate::stream_places::{self, StreamPlaces};
use crate::tls::{self, Halves, RecordEdges, Shaken, TlsServer};
use crate::unflushed::Unflushed;

/// Header fields of a request; hyper answers 431 to more.
pub(crate) const HEADERS_MAX: usize = 64;

/// How long a connection that was accepted in the drain has for its request.
const FIRST_READ: Duration = Duration::from_millis(500);

/// The parts that all connections of a shard share.
pub(crate) struct ShardContext {
    pub(crate) shard: Shard,
    pub(crate) settings: Arc<PublicSettings>,
    pub(crate) counters: Arc<ShardCounters>,
    pub(crate) admission: Arc<Admission>,
    /// Becomes true when the process is about to end.
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) refusals: Refusals,
    pub(crate) handshakes: Handshakes,
}

impl ShardContext {
    /// Lets a new connection in, with its place among those of its address, if that has one. None if a bound refuses it, which
    /// is counted.
    #[allow(clippy::option_option, reason = "an address that is not counted is let in without a place")]
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Option<AddressPermit>> {
        let admitted = self.settings.connections.admit(address, &self.admission);
        admitted.map_err(|bound| self.refusals.add(bound, address)).ok()
    }
}

/// The other end of a connection.
pub(crate) struct Peer {
    /// As the socket sees it, or as the PROXY protocol says.
    pub(crate) address: SocketAddr,
    /// The same, if the PROXY protocol says it.
    proxied: Option<IpAddr>,
    /// The certificate that it has shown.
    pub(crate) certificate: Option<ClientCertificate>,
}

/// The place where the service leaves an accepted subscribe.
type Note = Cell<Option<Noted>>;

/// An accepted subscribe.
pub(crate) struct Noted {
    pub(crate) accepted: Box<Accepted>,
    /// The client's address, if a trusted proxy gave it.
    pub(crate) client: Option<IpAddr>,
    pub(crate) places: StreamPlaces,
    pub(crate) line: Option<RequestLine>,
}

/// The outcome of a request. Both are counted.
pub(crate) enum Judged {
    Answer(Answer),
    Stream(Box<Accepted>, StreamPlaces),
}

/// The layer between a socket and the HTTP server.
trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The bare socket, and what seals the bytes that are yet to be sent.
    async fn take_apart(self, state: TlsStreamState) -> io::Result<(std::net::TcpStream, Option<Sealer>)>;
}

impl Transport for TcpStream {
    async fn take_apart(self, _: TlsStreamState) -> io::Result<(std::net::TcpStream, Option<Sealer>)> {
        Ok((self.into_std()?, None))
    }
}

impl Transport for TlsStream<RecordEdges> {
    async fn take_apart(self, state: TlsStreamState) -> io::Result<(std::net::TcpStream, Option<Sealer>)> {
        let (socket, sealer) = Box::pin(tls::take_apart(self, state)).await?;
        Ok((socket, Some(sealer)))
    }
}

/// Serves a connection until it closes or becomes a stream.
///
/// A task is as large as the largest of its states. So the states that few connections come to stand on the heap.
pub(crate) async fn serve(
    mut socket: TcpStream,
    peer: SocketAddr,
    mut place: Place,
    entrance: Entrance,
    context: Rc<ShardContext>,
) {
    let mut peer = Peer { address: peer, proxied: None, certificate: None };
    if context.settings.proxy_protocol {
        let Some(client) = Box::pin(behind_proxy(&mut socket, peer.address, &context)).await else { return };
        let Some(address) = context.admit(client.address.ip()) else { return };
        (peer, place.address) = (client, address);
    }
    if let Some(tls) = entrance {
        return Box::pin(serve_encrypted(tls, socket, peer, place, context)).await;
    }
    if context.settings.http2_plain && !place.is_in_reserve() && Box::pin(is_http2(&socket, &context)).await {
        let Ok(socket) = socket.into_std() else { return };
        return http2::serve(socket, None, Vec::new(), peer, place, context);
    }
    serve_on(socket, peer, place, context).await;
}

/// The same for a connection that begins with a handshake.
async fn serve_encrypted(
    tls: Arc<TlsServer>,
    socket: TcpStream,
    mut peer: Peer,
    place: Place,
    context: Rc<ShardContext>,
) {
    // A place in the reserve is for one answer, of HTTP/1.
    let may_speak_http2 = !place.is_in_reserve();
    let shaken = tokio::select! {
        shaken = shake_hands(&tls, socket, peer.address, may_speak_http2, &context) => shaken,
        () = drain_begins(context.draining.clone()) => return,
    };
    let Some((stream, certificate)) = shaken else { return };
    peer.certificate = certificate;
    if !tls::speaks_http2(&stream) {
        return serve_on(stream, peer, place, context).await;
    }
    let halves = tokio::select! {
        halves = timeout(context.settings.request_deadline, tls::take_both_halves(stream)) => {
            halves.map_err(io::Error::from).flatten()
        }
        () = drain_begins(context.draining.clone()) => return,
    };
    match halves {
        Ok(Halves { socket, sealer, unsealer, text }) => {
            http2::serve(socket, Some((sealer, unsealer)), text, peer, place, context);
        }
        Err(error) => debug!(%error, "a connection cannot speak HTTP/2"),
    }
}

/// The connection behind its handshake. Plain HTTP is answered here, and has none.
async fn shake_hands(
    tls: &TlsServer,
    socket: TcpStream,
    peer: SocketAddr,
    may_speak_http2: bool,
    context: &ShardContext,
) -> Option<Shaken> {
    let deadline = context.settings.request_deadline;
    // A connection that says nothing takes no place from those that do.
    match timeout(deadline, beginning_of(&socket)).await {
        Ok(Ok(Beginning::Handshake)) => context.handshakes.run(tls, socket, peer, may_speak_http2, deadline).await,
        Ok(Ok(Beginning::PlainHttp)) => {
            context.handshakes.add_plain_http(peer);
            plain_http::refuse(http(&context.settings, false), socket).await;
            None
        }
        Ok(Ok(Beginning::Nothing) | Err(_)) | Err(_) => {
            debug!(%peer, "a connection to an encrypted port ended before its handshake began");
            None
        }
    }
}

async fn serve_on<S: Transport>(socket: S, peer: Peer, place: Place, context: Rc<ShardContext>) {
    let note = Note::default();
    // A place in the reserve is for one answer.
    let http = http(&context.settings, !place.is_in_reserve());
    let place = RefCell::new(place);
    let service = service_fn(|request| answer(request, &peer, &context, &place, &note));
    let (socket, flushed) = Unflushed::new(socket);
    let mut connection = http.serve_connection(TokioIo::new(socket), service);
    let mut drain_begins = pin!(drain_begins(context.draining.clone()));
    let mut drain_seen = false;

    let accepted = poll_fn(|cx| {
        // The watch wakes this task once, when the drain begins. A request under way is finished; an idle connection is
        // closed.
        if !drain_seen && drain_begins.as_mut().poll(cx).is_ready() {
            drain_seen = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(end) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(end.map(|()| None));
        }
        // While hyper's buffer holds an earlier answer the socket stays. hyper goes on writing, and its waiting for
        // room wakes this task again.
        if flushed.get()
            && let Some(noted) = note.take()
        {
            return Poll::Ready(Ok(Some(noted)));
        }
        Poll::Pending
    });
    match accepted.await {
        Ok(None) => {}
        Ok(Some(noted)) => {
            let stream = connection.into_parts().io.into_inner().into_inner();
            match stream.take_apart(context.settings.tls_stream_state).await {
                Ok((socket, sealer)) => hand_over(socket, sealer, &peer, noted, place.into_inner(), &context),
                Err(error) => debug!(%error, "a connection cannot become a stream"),
            }
        }
        Err(error) => {
            let peer = peer.address;
            if is_handshake(&connection.into_parts().read_buf) {
                debug!(%peer, "a TLS handshake was sent to a port for plain HTTP; does the client mean tls_listen");
            } else {
                debug!(%peer, %error, "a connection ended before it became a stream");
            }
        }
    }
}

/// The peer as the PROXY protocol says it. None if the connection does not begin with its header.
async fn behind_proxy(socket: &mut TcpStream, peer: SocketAddr, context: &ShardContext) -> Option<Peer> {
    let settings = &context.settings;
    let taken = async {
        anyhow::ensure!(
            settings.trusted_proxies.contains(peer.ip()),
            "it does not come from one of the trusted_proxies"
        );
        proxy_header::take(socket).await
    };
    let taken = tokio::select! {
        taken = timeout(settings.request_deadline, taken) => taken.context("it did not come in time").flatten(),
        () = drain_begins(context.draining.clone()) => return None,
    };
    match taken {
        Ok(client) => {
            let proxied = client.map(|client| client.ip().to_canonical());
            Some(Peer { address: client.unwrap_or(peer), proxied, certificate: None })
        }
        Err(error) => {
            context.counters.proxy_headers_missing.add(1);
            debug!(%peer, %error, "a connection was closed for want of a header of the PROXY protocol");
            None
        }
    }
}

/// Completes when a connection without a request is to be closed: as the drain begins, or a little later for one that
/// was accepted in the drain. Its request may be there already, but a new socket is read only when the poll has seen
/// it.
async fn drain_begins(mut draining: watch::Receiver<bool>) {
    if *draining.borrow() {
        return tokio::time::sleep(FIRST_READ).await;
    }
    // An error means that the sender is gone: the process is past draining.
    let _ = draining.wait_for(|draining| *draining).await;
}

/// Whether the client begins with HTTP/2, within the deadline of its request.
async fn is_http2(socket: &TcpStream, context: &ShardContext) -> bool {
    tokio::select! {
        is_spoken = timeout(context.settings.request_deadline, http2::is_spoken_on(socket)) => is_spoken.unwrap_or(false),
        () = drain_begins(context.draining.clone()) => false,
    }
}

/// Gives the socket to the shard. Bytes behind the request are dropped with hyper's buffer: the head says
/// `Connection: close`, so they are no request.
fn hand_over(
    socket: std::net::TcpStream,
    sealer: Option<Sealer>,
    peer: &Peer,
    noted: Noted,
    place: Place,
    context: &ShardContext,
) {
    let Some((permit, address)) = place.into_permits() else { return };
    context.begin_stream(SubscribeOn::Socket { socket, permit, sealer }, noted, peer, address);
}

impl ShardContext {
    /// Makes a stream of an accepted subscribe. `address` is the place of its socket, if it has one of its own.
    pub(crate) fn begin_stream(&self, on: SubscribeOn, noted: Noted, peer: &Peer, address: Option<AddressPermit>) {
        let Noted {
            accepted,
            client: forwarded,
            places: StreamPlaces { stream: stream_permit, holder: holder_permit, address: own_address },
            line,
        } = noted;
        // A trusted proxy has no place of its own, and the client that it forwards has one.
        let address_permit = own_address.or(address);
        let Accepted { request, permission, framing, extra, names_stream } = *accepted;
        let Some(permission) = permission else { return };
        let forwarded = forwarded.or(peer.proxied);
        let maker = self.settings.channel_makers.of(forwarded.unwrap_or(peer.address.ip()));
        let mut right = permission.right;
        let still_holds = self.settings.access.still_holds(&permission);
        if !still_holds {
            // The right was revoked in this moment. The stream is told so, as open ones are.
            right = right.map(|right| StreamRight { ends_at: 0, ..right });
        }
        let first_event = permission.first_event.filter(|_| still_holds);
        let form = match on {
            SubscribeOn::Socket { .. } => HeadForm::Http1(framing),
            SubscribeOn::Tab(_) => HeadForm::Http2,
        };
        let head = stream_head(form, &extra);
        let shed = (!names_stream).then(|| Box::new(move |reason| shed(reason, form, &extra)) as Shed);
        let (channels, resume, limit) = (request.channels, request.resume, request.limit);
        let subscribe = Subscribe {
            on,
            forwarded,
            right,
            stream_permit,
            holder_permit,
            address_permit,
            maker,
            channels,
            resume,
            limit,
            framing,
            head,
            first_event,
            shed,
        };
        let connection = self.shard.subscribe(subscribe);
        if let Some(line) = line {
            line.end(StatusCode::OK, connection);
        }
    }
}

/// Decides, and first asks for whatever the decision needs.
async fn decide<B: Body>(request: &Request<B>, peer: &Peer, context: &ShardContext) -> Decision {
    let mut answers = Answers::default();
    let client = Client { peer: peer.address, certificate: peer.certificate.as_ref() };
    loop {
        match context.settings.decide(request, client, &answers) {
            Decision::Ask(question) => context.settings.access.ask(question, &mut answers).await,
            decided => return decided,
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: &Peer,
    context: &ShardContext,
    place: &RefCell<Place>,
    note: &Note,
) -> Result<Answer, Infallible> {
    let client = context.settings.client(peer.address, request.headers());
    let line = RequestLine::begin("public", Some(peer.address), client, &request);
    let let_in = || place.borrow_mut().let_in(&context.admission);
    match judge(&request, peer, client, client, context, let_in).await {
        Judged::Stream(accepted, places) => {
            note.set(Some(Noted { accepted, client, places, line }));
            pending().await
        }
        Judged::Answer(answer) => {
            if let Some(line) = line {
                line.end(answer.status(), None);
            }
            Ok(answer)
        }
    }
}

/// Decides about a request, takes the places of a stream, and counts the answer. `counted` is the address that needs a place for it.
/// `let_in` tells whether its connection has one.
pub(crate) async fn judge<B: Body>(
    request: &Request<B>,
    peer: &Peer,
    client: Option<IpAddr>,
    counted: Option<IpAddr>,
    context: &ShardContext,
    let_in: impl FnOnce() -> bool,
) -> Judged {
    let requests = &context.counters.requests;
    let answer = match decide(request, peer, context).await {
        Decision::Answer(answer) => answer,
        Decision::Ask(_) => unreachable!("every question was answered"),
        Decision::ComeBackLater(accepted) => {
            let detail = "who may read cannot be decided now, try again";
            come_back_later(&accepted, context, Closing::AccessUnavailable, detail)
        }
        Decision::Stream(accepted) => {
            match StreamPlaces::take(&accepted, counted, &context.settings, &context.admission) {
                Ok(places) if let_in() => {
                    requests.add(StatusClass::Success, 1);
                    return Judged::Stream(accepted, places);
                }
                Ok(_) => turn_away(&accepted, context),
                Err(bound) => {
                    context.refusals.add(bound, client.unwrap_or(peer.address.ip()));
                    let (reason, detail) = stream_places::told(bound);
                    come_back_later(&accepted, context, reason, detail)
                }
            }
        }
    };
    requests.add(StatusClass::of(answer.status().as_u16()), 1);
    Judged::Answer(answer)
}

fn http(settings: &PublicSettings, keep_alive: bool) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The deadline runs from the accept to the end of the first head, and again between requests. Twice the head's
    // bound lets the node answer a head that is a little too large with more than a bare 431. A client that closes its
    // side right behind its request is still answered.
    http.timer(TokioTimer::new())
        .half_close(true)
        .keep_alive(keep_alive)
        .header_read_timeout(settings.request_deadline)
        .max_headers(HEADERS_MAX)
        .max_buf_size(settings.head_bytes_max.max(8 * 1024) * 2);
    http
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_task<F>(_: impl FnOnce(TcpStream, SocketAddr, Place, Entrance, Rc<ShardContext>) -> F) -> usize {
        size_of::<F>()
    }

    fn size_of_answer<F>(
        _: impl FnOnce(Request<Incoming>, &'static Peer, &'static ShardContext, &'static RefCell<Place>, &'static Note) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// Strangers may hold `connections_max` connections that ask for nothing. At 11 KB, or 23 for one without a place, the tasks of ten
    /// thousand of them would take 110 MB.
    #[test]
    fn the_task_of_a_connection_and_the_future_of_its_request_are_small() {
        let (task, answer) = (size_of_task(serve), size_of_answer(answer));
        assert!(task <= 2560 && answer <= 1408, "{task}, {answer}");
    }
}
