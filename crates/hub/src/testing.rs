//! A hub with one channel and a feed that numbers, for the tests of this crate.

use std::cell::Cell;
use std::sync::Arc;

use fantail_wire::{ChannelName, EndedTerm, Event, EventId, Framing, GapReason, Lane, Publication, Term, Terms};

use crate::{
    Asked, Begin, Delivery, Hub, HubSettings, Join, LogLimits, NumberedBy, Position, Publisher, ReadLimit, Resume,
    Start, Wish,
};

pub(crate) const LIMITS: LogLimits = LogLimits { entries_max: 100, bytes_max: 1 << 20, age_ms_max: 60_000 };
pub(crate) const UNKNOWN_ID_REPLAY_MAX: usize = 8;
pub(crate) const READ_LIMIT: ReadLimit = ReadLimit { entries: 100, bytes: 1 << 20 };

thread_local! {
    pub(crate) static NOW_MS: Cell<u64> = const { Cell::new(2000) };
}

/// A node whose one shard has joined channel `a`.
pub(crate) struct FedHub {
    pub(crate) hub: Arc<Hub>,
    pub(crate) publisher: Publisher,
    pub(crate) name: ChannelName,
    pub(crate) join: Join,
}

pub(crate) fn publication(channel: &str) -> Publication {
    Publication::new([ChannelName::parse(channel).expect("valid")], Event::text("x"))
}

impl FedHub {
    pub(crate) fn new(log: LogLimits) -> Self {
        Self::with_budget(log, 1 << 30)
    }

    pub(crate) fn with_budget(log: LogLimits, logs_bytes_max: usize) -> Self {
        NOW_MS.set(2000);
        let settings = HubSettings {
            unknown_id_replay_max: UNKNOWN_ID_REPLAY_MAX,
            log,
            logs_bytes_max,
            event_bytes_max: 1000,
            ..HubSettings::unbounded(NumberedBy::Feed, || NOW_MS.get())
        };
        let (hub, publisher) = Hub::new(settings, Arc::default());
        let name = ChannelName::parse("a").expect("valid");
        let join = hub.join(&name, 0, 0, None).expect("there is room");
        Self { hub, publisher, name, join }
    }

    /// An id of the first term.
    #[allow(clippy::unused_self, reason = "it reads as the feed's")]
    pub(crate) fn id(&self, number: u64) -> EventId {
        EventId::new(Term::from_random(1), 1000 + number, number)
    }

    pub(crate) fn terms(&self, number: u64) -> Terms {
        let id = self.id(number);
        Terms { current: id.term, start: 0, number, ms: id.ms, ended: Vec::new() }
    }

    /// The first term ends with `at`, and another begins.
    pub(crate) fn term_ends(&mut self, next: u64, at: u64) {
        self.term_ends_with(next, at, &[]);
    }

    pub(crate) fn term_ends_with(&mut self, next: u64, at: u64, unseen: &[EndedTerm]) {
        let end = unseen.first().map_or(at, |unseen| unseen.start);
        let first = EndedTerm { term: Term::from_random(1), start: 0, end };
        let ended = std::iter::once(first).chain(unseen.iter().copied()).collect();
        let current = Term::from_random(next);
        self.publisher.synced(Lane::default(), &Terms { current, start: at, number: at, ms: 1000 + at, ended });
    }

    pub(crate) fn ask(&mut self) {
        assert!(matches!(self.publisher.next_wish(), Some(Wish::Follow(_))));
    }

    /// The feed is at `number` and brings the channel from there.
    pub(crate) fn follow_at(&mut self, number: u64) {
        self.publisher.synced(Lane::default(), &self.terms(number));
        self.ask();
        self.publisher.followed(&self.name, Some(self.id(number)));
        self.take_marks();
    }

    pub(crate) fn publish(&mut self, number: u64) {
        self.publisher.publish_numbered(&publication("a"), self.id(number)).expect("small");
    }

    pub(crate) fn begin(&self, resume: &Resume) -> Begin {
        self.begin_with(resume, &mut Asked::default())
    }

    pub(crate) fn begin_with(&self, resume: &Resume, asked: &mut Asked) -> Begin {
        self.hub.begin(resume, std::slice::from_ref(&self.join.channel), asked)
    }

    /// The feed tells as often as it is asked that it is at `number`, until the stream may start or waits for the past.
    pub(crate) fn begin_synced(&mut self, resume: &Resume, number: u64) -> Begin {
        let mut asked = Asked::default();
        loop {
            let begin = self.begin_with(resume, &mut asked);
            if begin != Begin::Wait(0) || !self.hub.lane(Lane::default()).sync_requests.ask() {
                return begin;
            }
            self.publisher.synced(Lane::default(), &self.terms(number));
        }
    }

    /// Takes the question for the channel's past, if there is one, as place above and place up to, and their most.
    pub(crate) fn question(&mut self) -> Option<(Option<u64>, u64, usize)> {
        match self.publisher.next_wish()? {
            Wish::Recall { above, up_to, events_max, .. } => {
                Some((above.map(|id| id.number), up_to.number, events_max))
            }
            wish => panic!("{wish:?}"),
        }
    }

    /// Takes the question and answers it.
    pub(crate) fn answer(&mut self, numbers: &[u64], from: Option<u64>) {
        self.question().expect("somebody asked");
        self.recalled(numbers, from);
    }

    pub(crate) fn recalled(&mut self, numbers: &[u64], from: Option<u64>) {
        let entries = numbers.iter().map(|&number| (self.id(number), Event::text("x"))).collect();
        self.publisher.recalled(&self.name, entries, from.map(|number| self.id(number)));
    }

    /// Whether the shard was told of anything since.
    pub(crate) fn take_marks(&self) -> bool {
        let mailbox = self.hub.mailbox(0);
        mailbox.silence();
        let mut any = false;
        while let Some(mark) = mailbox.take() {
            mark.clear();
            any = true;
        }
        any
    }

    /// The texts that a live stream at a number of the first term gets.
    pub(crate) fn texts(&self, number: u64) -> Vec<String> {
        self.texts_above(Position::new(1, number))
    }

    pub(crate) fn texts_above(&self, cursor: Position) -> Vec<String> {
        let mut out = Vec::new();
        self.join.channel.read(cursor, self.hub.watermark(Lane::default()).position, READ_LIMIT, &mut out);
        texts(&out)
    }

    pub(crate) fn resumed_texts(&self, start: &Start) -> Vec<String> {
        let mut out = Vec::new();
        let to = self.hub.watermark(Lane::default()).position;
        self.join.channel.read_resuming(start.cursor, to, start.began, READ_LIMIT, &mut out);
        texts(&out)
    }

    /// The numbers that the log holds, and its floor with the reason.
    pub(crate) fn held(&self) -> (Vec<u64>, u64, GapReason) {
        let state = self.join.channel.lock();
        let to = Position { generation: u32::MAX, ..Position::ORIGIN };
        let numbers = state.log.range(Position::ORIGIN, to).map(|entry| entry.position.number).collect();
        let floor = state.log.floor();
        (numbers, floor.position.number, floor.reason)
    }
}

fn texts(deliveries: &[Delivery]) -> Vec<String> {
    let text = |d: &Delivery| String::from_utf8_lossy(d.frame.bytes(Framing::CloseDelimited)).into_owned();
    deliveries.iter().map(text).collect()
}
