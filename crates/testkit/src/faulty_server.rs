//! A faulty build as its clients see it: a server in front of a sound one that spoils a frame on its way.
//!
//! It relies on the chunks of HTTP/1.1: each event is one. Faults of content leave the framing sound, as a build with a
//! wrong cursor or list would.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::error::{Doing, Result};
use crate::random::Random;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Nothing.
    None,
    /// An event is not sent.
    Drop,
    /// An event is sent twice.
    Double,
    /// Two events of a stream change places.
    Swap,
    /// An event ends too early.
    Cut,
    /// An event breaks off, and the next one follows it.
    Tear,
    /// A stream gets an event of a channel that it does not follow.
    Misroute,
    /// Gaps are not sent.
    HideGaps,
}

impl Defect {
    /// Each of them, and none.
    pub const ALL: [Self; 8] =
        [Self::None, Self::Drop, Self::Double, Self::Swap, Self::Cut, Self::Tear, Self::Misroute, Self::HideGaps];
}

/// Its address, and the number of its faults. It ends with its runtime.
#[derive(Debug)]
pub struct FaultyServer {
    addr: SocketAddr,
    state: Arc<DefectState>,
}

#[derive(Debug)]
struct DefectState {
    defect: Defect,
    /// The event frame to spoil: the first possible one behind so many.
    victim: u64,
    seen: AtomicU64,
    faults: AtomicU64,
    has_retired: AtomicBool,
    /// The last event frame, and the request of its stream.
    last: Mutex<Option<(String, Vec<u8>)>>,
}

impl FaultyServer {
    /// Starts one in front of `upstream`. It spoils streams whose target says `habit=Steady`: a stream that breaks off
    /// gets lost events again when it is back.
    pub async fn start(upstream: SocketAddr, defect: Defect, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.doing("binding a port for the faulty server")?;
        let addr = listener.local_addr().doing("asking for the faulty server's address")?;
        let victim = 5 + Random::from_seed(seed ^ defect as u64).below(25);
        let (seen, faults, last) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(None));
        let has_retired = AtomicBool::new(false);
        let state = Arc::new(DefectState { defect, victim, seen, faults, has_retired, last });
        tokio::spawn(accept(listener, upstream, Arc::clone(&state)));
        Ok(Self { addr, state })
    }

    /// The address to connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Spoils no more events, so that none is hit behind which its reader leaves; gaps are still hidden.
    pub fn retire(&self) {
        self.state.has_retired.store(true, Ordering::SeqCst);
    }

    /// The number of faults so far.
    pub fn faults(&self) -> u64 {
        self.state.faults.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, state: Arc<DefectState>) {
    while let Ok((client, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // A broken connection on either side ends both; the client sees a cut response.
            let _ = serve(client, upstream, &state).await;
        });
    }
}

async fn serve(client: TcpStream, upstream: SocketAddr, state: &DefectState) -> std::io::Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = TcpStream::connect(upstream).await?.into_split();
    let mut from_client = BufReader::new(from_client);
    let request = read_head(&mut from_client).await?;
    to_server.write_all(request.as_bytes()).await?;
    let mut from_server = BufReader::new(from_server);
    let head = read_head(&mut from_server).await?;
    to_client.write_all(head.as_bytes()).await?;
    let target = request.lines().next().unwrap_or_default().to_owned();
    tokio::select! {
        passed = pass_frames(&mut from_server, &mut to_client, &target, state) => passed,
        // The client has nothing to say, so this waits for it to go away. The connection to the server ends with it.
        read = from_client.read_u8() => read.map(drop),
    }
}

/// Up to the blank line, which is part of it.
async fn read_head(from: &mut BufReader<OwnedReadHalf>) -> std::io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

async fn pass_frames(
    from: &mut BufReader<OwnedReadHalf>,
    to: &mut OwnedWriteHalf,
    target: &str,
    state: &DefectState,
) -> std::io::Result<()> {
    // A frame that waits to change places with the next one.
    let mut held = None;
    loop {
        let frame = read_chunk(from).await?;
        let is_last = frame.is_empty();
        for frame in state.spoil(frame, target, &mut held) {
            write_chunk(to, &frame).await?;
        }
        if is_last {
            to.write_all(b"0\r\n\r\n").await?;
            return to.shutdown().await;
        }
    }
}

async fn read_chunk(from: &mut BufReader<OwnedReadHalf>) -> std::io::Result<Vec<u8>> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    let length = usize::from_str_radix(line.trim_end(), 16).map_err(|_| std::io::ErrorKind::InvalidData)?;
    let mut chunk = vec![0; length + 2];
    from.read_exact(&mut chunk).await?;
    chunk.truncate(length);
    Ok(chunk)
}

async fn write_chunk(to: &mut OwnedWriteHalf, frame: &[u8]) -> std::io::Result<()> {
    if frame.is_empty() {
        return Ok(());
    }
    let chunk = [format!("{:x}\r\n", frame.len()).as_bytes(), frame, b"\r\n"].concat();
    to.write_all(&chunk).await
}

impl DefectState {
    /// The bytes that a stream gets in place of a frame.
    fn spoil(&self, frame: Vec<u8>, target: &str, held: &mut Option<Vec<u8>>) -> Vec<Vec<u8>> {
        if is_gap(&frame) && self.defect == Defect::HideGaps {
            self.faults.fetch_add(1, Ordering::SeqCst);
            return vec![];
        }
        if !is_event(&frame) {
            return vec![frame];
        }
        let other =
            self.last.lock().unwrap_or_else(PoisonError::into_inner).replace((target.to_owned(), frame.clone()));
        if let Some(held) = held.take() {
            return vec![frame, held];
        }
        // A stream that breaks off gets lost events again when it is back.
        if !target.contains("habit=Steady") {
            return vec![frame];
        }
        let seen = self.seen.fetch_add(1, Ordering::SeqCst);
        if seen < self.victim || self.faults.load(Ordering::SeqCst) > 0 || self.has_retired.load(Ordering::SeqCst) {
            return vec![frame];
        }
        let spoiled = match self.defect {
            Defect::None | Defect::HideGaps => None,
            Defect::Drop => Some(vec![]),
            Defect::Double => Some(vec![frame.clone(), frame.clone()]),
            Defect::Swap => {
                *held = Some(frame.clone());
                Some(vec![])
            }
            Defect::Cut => Some(vec![[half(&frame), b"\n\n"].concat()]),
            Defect::Tear => Some(vec![half(&frame).to_vec()]),
            Defect::Misroute => {
                other.filter(|(of, other)| is_foreign(of, other, target)).map(|(_, other)| vec![frame.clone(), other])
            }
        };
        if spoiled.is_some() {
            self.faults.fetch_add(1, Ordering::SeqCst);
        }
        spoiled.unwrap_or_else(|| vec![frame])
    }
}

fn is_gap(frame: &[u8]) -> bool {
    contains(frame, b"event: fantail.gap")
}

fn is_event(frame: &[u8]) -> bool {
    contains(frame, b"data: ") && !is_gap(frame)
}

/// Whether an event for one stream would be wrong in another: no channel's name stands in both.
fn is_foreign(of: &str, event: &[u8], target: &str) -> bool {
    let channels = |target: &str| -> Vec<String> {
        let query = target.split(['?', '&', ' ']);
        query.filter_map(|part| part.strip_prefix("channel=").map(|name| format!("\"{name}\""))).collect()
    };
    of != target && channels(target).iter().all(|channel| !contains(event, channel.as_bytes()))
}

/// The first half, without breaking a character.
fn half(frame: &[u8]) -> &[u8] {
    let middle = str::from_utf8(frame).map_or(frame.len() / 2, |text| text.floor_char_boundary(frame.len() / 2));
    &frame[..middle]
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}
