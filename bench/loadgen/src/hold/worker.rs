//! The worker's loop. It waits on one `Poll`: every connection's socket, and the waker that announces a command. A timeout
//! paces connecting and progress notices.

use std::io::{self, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mio::event::Event as Readiness;
use mio::{Events, Poll, Token, Waker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::hold::CONNECTIONS_PER_WORKER_MAX;
use crate::hold::commands::{Commands, Next};
use crate::hold::opener::Opener;
use crate::hold::stream::{StreamChange, StreamReader};
use crate::hold::stream_connection::StreamConnection;
use crate::hold::tls::TlsClient;
use crate::message::{Notice, Open, WorkerCommand, published_on};

const COMMANDS: Token = Token(usize::MAX - 1);
const EVENTS_PER_POLL: usize = 4096;
/// Large enough that a connection is nearly always emptied by one read.
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// How often pending connections are looked at, and how often progress is reported.
const CONNECT_TICK: Duration = Duration::from_millis(1);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Holds streams and checks them.
#[derive(Debug)]
pub(crate) struct Worker {
    poll: Poll,
    commands: Commands,
    /// Connection n has token n.
    connections: Vec<StreamConnection>,
    channels: u32,
    opener: Option<Opener>,
    /// The first `Open` with TLS makes it. It stays, since it has the tickets of the streams that may return.
    tls: Option<Rc<TlsClient>>,
    reader: StreamReader,
    ended: u64,
    awaited: Option<u64>,
    progress_told: (Instant, u64),
}

impl Worker {
    pub(crate) fn new() -> anyhow::Result<Self> {
        raise_descriptor_limit().context("cannot raise the descriptor limit to its hard limit")?;
        let poll = Poll::new()?;
        let commands = Commands::read_input(Waker::new(poll.registry(), COMMANDS)?);
        Ok(Self {
            poll,
            commands,
            connections: Vec::new(),
            channels: 1,
            opener: None,
            tls: None,
            reader: StreamReader::new(READ_BUFFER_BYTES)?,
            ended: 0,
            awaited: None,
            progress_told: (Instant::now(), 0),
        })
    }

    /// Works until the parent is done.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        let outcome = self.serve();
        if let Err(error) = &outcome {
            // The error below ends this worker, whether or not the parent can still hear it.
            let _ = tell(&Notice::Failed { reason: format!("{error:#}") });
        }
        outcome
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        loop {
            let timeout = if self.opener.is_some() { CONNECT_TICK } else { PROGRESS_INTERVAL };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.context("poll failed")?,
            }
            for event in &events {
                if event.token() != COMMANDS {
                    self.serve_connection(event);
                }
            }
            while let Some(next) = self.commands.next()? {
                match next {
                    Next::Command(command) => self.obey(command)?,
                    Next::End => return Ok(()),
                }
            }
            self.open_more()?;
            self.tell_counts()?;
        }
    }

    fn serve_connection(&mut self, event: &Readiness) {
        let Self { connections, reader, opener, ended, .. } = self;
        let Some(connection) = connections.get_mut(event.token().0) else { return };
        connection.ready(event, reader, &mut |change| match (change, &mut *opener) {
            (StreamChange::Opened { nanos, handshake }, Some(opener)) => opener.note_opened(nanos, handshake),
            (StreamChange::Failed { reason }, Some(opener)) => opener.note_failed(reason),
            (StreamChange::Ended, _) => *ended += 1,
            // Outside of an `Open` every stream has its answer, or nobody waits for it any more.
            (StreamChange::Opened { .. } | StreamChange::Failed { .. }, None) => {}
        });
    }

    fn obey(&mut self, command: WorkerCommand) -> anyhow::Result<()> {
        match command {
            WorkerCommand::Open(plan) => self.begin_opening(*plan)?,
            WorkerCommand::Await { deliveries } => self.awaited = Some(deliveries),
            WorkerCommand::Report { published } => self.report(published)?,
            WorkerCommand::Stop { every } => {
                let mut numbers = 0..;
                let mut is_chosen = || numbers.next().is_some_and(|number: u32| number.is_multiple_of(every.max(1)));
                tell_done(self.connections.iter_mut().map(|connection| connection.stop(&mut is_chosen)).sum())?;
            }
            WorkerCommand::Reset => tell_done(self.connections.iter_mut().map(StreamConnection::reset).sum())?,
        }
        Ok(())
    }

    fn begin_opening(&mut self, plan: Open) -> anyhow::Result<()> {
        ensure!(self.opener.is_none(), "told to open streams while still opening others");
        let new = if plan.returning { 0 } else { plan.http2.connections(plan.streams) as usize };
        let total = self.connections.len() + new;
        ensure!(
            total <= CONNECTIONS_PER_WORKER_MAX as usize,
            "told to hold {total} connections, one worker holds {CONNECTIONS_PER_WORKER_MAX}"
        );
        self.channels = plan.channels;
        // Exactly: half a million streams must not cost the memory of twice as many.
        self.connections.reserve_exact(new);
        if plan.remember_ids {
            self.reader.ids.remember();
        }
        if let (Some(options), None) = (&plan.tls, &self.tls) {
            self.tls = Some(Rc::new(TlsClient::new(&plan.subscribe, options, plan.http2, plan.keep_tickets)?));
        }
        if let Some(client) = &self.tls {
            client.serve(plan.returning);
        }
        self.reader.checker.expect_form(plan.event.clone());
        self.opener = Some(Opener::new(plan, self.tls.clone())?);
        Ok(())
    }

    fn open_more(&mut self) -> anyhow::Result<()> {
        let Some(opener) = &mut self.opener else { return Ok(()) };
        while let Some(number) = opener.next_number() {
            let at = if opener.is_returning() { number } else { self.connections.len() };
            let streams = match self.connections.get(at) {
                Some(connection) => connection.streams().map(|stream| stream.identity().clone()).collect(),
                None => opener.next_streams(),
            };
            let count = streams.len();
            let registered = opener.begin(streams).and_then(|mut begun| {
                begun.register(self.poll.registry(), Token(at))?;
                Ok(begun)
            });
            match (registered, self.connections.get_mut(at)) {
                (Ok(begun), Some(connection)) => *connection = begun,
                (Ok(begun), None) => self.connections.push(begun),
                (Err(error), _) => (0..count).for_each(|_| opener.note_failed(error.to_string())),
            }
        }
        if opener.is_overdue() {
            opener.give_up();
            self.connections.iter_mut().for_each(StreamConnection::close_unopened);
        }
        if let Some(opener) = self.opener.take_if(|opener| opener.is_done()) {
            tell(&Notice::Opened(opener.outcome()))?;
        }
        Ok(())
    }

    fn report(&mut self, published: u64) -> anyhow::Result<()> {
        let streams = self.connections.iter_mut().flat_map(StreamConnection::streams_mut);
        for stream in streams.filter(|stream| stream.is_due()) {
            let expectation = stream.expectation();
            let next = published_on(expectation.channel, self.channels, published) + 1;
            self.reader.checker.skip(expectation, next);
        }
        let mut tally = self.reader.checker.take_tally();
        tally.ended = self.ended;
        self.awaited = None;
        self.progress_told.1 = 0;
        tell(&Notice::Report(tally))
    }

    fn tell_counts(&mut self) -> anyhow::Result<()> {
        let deliveries = self.reader.checker.deliveries();
        if let Some(awaited) = self.awaited.take_if(|awaited| deliveries >= *awaited) {
            tell(&Notice::Reached { deliveries: awaited })?;
        }
        if self.progress_told.0.elapsed() < PROGRESS_INTERVAL {
            return Ok(());
        }
        if let Some(opener) = &self.opener {
            tell(&Notice::Opening { open: opener.open() })?;
        } else if deliveries != self.progress_told.1 {
            tell(&Notice::DeliveryProgress { deliveries })?;
        }
        self.progress_told = (Instant::now(), deliveries);
        Ok(())
    }
}

fn tell_done(streams: usize) -> anyhow::Result<()> {
    tell(&Notice::Done { streams: u32::try_from(streams)? })
}

fn tell(notice: &Notice) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(notice)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).context("the parent has gone")
}

pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
