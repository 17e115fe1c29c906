//! A name server that answers what a test wants, when it wants, for programs that ask no other.
//!
//! It listens at a loopback address of its own, at the usual port of name servers. A program asks it in a mount
//! namespace of its own, in which `/etc/resolv.conf` names it. Both need the rights of root; those of a user namespace
//! are enough. Without them a test fails and says so.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use tempfile::TempDir;

use crate::{
    error::{Doing, Error, Result},
    random::Random,
};

const PORT: u16 = 53;
const BINDS_MAX: usize = 20;
/// A header, one name, and an option record.
const QUERY_BYTES_MAX: usize = 512;
const HEADER_BYTES: usize = 12;
const TYPE_A: u16 = 1;
const NO_SUCH_NAME: u8 = 3;

/// A lookup without an answer takes minutes, so that no test succeeds because the resolver gave up.
const RESOLVER_OPTIONS: &str = "options timeout:30 attempts:5";
/// Mounts both files over the system's, for this program alone.
const SCRIPT: &str = "mount --bind \"$1\" /etc/resolv.conf && mount --bind \"$2\" /etc/nsswitch.conf && \
    shift 2 && exec \"$@\"";
const RIGHTS: &str = "being a name server needs the rights of root; have them or run the test where you have: unshare \
    --map-root-user --net --mount sh -c 'ip link set lo up && cargo test --offline ...'";

/// A running name server; it ends on drop.
#[derive(Debug)]
pub struct DnsServer {
    addr: SocketAddr,
    state: Arc<Mutex<DnsAnswers>>,
    socket: UdpSocket,
    directory: TempDir,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct DnsAnswers {
    names: HashMap<String, Vec<Ipv4Addr>>,
    asked: usize,
    holds: bool,
    held: Vec<(Vec<u8>, SocketAddr)>,
    ended: bool,
}

impl DnsServer {
    /// Starts one that knows no name.
    pub fn start() -> Result<Self> {
        let socket = bind()?;
        let addr = socket.local_addr().doing("asking for the name server's address")?;
        let directory = TempDir::with_prefix("fantail-names-").doing("making a directory for resolv.conf")?;
        let resolv = format!("nameserver {}\nsearch .\n{RESOLVER_OPTIONS}\n", addr.ip());
        for (name, text) in [("resolv.conf", resolv.as_str()), ("nsswitch.conf", "hosts: files dns\n")] {
            std::fs::write(directory.path().join(name), text).doing(format!("writing {name}"))?;
        }
        let state = Arc::<Mutex<DnsAnswers>>::default();
        let (own_socket, own_state) = (socket.try_clone().doing("sharing a socket")?, Arc::clone(&state));
        let thread = thread::spawn(move || serve(&own_socket, &own_state));
        Ok(Self { addr, state, socket, directory, thread: Some(thread) })
    }

    /// From now on `name` has these addresses; none means that there is no such name.
    pub fn point(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.state().names.insert(name.to_owned(), addresses.to_vec());
    }

    /// Keeps every question from now on, unanswered.
    pub fn hold(&self) {
        self.state().holds = true;
    }

    /// Answers the kept questions, by the names as they are now, and all later ones.
    pub fn release(&self) {
        let mut state = self.state();
        state.holds = false;
        for (query, asker) in std::mem::take(&mut state.held) {
            answer(&self.socket, &state, &query, asker);
        }
    }

    /// The IPv4 lookups so far, those whose question is kept included.
    pub fn asked(&self) -> usize {
        self.state().asked
    }

    /// The command that runs `program` with this server as the only one: the program to start, and its arguments.
    pub fn command(&self, program: &str, arguments: &[&str]) -> (&'static str, Vec<String>) {
        let file = |name| self.directory.path().join(name).display().to_string();
        let mut words: Vec<_> = ["--mount", "sh", "-c", SCRIPT, "names"].map(String::from).into();
        words.extend([file("resolv.conf"), file("nsswitch.conf"), program.to_owned()]);
        words.extend(arguments.iter().map(ToString::to_string));
        ("unshare", words)
    }

    fn state(&self) -> MutexGuard<'_, DnsAnswers> {
        lock(&self.state)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.state().ended = true;
        // Wakes the thread, which then checks whether it is over.
        let _ = self.socket.send_to(&[], self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// At an address that nobody else is likely to use: a name server is found by its address alone.
fn bind() -> Result<UdpSocket> {
    let mut random = Random::from_entropy();
    let mut part = |from| from + u8::try_from(random.below(100)).unwrap_or(0);
    for _ in 0..BINDS_MAX {
        let address = Ipv4Addr::new(127, part(100), part(1), part(1));
        match UdpSocket::bind((address, PORT)) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(error).doing(RIGHTS);
            }
            Err(error) => return Err(error).doing(format!("binding {address}:{PORT}")),
        }
    }
    Err(io::Error::from(ErrorKind::AddrInUse)).doing("binding an address for the name server")
}

fn serve(socket: &UdpSocket, state: &Mutex<DnsAnswers>) {
    let mut buffer = [0; QUERY_BYTES_MAX];
    loop {
        let received = socket.recv_from(&mut buffer);
        let mut state = lock(state);
        if state.ended {
            return;
        }
        // An error is about an asker that is gone.
        let Ok((bytes, asker)) = received else { continue };
        let query = &buffer[..bytes];
        state.asked += usize::from(question(query).is_ok_and(|question| question.kind == TYPE_A));
        if state.holds {
            state.held.push((query.to_vec(), asker));
        } else {
            answer(socket, &state, query, asker);
        }
    }
}

fn lock(state: &Mutex<DnsAnswers>) -> MutexGuard<'_, DnsAnswers> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one question of a query.
struct Question {
    name: String,
    kind: u16,
    /// The place in the query where it ends.
    end: usize,
}

fn question(query: &[u8]) -> Result<Question> {
    let cut = || Error::Protocol("a DNS query ends in its question".into());
    let mut labels = Vec::new();
    let mut at = HEADER_BYTES;
    loop {
        let length = usize::from(*query.get(at).ok_or_else(cut)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length).ok_or_else(cut)?).to_lowercase());
        at += length;
    }
    let kind = query.get(at..at + 2).ok_or_else(cut)?;
    let kind = u16::from_be_bytes([kind[0], kind[1]]);
    Ok(Question { name: labels.join("."), kind, end: at + 4 })
}

/// Bytes that are no query get no answer.
fn answer(socket: &UdpSocket, state: &DnsAnswers, query: &[u8], asker: SocketAddr) {
    let Ok(question) = question(query) else { return };
    let Some(asked) = query.get(HEADER_BYTES..question.end) else { return };
    let addresses = state.names.get(&question.name).map_or(&[][..], Vec::as_slice);
    let told = if question.kind == TYPE_A { addresses } else { &[] };
    let code = if addresses.is_empty() { NO_SUCH_NAME } else { 0 };
    // The asker's number; an answer that allows further lookups; one question, so many records.
    let mut bytes = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, told.len() as u8, 0, 0, 0, 0];
    bytes.extend(asked);
    for address in told {
        // The name is the question's; an IPv4 address that must not be cached.
        bytes.extend([0xc0, HEADER_BYTES as u8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        bytes.extend(address.octets());
    }
    let _ = socket.send_to(&bytes, asker);
}
