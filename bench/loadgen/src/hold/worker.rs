//! The worker's loop. It waits on one `Poll`: every stream's socket, and the waker that announces a command. A timeout
//! paces connecting and progress notices.

use std::io::{self, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mio::event::Event as Readiness;
use mio::{Events, Poll, Token, Waker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::hold::STREAMS_PER_WORKER_MAX;
use crate::hold::commands::{Commands, Next};
use crate::hold::opener::Opener;
use crate::hold::order::Checker;
use crate::hold::stream::{Ids, Stream, StreamChange};
use crate::hold::tls::TlsClient;
use crate::message::{Notice, Open, WorkerCommand, published_on};

const COMMANDS: Token = Token(usize::MAX - 1);
const EVENTS_PER_POLL: usize = 4096;
/// One buffer for all streams; large enough that a stream is nearly always emptied by one read.
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// How often pending connections are looked at, and how often progress is reported.
const CONNECT_TICK: Duration = Duration::from_millis(1);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Holds streams and checks them.
#[derive(Debug)]
pub(crate) struct Worker {
    poll: Poll,
    commands: Commands,
    streams: Vec<Stream>,
    channels: u32,
    opener: Option<Opener>,
    /// The first `Open` with TLS makes it. It stays, since it has the tickets of the streams that may return.
    tls: Option<Rc<TlsClient>>,
    checker: Checker,
    ids: Ids,
    ended: u64,
    awaited: Option<u64>,
    buffer: Vec<u8>,
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
            streams: Vec::new(),
            channels: 1,
            opener: None,
            tls: None,
            checker: Checker::new()?,
            ids: Ids::default(),
            ended: 0,
            awaited: None,
            buffer: vec![0; READ_BUFFER_BYTES],
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
                    self.serve_stream(event);
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

    fn serve_stream(&mut self, event: &Readiness) {
        let Some(stream) = self.streams.get_mut(event.token().0) else { return };
        match (stream.ready(event, &mut self.buffer, &mut self.checker, &mut self.ids), &mut self.opener) {
            (StreamChange::Opened { nanos, handshake }, Some(opener)) => opener.note_opened(nanos, handshake),
            (StreamChange::Failed { reason }, Some(opener)) => opener.note_failed(reason),
            (StreamChange::Ended, _) => self.ended += 1,
            // Outside of an `Open` every stream has its answer: unanswered ones were closed at its end.
            (StreamChange::Same | StreamChange::Opened { .. } | StreamChange::Failed { .. }, _) => {}
        }
    }

    fn obey(&mut self, command: WorkerCommand) -> anyhow::Result<()> {
        match command {
            WorkerCommand::Open(plan) => self.begin_opening(*plan)?,
            WorkerCommand::Await { deliveries } => self.awaited = Some(deliveries),
            WorkerCommand::Report { published } => self.report(published)?,
            WorkerCommand::Stop { every } => {
                let chosen = self.streams.iter_mut().step_by(every.max(1) as usize);
                tell_done(chosen.map(Stream::stop).filter(|stopped| *stopped).count())?;
            }
            WorkerCommand::Reset => {
                tell_done(self.streams.iter_mut().map(Stream::reset).filter(|reset| *reset).count())?;
            }
        }
        Ok(())
    }

    fn begin_opening(&mut self, plan: Open) -> anyhow::Result<()> {
        ensure!(self.opener.is_none(), "told to open streams while still opening others");
        let new = if plan.returning { 0 } else { plan.streams as usize };
        let total = self.streams.len() + new;
        ensure!(
            total <= STREAMS_PER_WORKER_MAX as usize,
            "told to hold {total} streams, one worker holds {STREAMS_PER_WORKER_MAX}"
        );
        self.channels = plan.channels;
        // Exactly: half a million streams must not cost the memory of twice as many.
        self.streams.reserve_exact(new);
        if plan.remember_ids {
            self.ids.remember();
        }
        if let (Some(options), None) = (&plan.tls, &self.tls) {
            self.tls = Some(Rc::new(TlsClient::new(&plan.subscribe, options, plan.keep_tickets)?));
        }
        if let Some(client) = &self.tls {
            client.serve(plan.returning);
        }
        self.checker.expect_form(plan.event.clone());
        self.opener = Some(Opener::new(plan, self.tls.clone())?);
        Ok(())
    }

    fn open_more(&mut self) -> anyhow::Result<()> {
        let Some(opener) = &mut self.opener else { return Ok(()) };
        while let Some(number) = opener.next_number() {
            let at = if opener.is_returning() { number } else { self.streams.len() };
            let begun = match self.streams.get(at).map(Stream::identity) {
                Some((expectation, last_id)) => opener.begin(number, expectation, last_id.as_deref()),
                None => opener.begin_new(number),
            };
            let registered = begun.and_then(|mut begun| {
                begun.connection.register(self.poll.registry(), Token(at))?;
                Ok(begun)
            });
            match (registered, self.streams.get_mut(at)) {
                (Ok(begun), Some(stream)) => stream.reconnect(begun),
                (Ok(begun), None) => self.streams.push(Stream::new(begun)),
                (Err(error), _) => opener.note_failed(error.to_string()),
            }
        }
        if opener.is_overdue() {
            opener.give_up();
            self.streams.iter_mut().filter(|stream| !stream.was_opened()).for_each(Stream::close);
        }
        if let Some(opener) = self.opener.take_if(|opener| opener.is_done()) {
            tell(&Notice::Opened(opener.outcome()))?;
        }
        Ok(())
    }

    fn report(&mut self, published: u64) -> anyhow::Result<()> {
        for stream in self.streams.iter_mut().filter(|stream| stream.is_due()) {
            let expectation = stream.expectation();
            let next = published_on(expectation.channel, self.channels, published) + 1;
            self.checker.skip(expectation, next);
        }
        let mut tally = self.checker.take_tally();
        tally.ended = self.ended;
        self.awaited = None;
        self.progress_told.1 = 0;
        tell(&Notice::Report(tally))
    }

    fn tell_counts(&mut self) -> anyhow::Result<()> {
        let deliveries = self.checker.deliveries();
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
