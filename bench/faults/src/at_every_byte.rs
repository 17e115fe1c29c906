//! A connection is cut behind every single byte of a response. The client has seen whole events only, comes back with
//! its last id and misses none.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use fantail_testkit::client::SubscribeRequest;
use fantail_testkit::ledger::Composed;
use fantail_testkit::proxy::Cut;
use fantail_testkit::{FaultProxy, Ledger, Mark, PATIENCE, Random, Reader, SseClient, Start, Verdict};
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

/// Cuts at every byte, with HTTP/1.1 and HTTP/1.0, by an orderly close and by a reset.
pub async fn run(fantail: &Path, mode: Mode, seed: u64) -> Result<CutResults> {
    let setup = QuietSetup::start(fantail, mode, &[]).await?;
    let (response, _follower) = PublishedResponse::publish(&setup, seed).await?;
    let response = Arc::new(response);
    let mut actors = JoinSet::new();
    for number in 0..ACTORS {
        for http_1_0 in [false, true] {
            for how in [Cut::Fin, Cut::Reset] {
                actors.spawn(cut_everywhere(Arc::clone(&response), number, http_1_0, how));
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
async fn cut_everywhere(response: Arc<PublishedResponse>, number: u64, http_1_0: bool, how: Cut) -> Result<(u64, u64)> {
    let proxy = FaultProxy::start(response.first)?;
    for cuts in 0.. {
        let bytes = number + cuts * ACTORS;
        proxy.cut_after(bytes, how);
        if cut_once(&response, &proxy, bytes, http_1_0).await? {
            return Ok((cuts, bytes));
        }
    }
    bail!("there are not so many bytes")
}

/// Whether everything came before the cut.
async fn cut_once(response: &PublishedResponse, proxy: &FaultProxy, bytes: u64, http_1_0: bool) -> Result<bool> {
    let name = format!("cut behind byte {bytes}, http 1.0 {http_1_0}");
    let begun = response.begin(proxy.addr(), name, http_1_0).await?;
    let is_whole = begun.came == response.events.len();
    begun.go_on().await?;
    Ok(is_whole)
}

/// A client whose connection was cut.
pub(crate) struct Begun<'a> {
    response: &'a PublishedResponse,
    reader: Reader,
    http_1_0: bool,
    id: String,
    /// The events that it got before.
    pub(crate) came: usize,
}

impl Begun<'_> {
    /// Asks for the rest, if there is one.
    pub(crate) async fn go_on(self) -> Result<()> {
        let Self { response, reader, http_1_0, id, came } = self;
        if came < response.events.len() {
            let mut stream = request(response.second, http_1_0).last_event_id(&id).connect().await?;
            response.read_all(&mut stream, &reader, came).await?;
        }
        reader.stopped(response.ledger.mark());
        Ok(())
    }
}

fn request(addr: SocketAddr, http_1_0: bool) -> SubscribeRequest {
    let request = SseClient::request(addr, TARGET);
    if http_1_0 { request.http_1_0() } else { request }
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

    /// Reads from the beginning until the connection ends. Only whole lines may have come.
    pub(crate) async fn begin(&self, addr: SocketAddr, name: String, http_1_0: bool) -> Result<Begun<'_>> {
        let reader = self.ledger.reader(name.clone(), &CHANNELS, Start::After(Mark::BEGINNING));
        let mut stream = request(addr, http_1_0).last_event_id(&self.start_id).send().await?;
        let came = self.read_all(&mut stream, &reader, 0).await?;
        if stream.parser().unknown_lines() > 0 {
            bail!("torn lines in a response: {name}");
        }
        let id = match stream.last_event_id() {
            "" => self.start_id.clone(),
            id => id.to_owned(),
        };
        Ok(Begun { response: self, reader, http_1_0, id, came })
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
