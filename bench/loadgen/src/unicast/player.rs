//! Plays a round in one thread. It waits on one `Poll`: the streams, the publishing connections, and the timer of an open
//! loop. A timeout only ends rounds in which nothing happens any more.

use std::time::{Duration, Instant};

use mio::{Events, Token};
use rustix::time::{ClockId, clock_gettime};

use crate::clock::now_nanos;
use crate::latency::Latency;
use crate::round::{FaultCounts, HEAD_START_NANOS, LINGER};
use crate::unicast::UnicastSetup;
use crate::unicast::pace::{LoadOptions, UnicastPace};
use crate::unicast::publisher::UnicastPublisher;
use crate::unicast::requests::Requests;
use crate::unicast::round::{Measured, UnicastRound, UnicastServerUse};
use crate::unicast::server_use::ServerThreads;
use crate::unicast::streams::wait;
use crate::unicast::timer::Timer;

const TIMER: Token = Token(usize::MAX - 1);
/// Connections come behind all streams.
const PUBLISHER_BASE: usize = 1 << 32;
const EVENTS_PER_POLL: usize = 1024;
/// How often the loop looks at the time when nothing happens.
const TICK: Duration = Duration::from_millis(50);

/// A round under way.
#[derive(Debug)]
struct Player<'a> {
    setup: &'a mut UnicastSetup,
    options: &'a LoadOptions,
    publisher: UnicastPublisher,
    timer: Timer,
    events: Events,
    began_nanos: u64,
    /// Events whose time has come.
    due: u64,
    published: u64,
    /// Of the warm-up and before it.
    delivered_before: u64,
    faults_before: FaultCounts,
    gaps_before: u64,
    /// Deliveries and answers at the last progress, and its time.
    progress: (u64, Instant),
}

/// The time of a reading, and what had been used by then.
struct Reading {
    taken: Instant,
    delivered: u64,
    own: Duration,
    server: ServerThreads,
}

impl UnicastSetup {
    /// Publishes until the limit of `options`, and waits for what is under way.
    pub(crate) fn play(&mut self, options: &LoadOptions) -> anyhow::Result<UnicastRound> {
        let channels = self.streams.count();
        let requests = Requests::new(&self.target, &self.channel_prefix, u32::try_from(channels)?, options.payload);
        let registry = self.poll.registry();
        let publisher = UnicastPublisher::connect(&self.target, options, requests, registry, PUBLISHER_BASE, channels)?;
        let timer = Timer::new(registry, TIMER)?;
        // A second copy of an event may have come after its round.
        let late = self.streams.take_tally();
        Player {
            options,
            publisher,
            timer,
            events: Events::with_capacity(EVENTS_PER_POLL),
            began_nanos: now_nanos() + HEAD_START_NANOS,
            due: if options.rate.is_some() { 0 } else { u64::MAX },
            published: 0,
            delivered_before: 0,
            faults_before: FaultCounts::of(&late),
            gaps_before: late.gaps,
            progress: (0, Instant::now()),
            setup: self,
        }
        .play()
    }
}

impl Player<'_> {
    fn play(mut self) -> anyhow::Result<UnicastRound> {
        let warm_up = self.options.warm_up.unwrap_or(self.setup.streams.count() as u64);
        let warm = self.publish_while(|player, _| player.delivered() < warm_up, u64::MAX)?;
        self.forget_warm_up();
        let begin = self.read()?;
        let (events, seconds) = (self.options.events, self.options.seconds_most().map(Duration::from_secs_f64));
        let goes_on = |player: &Self, now: Instant| {
            events.is_none_or(|events| player.delivered() < begin.delivered + events)
                && seconds.is_none_or(|seconds| now.duration_since(begin.taken) < seconds)
        };
        let events_most = events.map_or(u64::MAX, |events| begin.delivered + events);
        let measured = warm && self.publish_while(goes_on, events_most)?;
        let end = self.read()?;
        let is_closed = self.options.pace() == UnicastPace::Closed;
        let unsent = if is_closed { 0 } else { self.due.min(events_most).saturating_sub(self.published) };
        let drained = self.drain()?;
        self.finish(&begin, &end, unsent, measured && drained)
    }

    /// Publishes and listens while `goes_on`; false if nothing came any more.
    fn publish_while(&mut self, goes_on: impl Fn(&Self, Instant) -> bool, events_most: u64) -> anyhow::Result<bool> {
        loop {
            let now = Instant::now();
            if !goes_on(self, now) {
                return Ok(true);
            }
            if self.is_stuck(now) {
                return Ok(false);
            }
            self.publish(events_most)?;
            self.listen(TICK)?;
        }
    }

    /// Latency counts from here on; faults stay.
    fn forget_warm_up(&mut self) {
        let tally = self.setup.streams.take_tally();
        self.delivered_before = tally.deliveries;
        self.faults_before = self.faults_before.and(FaultCounts::of(&tally));
        self.gaps_before += tally.gaps;
        self.publisher.forget_answered();
    }

    fn publish(&mut self, events_most: u64) -> anyhow::Result<()> {
        self.count_due();
        let due = self.due.min(events_most);
        let (pace, began, first) = (self.options.pace(), self.began_nanos, self.published);
        let undelivered = first - self.delivered().min(first);
        let UnicastSetup { order, .. } = self.setup;
        let most = due.saturating_sub(first);
        let at = |number| pace.due_nanos(began, first + number);
        self.published += self.publisher.publish(order, most, undelivered, at)?;
        // With events waiting for a connection, the next answer wakes the loop.
        if let Some(nanos) = pace.due_nanos(began, due)
            && due < events_most
            && due <= self.published
        {
            self.timer.set(nanos)?;
        }
        Ok(())
    }

    /// Counts the events whose time has come; in a closed loop all are due from the beginning.
    fn count_due(&mut self) {
        let (pace, now) = (self.options.pace(), now_nanos());
        while pace.due_nanos(self.began_nanos, self.due).is_some_and(|nanos| nanos <= now) {
            self.due += 1;
        }
    }

    fn listen(&mut self, timeout: Duration) -> anyhow::Result<()> {
        wait(&mut self.setup.poll, &mut self.events, timeout)?;
        for event in &self.events {
            match event.token() {
                TIMER => {}
                Token(number) if number >= PUBLISHER_BASE => {
                    self.publisher.ready(number - PUBLISHER_BASE, event.is_writable())?;
                }
                Token(number) => {
                    if self.setup.streams.ready(event) {
                        self.publisher.note_event(number);
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for what is under way, and then a little longer.
    fn drain(&mut self) -> anyhow::Result<bool> {
        self.progress.1 = Instant::now();
        while self.delivered() < self.published || self.publisher.unanswered() > 0 {
            if self.is_stuck(Instant::now()) {
                return Ok(false);
            }
            self.listen(TICK)?;
        }
        let until = Instant::now() + LINGER;
        while Instant::now() < until {
            self.listen(TICK)?;
        }
        Ok(true)
    }

    /// Whether something is under way and nothing has happened for too long.
    fn is_stuck(&mut self, now: Instant) -> bool {
        let done = self.delivered() + self.published - self.publisher.unanswered();
        let is_idle = self.delivered() == self.published && self.publisher.unanswered() == 0;
        if is_idle || done != self.progress.0 {
            self.progress = (done, now);
        }
        now.duration_since(self.progress.1) > self.options.deadline()
    }

    fn delivered(&self) -> u64 {
        self.delivered_before + self.setup.streams.deliveries()
    }

    fn read(&self) -> anyhow::Result<Reading> {
        let own = clock_gettime(ClockId::ThreadCPUTime);
        let own = Duration::new(u64::try_from(own.tv_sec)?, u32::try_from(own.tv_nsec)?);
        let server = ServerThreads::read(&self.setup.target.pids)?;
        Ok(Reading { taken: Instant::now(), delivered: self.delivered(), own, server })
    }

    fn finish(self, begin: &Reading, end: &Reading, unsent: u64, complete: bool) -> anyhow::Result<UnicastRound> {
        let Self { setup, publisher, published, delivered_before, faults_before, gaps_before, .. } = self;
        setup.streams.count_lost(setup.order.sent());
        let tally = setup.streams.take_tally();
        let mut latency = Latency::new()?;
        latency.add(&tally.latency);
        let events = end.delivered - begin.delivered;
        let seconds = end.taken.duration_since(begin.taken).as_secs_f64();
        let threads = end.server.since(&begin.server);
        Ok(UnicastRound {
            expected: published - delivered_before,
            deliveries: tally.deliveries,
            faults: faults_before.and(FaultCounts::of(&tally)),
            gaps: gaps_before + tally.gaps,
            ended_streams: tally.ended,
            complete,
            unsent,
            latency_us: latency.percentiles(),
            answer_us: publisher.answered().percentiles(),
            measured: Measured {
                events,
                seconds,
                events_per_second: events as f64 / seconds,
                own_busy: (end.own.saturating_sub(begin.own)).as_secs_f64() / seconds,
                server: (!setup.target.pids.is_empty()).then(|| UnicastServerUse::new(threads, events, seconds)),
            },
        })
    }
}
