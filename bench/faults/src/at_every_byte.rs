//! A connection is cut behind every single byte of a response. The client has seen whole events only, comes back with
//! its last id and misses none. Over TLS the handshake is cut too.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use fantail_testkit::client::SubscribeRequest;
use fantail_testkit::ledger::Composed;
use fantail_testkit::proxy::Cut;
use fantail_testkit::{Error, FaultProxy, Ledger, Mark, PATIENCE, Random, Reader, SseClient, Start, TlsTrust, Verdict};
use tokio::task::JoinSet;

use crate::mode::Mode;
use crate::quiet_setup::QuietSetup;
use fantail_testkit::trial::{PubsubForm, Way};

/// The events of the response, by their size. Some have several lines.
const SIZES: [usize; 6] = [0, 200, 900, 0, 1_500, 300];
const CHANNELS: [&str; 2] = ["a", "b"];
const TARGET: &str = "/sse?channel=a&channel=b";
/// The number of clients at a time, each with every so many bytes.
const ACTORS: u64 = 8;

/// The outcome in one mode.
#[derive(Debug)]
pub struct CutResults {
    /// The cut connections.
    pub cuts: u64,
    /// The longest response that was cut, in bytes.
    pub bytes: u64,
    /// The verdict of the ledger. Nothing may be missing, declared or not.
    pub verdict: Verdict,
}

impl CutResults {
    /// Whether every client got every event.
    pub fn is_kept(&self) -> bool {
        self.verdict.is_whole() && self.verdict.gaps == 0 && self.cuts > 0
    }
}

/// The form in which a client asks.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// HTTP/1.1 without TLS.
    Http11,
    /// HTTP/1.0 without TLS.
    Http10,
    /// HTTP/1.1 over TLS, at the first node alone.
    Tls(SocketAddr, TlsTrust),
}

/// The state that all clients share.
pub(crate) struct PublishedResponse {
    ledger: Ledger,
    events: Vec<Composed>,
    /// The id in front of the first event.
    start_id: String,
    /// The address of the response that is cut, and the address that is asked for the rest.
    first: SocketAddr,
    second: SocketAddr,
}

/// Cuts at every byte, with HTTP/1.1 and HTTP/1.0, by an orderly close and by a reset. TLS is the same in all modes, so it
/// is tried in one.
pub async fn run(fantail: &Path, mode: Mode, seed: u64) -> Result<CutResults> {
    let setup = QuietSetup::start(fantail, mode, &[]).await?;
    let mut forms = vec![Form::Http11, Form::Http10];
    if mode == Mode::Memory {
        let address = setup.nodes[0].tls().context("the node serves TLS")?;
        forms.push(Form::Tls(address, setup.trust.clone()));
    }
    let (response, _follower) = PublishedResponse::publish(&setup, seed).await?;
    let response = Arc::new(response);
    let mut actors = JoinSet::new();
    for number in 0..ACTORS {
        for form in &forms {
            // A handshake costs more than a response, so over TLS each byte is cut in one way.
            let ways: &[Cut] = match form {
                Form::Tls(..) if number % 2 == 0 => &[Cut::Fin],
                Form::Tls(..) => &[Cut::Reset],
                _ => &[Cut::Fin, Cut::Reset],
            };
            for how in ways {
                actors.spawn(cut_everywhere(Arc::clone(&response), number, form.clone(), *how));
            }
        }
    }
    let (mut cuts, mut bytes) = (0, 0);
    while let Some(ended) = actors.join_next().await {
        let (own_cuts, own_bytes) = ended??;
        cuts += own_cuts;
        bytes = bytes.max(own_bytes);
    }
    Ok(CutResults { cuts, bytes, verdict: response.judge() })
}

/// Every so many bytes, up to where the whole response comes before the cut.
async fn cut_everywhere(response: Arc<PublishedResponse>, number: u64, form: Form, how: Cut) -> Result<(u64, u64)> {
    let proxy = FaultProxy::start(response.address(&form))?;
    for cuts in 0.. {
        let bytes = number + cuts * ACTORS;
        proxy.cut_after(bytes, how);
        if cut_once(&response, &proxy, bytes, &form).await? {
            return Ok((cuts, bytes));
        }
    }
    bail!("there are not so many bytes")
}

/// Whether everything came before the cut.
async fn cut_once(response: &PublishedResponse, proxy: &FaultProxy, bytes: u64, form: &Form) -> Result<bool> {
    let begun = response.begin(proxy.addr(), format!("{}, cut behind byte {bytes}", form.name()), form).await?;
    let is_whole = begun.came == response.events.len();
    begun.go_on().await?;
    Ok(is_whole)
}

/// A client whose connection was cut.
pub(crate) struct Begun<'a> {
    response: &'a PublishedResponse,
    reader: Reader,
    form: Form,
    id: String,
    /// The events that it got before.
    pub(crate) came: usize,
}

impl Begun<'_> {
    /// Asks for the rest, if there is one.
    pub(crate) async fn go_on(self) -> Result<()> {
        let Self { response, reader, form, id, came } = self;
        if came < response.events.len() {
            let address = if let Form::Tls(address, _) = form { address } else { response.second };
            let mut stream = form.request(address).last_event_id(&id).connect().await?;
            response.read_all(&mut stream, &reader, came).await?;
        }
        reader.stopped(response.ledger.mark());
        Ok(())
    }
}

impl Form {
    const fn name(&self) -> &'static str {
        match self {
            Self::Http11 => "HTTP/1.1",
            Self::Http10 => "HTTP/1.0",
            Self::Tls(..) => "TLS",
        }
    }

    fn request(&self, addr: SocketAddr) -> SubscribeRequest {
        let request = SseClient::request(addr, TARGET);
        match self {
            Self::Http11 => request,
            Self::Http10 => request.http_1_0(),
            Self::Tls(_, trust) => request.over_tls(trust),
        }
    }
}

impl PublishedResponse {
    /// Publishes the events. The follower has seen them all.
    pub(crate) async fn publish(setup: &QuietSetup, seed: u64) -> Result<(Self, SseClient)> {
        let first = setup.nodes[0].public();
        // Every node knows a place in the log; any other place is known only to the node that gave it.
        let second = if setup.mode.has_log() { setup.nodes[1].public() } else { first };
        let mut follower = SseClient::connect(first, TARGET).await?;
        while follower.last_event_id().is_empty() {
            follower.read_more(PATIENCE).await?;
        }
        let start_id = follower.last_event_id().to_owned();
        let ledger = Ledger::new();
        let mut publisher = ledger.publisher(Random::from_seed(seed));
        let mut sender = setup.sender();
        let mut events = Vec::new();
        for (number, size) in SIZES.into_iter().enumerate() {
            let event = publisher.compose(CHANNELS[number % CHANNELS.len()], size);
            sender.send(Way::Node(0), &[CHANNELS[number % CHANNELS.len()]], &event.text, PubsubForm::Envelope).await?;
            publisher.confirm(&event);
            events.push(event);
        }
        follower.next_events(SIZES.len(), PATIENCE).await.context("the events of the response")?;
        Ok((Self { ledger, events, start_id, first, second }, follower))
    }

    pub(crate) fn judge(&self) -> Verdict {
        self.ledger.judge()
    }

    fn address(&self, form: &Form) -> SocketAddr {
        if let Form::Tls(address, _) = form { *address } else { self.first }
    }

    /// Reads from the beginning until the connection ends. Only whole lines may have come.
    pub(crate) async fn begin(&self, addr: SocketAddr, name: String, form: &Form) -> Result<Begun<'_>> {
        let reader = self.ledger.reader(name.clone(), &CHANNELS, Start::After(Mark::BEGINNING));
        let mut begun = Begun { response: self, reader, form: form.clone(), id: self.start_id.clone(), came: 0 };
        let mut stream = match form.request(addr).last_event_id(&self.start_id).send().await {
            // The handshake was cut, or the connection behind it before the request was sent.
            Err(Error::Io { .. }) if matches!(form, Form::Tls(..)) => return Ok(begun),
            sent => sent?,
        };
        begun.came = self.read_all(&mut stream, &begun.reader, 0).await?;
        if stream.parser().unknown_lines() > 0 {
            bail!("torn lines in a response: {name}");
        }
        if !stream.last_event_id().is_empty() {
            stream.last_event_id().clone_into(&mut begun.id);
        }
        Ok(begun)
    }

    /// Reads until the last event came or the connection ended. Returns the number of events, those before included.
    async fn read_all(&self, stream: &mut SseClient, reader: &Reader, mut came: usize) -> Result<usize> {
        while came < self.events.len() {
            match stream.next_event(PATIENCE).await {
                Ok(event) => {
                    reader.record(&event);
                    came += usize::from(!event.event.starts_with("fantail."));
                }
                Err(fantail_testkit::Error::Ended(_)) => break,
                Err(error) => return Err(error).context("reading a response that is cut"),
            }
        }
        Ok(came)
    }
}
