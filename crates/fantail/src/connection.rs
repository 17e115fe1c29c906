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
use fantail_shard::{AddressPermit, Admission, Sealer, Shard, Shed, StreamRight, Subscribe};
use fantail_telemetry::{ShardCounters, StatusClass};
use fantail_wire::Closing;
use http::{Request, StatusCode};
use hyper::body::Incoming;
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
use crate::place::Place;
use crate::plain_http::{self, Beginning, beginning_of, is_handshake};
use crate::problem::Answer;
use crate::proxy_header;
use crate::public::{Accepted, Client, Decision, PublicSettings};
use crate::refusals::Refusals;
use crate::request_log::RequestLine;
use crate::reserve::{come_back_later, turn_away};
use crate::response_head::{shed, stream_head};
use crate::stream_places::{self, StreamPlaces};
use crate::tls::{self, Shaken, TlsServer};
use crate::unflushed::Unflushed;

/// Header fields of a request; hyper answers 431 to more.
const HEADERS_MAX: usize = 64;

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
struct Peer {
    /// As the socket sees it, or as the PROXY protocol says.
    address: SocketAddr,
    /// The same, if the PROXY protocol says it.
    proxied: Option<IpAddr>,
    /// The certificate that it has shown.
    certificate: Option<ClientCertificate>,
}

/// The place where the service leaves an accepted subscribe.
type Note = Cell<Option<Noted>>;

struct Noted {
    accepted: Box<Accepted>,
    /// The client's address, if a trusted proxy gave it.
    client: Option<IpAddr>,
    places: StreamPlaces,
    line: Option<RequestLine>,
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

impl Transport for TlsStream<TcpStream> {
    async fn take_apart(self, state: TlsStreamState) -> io::Result<(std::net::TcpStream, Option<Sealer>)> {
        let (socket, sealer) = tls::take_apart(self, state).await?;
        Ok((socket, Some(sealer)))
    }
}

/// Serves a connection until it closes or becomes a stream.
pub(crate) async fn serve(
    mut socket: TcpStream,
    peer: SocketAddr,
    mut place: Place,
    entrance: Entrance,
    context: Rc<ShardContext>,
) {
    let Some(mut peer) = behind_proxy(&mut socket, peer, &context).await else { return };
    if context.settings.proxy_protocol {
        let Some(address) = context.admit(peer.address.ip()) else { return };
        place.address = address;
    }
    let Some(tls) = entrance else { return serve_on(socket, peer, place, context).await };
    let shaken = tokio::select! {
        shaken = shake_hands(&tls, socket, peer.address, &context) => shaken,
        () = drain_begins(context.draining.clone()) => return,
    };
    if let Some((stream, certificate)) = shaken {
        peer.certificate = certificate;
        serve_on(stream, peer, place, context).await;
    }
}

/// The connection behind its handshake. Plain HTTP is answered here, and has none.
async fn shake_hands(tls: &TlsServer, socket: TcpStream, peer: SocketAddr, context: &ShardContext) -> Option<Shaken> {
    let deadline = context.settings.request_deadline;
    // A connection that says nothing takes no place from those that do.
    match timeout(deadline, beginning_of(&socket)).await {
        Ok(Ok(Beginning::Handshake)) => context.handshakes.run(tls, socket, peer, deadline).await,
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

/// The peer, as the PROXY protocol says it where that is demanded. None if the connection does not begin with its header.
async fn behind_proxy(socket: &mut TcpStream, peer: SocketAddr, context: &ShardContext) -> Option<Peer> {
    let settings = &context.settings;
    if !settings.proxy_protocol {
        return Some(Peer { address: peer, proxied: None, certificate: None });
    }
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
    let Noted {
        accepted,
        client: forwarded,
        places: StreamPlaces { holder: holder_permit, address: forwarded_address },
        line,
    } = noted;
    // A trusted proxy has no place of its own, and the client that it forwards has one.
    let address_permit = forwarded_address.or(address);
    let Accepted { request, permission, framing, extra, names_stream } = *accepted;
    let Some(permission) = permission else { return };
    let forwarded = forwarded.or(peer.proxied);
    let maker = context.settings.channel_makers.of(forwarded.unwrap_or(peer.address.ip()));
    let mut right = permission.right;
    let still_holds = context.settings.access.still_holds(&permission);
    if !still_holds {
        // The right was revoked in this moment. The stream is told so, as open ones are.
        right = right.map(|right| StreamRight { ends_at: 0, ..right });
    }
    let mut head = stream_head(framing, &extra);
    if let Some(event) = permission.first_event.as_ref().filter(|_| still_holds) {
        head = [&head[..], event.bytes(framing)].concat().into();
    }
    let shed = (!names_stream).then(|| Box::new(move |reason| shed(reason, &extra)) as Shed);
    let (channels, resume, limit) = (request.channels, request.resume, request.limit);
    let subscribe = Subscribe {
        socket,
        permit,
        sealer,
        forwarded,
        right,
        holder_permit,
        address_permit,
        maker,
        channels,
        resume,
        limit,
        framing,
        head,
        shed,
    };
    let connection = context.shard.subscribe(subscribe);
    if let Some(line) = line {
        line.end(StatusCode::OK, Some(connection));
    }
}

/// Decides, and first asks for whatever the decision needs.
async fn decide(request: &Request<Incoming>, peer: &Peer, context: &ShardContext) -> Decision {
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
    let requests = &context.counters.requests;
    let answer = match decide(&request, peer, context).await {
        Decision::Answer(answer) => answer,
        Decision::Ask(_) => unreachable!("every question was answered"),
        Decision::ComeBackLater(accepted) => {
            let detail = "who may read cannot be decided now, try again";
            come_back_later(&accepted, context, Closing::AccessUnavailable, detail)
        }
        Decision::Stream(accepted) => {
            match StreamPlaces::take(&accepted, client, &context.settings, &context.admission) {
                Ok(places) if place.borrow_mut().let_in(&context.admission) => {
                    requests.add(StatusClass::Success, 1);
                    note.set(Some(Noted { accepted, client, places, line }));
                    return pending().await;
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
    if let Some(line) = line {
        line.end(answer.status(), None);
    }
    Ok(answer)
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
