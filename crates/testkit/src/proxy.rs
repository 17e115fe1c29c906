//! A TCP proxy that misbehaves on command, for the way between Fantail and Redis.
//!
//! It works in user space because not every kernel offers delay or loss. It runs on a thread of its own, so a test that
//! blocks cannot stall it. Every loop in it waits on its sockets and on one `watch` channel with the faults in force; a
//! change of the faults wakes them all.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

use crate::{
    PATIENCE,
    error::{Doing, Error, Result, within},
    port::free_port,
};

const BINDS_MAX: usize = 10;
const BIND_INTERVAL: Duration = Duration::from_millis(5);
/// After a clean cut: how long the proxy reads on so that its close does not become a reset.
const LINGER: Duration = Duration::from_secs(2);

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client of the proxy to the target.
    ToTarget,
    /// From the target back.
    FromTarget,
}

/// The way in which connections are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both sides see an orderly close.
    Fin,
    /// Both sides see a reset.
    Reset,
}

/// Cuts a stretch of bytes into pieces.
#[derive(Debug, Clone, Copy)]
struct Slicing {
    bytes: usize,
    pause: Duration,
}

/// The state of the proxy's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Open,
    Closed,
    /// Closed for good, and all connections with it.
    Ended,
}

/// Bytes that are sent in the target's name.
#[derive(Debug, Clone)]
struct Forgery {
    bytes: Arc<[u8]>,
    endless: bool,
}

/// The faults in force.
#[derive(Debug, Clone)]
struct ProxyFaults {
    target: SocketAddr,
    port: Port,
    pauses_to_target: bool,
    pauses_from_target: bool,
    delay: Duration,
    slicing: Option<Slicing>,
    forgery: Option<Forgery>,
    /// The most bytes that a connection brings from the target before it is cut.
    bytes_max: Option<u64>,
    /// Connections from before this many cuts are cut.
    cuts: u64,
    cut: Cut,
}

/// The report of the proxy's thread.
#[derive(Debug, Default)]
struct Report {
    listens: bool,
    live: BTreeSet<u64>,
    accepted: u64,
}

/// A running proxy; it and its connections end on drop.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    faults: watch::Sender<ProxyFaults>,
    report: watch::Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts one that passes everything to `target`.
    pub fn start(target: SocketAddr) -> Result<Self> {
        Self::start_from(bind()?, target)
    }

    /// Starts one at an address of the test's choice.
    pub fn start_at(addr: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = std::net::TcpListener::bind(addr).doing(format!("binding {addr} for the proxy"))?;
        listener.set_nonblocking(true).doing("making the proxy's listener nonblocking")?;
        Self::start_from(listener, target)
    }

    fn start_from(listener: std::net::TcpListener, target: SocketAddr) -> Result<Self> {
        let addr = listener.local_addr().doing("asking for the proxy's address")?;
        let (faults, faults_seen) = watch::channel(ProxyFaults {
            target,
            port: Port::Open,
            pauses_to_target: false,
            pauses_from_target: false,
            delay: Duration::ZERO,
            slicing: None,
            forgery: None,
            bytes_max: None,
            cuts: 0,
            cut: Cut::Fin,
        });
        let (reports, report) = watch::channel(Report { listens: true, ..Report::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.doing("making a runtime for the proxy")?;
        let thread = thread::spawn(move || {
            runtime.block_on(listen(listener, addr, faults_seen, reports));
        });
        Ok(Self { addr, faults, report, thread: Some(thread) })
    }

    /// The address to connect to.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends pauses, delay, slicing, forging and the bound on bytes. Connections that were cut stay cut, and a closed
    /// port stays closed.
    pub fn pass(&self) {
        self.faults.send_modify(|faults| {
            (faults.pauses_to_target, faults.pauses_from_target) = (false, false);
            (faults.delay, faults.slicing) = (Duration::ZERO, None);
            (faults.forgery, faults.bytes_max) = (None, None);
        });
    }

    /// Stops passing bytes in both directions; connections stay open and new ones are still made.
    pub fn pause(&self) {
        self.pause_direction(Direction::ToTarget);
        self.pause_direction(Direction::FromTarget);
    }

    /// Stops passing bytes in one direction.
    pub fn pause_direction(&self, direction: Direction) {
        self.faults.send_modify(|faults| match direction {
            Direction::ToTarget => faults.pauses_to_target = true,
            Direction::FromTarget => faults.pauses_from_target = true,
        });
    }

    /// Ends the pauses; held bytes go through.
    pub fn resume(&self) {
        self.faults.send_modify(|faults| (faults.pauses_to_target, faults.pauses_from_target) = (false, false));
    }

    /// Lets every piece that arrives wait this long before it is passed on.
    pub fn delay(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Passes bytes on in pieces of `bytes`, with a pause behind each so that the reader sees them apart.
    pub fn slice(&self, bytes: usize, pause: Duration) {
        let slicing = Some(Slicing { bytes: bytes.max(1), pause });
        self.faults.send_modify(|faults| faults.slicing = slicing);
    }

    /// Puts `bytes` before the next bytes of the target on a connection, each time that it sends some.
    pub fn forge(&self, bytes: impl Into<Arc<[u8]>>) {
        let forgery = Some(Forgery { bytes: bytes.into(), endless: false });
        self.faults.send_modify(|faults| faults.forgery = forgery);
    }

    /// Once the target has sent something, repeats `bytes` for as long as this fault is in force, as fast as they are
    /// taken. Bytes of the target no longer pass.
    pub fn forge_endlessly(&self, bytes: impl Into<Arc<[u8]>>) {
        let forgery = Some(Forgery { bytes: bytes.into(), endless: true });
        self.faults.send_modify(|faults| faults.forgery = forgery);
    }

    /// Cuts each connection when it has brought so many bytes from the target. The last of them do arrive.
    pub fn cut_after(&self, bytes: u64, how: Cut) {
        self.faults.send_modify(|faults| (faults.bytes_max, faults.cut) = (Some(bytes), how));
    }

    /// Sends new connections to another target; existing ones stay where they are.
    pub fn retarget(&self, target: SocketAddr) {
        self.faults.send_modify(|faults| faults.target = target);
    }

    /// Cuts all connections and waits until they are closed. New ones are accepted.
    pub async fn cut(&self, how: Cut) -> Result<()> {
        let doomed = self.report.borrow().live.clone();
        self.faults.send_modify(|faults| (faults.cuts, faults.cut) = (faults.cuts + 1, how));
        self.wait_for("the cut of all connections", |report| report.live.is_disjoint(&doomed)).await
    }

    /// Closes the port: new connections are refused, existing ones stay.
    pub async fn refuse(&self) -> Result<()> {
        self.faults.send_modify(|faults| faults.port = Port::Closed);
        self.wait_for("the close of the proxy's port", |report| !report.listens).await
    }

    /// Opens the port again.
    pub async fn accept(&self) -> Result<()> {
        self.faults.send_modify(|faults| faults.port = Port::Open);
        self.wait_for("the proxy's port to be free again", |report| report.listens).await
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.report.borrow().live.len()
    }

    /// The number of connections accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.report.borrow().accepted
    }

    /// Waits until at least this many connections were accepted since the start.
    pub async fn wait_for_accepted(&self, count: u64) -> Result<()> {
        self.wait_for(&format!("connection {count} through the proxy"), |report| report.accepted >= count).await
    }

    async fn wait_for(&self, what: &str, reached: impl FnMut(&Report) -> bool) -> Result<()> {
        let mut report = self.report.clone();
        let wait = async {
            let seen = report.wait_for(reached).await.map(drop);
            seen.map_err(|_| Error::Protocol(format!("the proxy ended before {what}")))
        };
        within(PATIENCE, what, wait).await
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.faults.send_modify(|faults| faults.port = Port::Ended);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind() -> Result<std::net::TcpListener> {
    let mut last = None;
    for _ in 0..BINDS_MAX {
        match std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()?)) {
            Ok(listener) => {
                listener.set_nonblocking(true).doing("making the proxy's listener nonblocking")?;
                return Ok(listener);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into())).doing("binding a port for the proxy")
}

async fn listen(
    listener: std::net::TcpListener,
    addr: SocketAddr,
    mut faults: watch::Receiver<ProxyFaults>,
    report: watch::Sender<Report>,
) {
    let mut listener = TcpListener::from_std(listener).ok();
    let mut connections = JoinSet::new();
    loop {
        let port = faults.borrow_and_update().port;
        match port {
            Port::Open if listener.is_none() => listener = TcpListener::bind(addr).await.ok(),
            Port::Open => {}
            Port::Closed => listener = None,
            // The runtime ends with this future, and every connection with the runtime.
            Port::Ended => return,
        }
        report.send_modify(|report| report.listens = listener.is_some());
        tokio::select! {
            stream = accept(listener.as_ref()) => {
                // Read before the connection is counted, so that a cut after the count includes it.
                let (target, cuts) = { let faults = faults.borrow(); (faults.target, faults.cuts) };
                let link = Link { number: count(&report), target, cuts, faults: faults.clone() };
                connections.spawn(link.carry(stream, report.clone()));
            }
            Some(_) = connections.join_next() => {}
            _ = faults.changed() => {}
            // Only when another process holds the port that is to be opened: try again.
            () = tokio::time::sleep(BIND_INTERVAL), if port == Port::Open && listener.is_none() => {}
        }
    }
}

/// Never completes while there is no listener; then a change of the faults wakes the loop.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, most likely; without a pause this would spin.
            Err(_) => tokio::time::sleep(BIND_INTERVAL).await,
        }
    }
}

fn count(report: &watch::Sender<Report>) -> u64 {
    let mut number = 0;
    report.send_modify(|report| {
        report.accepted += 1;
        number = report.accepted;
        report.live.insert(number);
    });
    number
}

/// One connection through the proxy.
struct Link {
    number: u64,
    target: SocketAddr,
    /// The cuts before it.
    cuts: u64,
    faults: watch::Receiver<ProxyFaults>,
}

impl Link {
    /// Carries the connection to its end.
    async fn carry(self, mut client: TcpStream, report: watch::Sender<Report>) {
        let Some(mut server) = self.connect().await else {
            // The target refuses. The connection is already accepted, so a reset is the nearest thing.
            let _ = client.set_zero_linger();
            drop(client);
            return self.gone(&report);
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        match self.pump_both(&mut client, &mut server).await {
            Some(Cut::Fin) => {
                let _ = tokio::join!(client.shutdown(), server.shutdown());
                self.gone(&report);
                // Closing with unread bytes would turn the orderly close into a reset.
                let both = async { tokio::join!(discard(&mut client), discard(&mut server)) };
                let _ = tokio::time::timeout(LINGER, both).await;
            }
            Some(Cut::Reset) => {
                let _ = (client.set_zero_linger(), server.set_zero_linger());
                drop((client, server));
                self.gone(&report);
            }
            None => self.gone(&report),
        }
    }

    /// A connection to the target, unless it refuses or a cut comes first.
    async fn connect(&self) -> Option<TcpStream> {
        tokio::select! {
            connected = TcpStream::connect(self.target) => connected.ok(),
            _ = self.cut() => None,
        }
    }

    /// Pumps both ways until both sides closed, one side broke, or a cut came. Returns the kind of end.
    async fn pump_both(&self, client: &mut TcpStream, server: &mut TcpStream) -> Option<Cut> {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pump(from_client, to_server, Direction::ToTarget, self.faults.clone());
        let back = pump(from_server, to_client, Direction::FromTarget, self.faults.clone());
        tokio::select! {
            pumped = async { tokio::try_join!(there, back) } => pumped.err().map(|broken| broken.cut()),
            cut = self.cut() => Some(cut),
        }
    }

    /// Waits for a cut that is meant for this connection.
    async fn cut(&self) -> Cut {
        let mut faults = self.faults.clone();
        let cut = faults.wait_for(|faults| faults.cuts > self.cuts).await;
        cut.map_or(Cut::Reset, |faults| faults.cut)
    }

    fn gone(&self, report: &watch::Sender<Report>) {
        report.send_modify(|report| {
            report.live.remove(&self.number);
        });
    }
}

/// The reason why pumping ends.
#[derive(Debug)]
enum Broken {
    /// One side broke, so the other must too.
    Side,
    /// It has brought all the bytes that it may.
    Spent(Cut),
}

impl Broken {
    const fn cut(&self) -> Cut {
        match self {
            Self::Side => Cut::Reset,
            Self::Spent(cut) => *cut,
        }
    }
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Side
    }
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut faults: watch::Receiver<ProxyFaults>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; 16 << 10];
    let mut passed = 0;
    loop {
        let count = from.read(&mut buffer).await?;
        let ProxyFaults { delay, slicing, forgery, bytes_max, cut, .. } = faults.borrow().clone();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // Also before passing the end on: a paused link tells nothing at all.
        passing(&mut faults, direction).await;
        if count == 0 {
            return Ok(to.shutdown().await?);
        }
        let from_target = direction == Direction::FromTarget;
        if let Some(forgery) = forgery.filter(|_| from_target) {
            forge(&mut to, &forgery, &faults).await?;
        }
        let left = bytes_max
            .filter(|_| from_target)
            .map(|max| usize::try_from(max.saturating_sub(passed)).unwrap_or(usize::MAX));
        let allowed = left.map_or(count, |left| left.min(count));
        let piece_bytes = slicing.map_or(count, |slicing| slicing.bytes);
        for piece in buffer[..allowed].chunks(piece_bytes) {
            passing(&mut faults, direction).await;
            to.write_all(piece).await?;
            if let Some(slicing) = slicing {
                tokio::time::sleep(slicing.pause).await;
            }
        }
        passed += allowed as u64;
        if left == Some(allowed) {
            return Err(Broken::Spent(cut));
        }
    }
}

/// Sends the forged bytes. An endless forgery ends with the fault, or with the connection.
async fn forge(to: &mut WriteHalf<'_>, forgery: &Forgery, faults: &watch::Receiver<ProxyFaults>) -> io::Result<()> {
    to.write_all(&forgery.bytes).await?;
    while forgery.endless && faults.borrow().forgery.is_some() {
        to.write_all(&forgery.bytes).await?;
    }
    Ok(())
}

/// Waits until this direction is not paused.
async fn passing(faults: &mut watch::Receiver<ProxyFaults>, direction: Direction) {
    let passes = |faults: &ProxyFaults| match direction {
        Direction::ToTarget => !faults.pauses_to_target,
        Direction::FromTarget => !faults.pauses_from_target,
    };
    // The sender outlives this thread, so this does end.
    let _ = faults.wait_for(passes).await;
}

async fn discard(stream: &mut TcpStream) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}
