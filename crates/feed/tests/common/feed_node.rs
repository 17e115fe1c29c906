//! A node as far as its feed knows it, without a log: an intake that writes everything down, and waits for what must come.
#![allow(dead_code)] // each test program uses its part of this file

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fantail_feed::{Feed, FeedState, Intake, Placement, Recalled, Receipt};
use fantail_testkit::PATIENCE;
use fantail_wire::{
    ChannelName, EncodeError, Event, EventFields, EventId, GapReason, Lane, Publication, Terms, encode,
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// One thing that the intake was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FeedNews {
    Event(Vec<String>, Event),
    Followed(String),
    Dropped(String),
    Lost,
    State(FeedState),
}

/// As a line: `a+b hello`, `followed a`, `dropped a`, `lost`, `Connected`.
impl fmt::Display for FeedNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(channels, event) => write!(f, "{} {}", channels.join("+"), event.data),
            Self::Followed(channel) => write!(f, "followed {channel}"),
            Self::Dropped(channel) => write!(f, "dropped {channel}"),
            Self::Lost => f.write_str("lost"),
            Self::State(state) => write!(f, "{state:?}"),
        }
    }
}

/// An intake that keeps all it is told.
#[derive(Debug)]
pub(crate) struct FeedRecorder {
    pub(crate) told: Vec<FeedNews>,
    event_bytes_max: usize,
    count: watch::Sender<usize>,
}

/// A feed and its intake.
pub(crate) struct FeedNode {
    pub(crate) feed: Feed<FeedRecorder>,
    pub(crate) intake: Arc<Mutex<FeedRecorder>>,
    count: watch::Receiver<usize>,
}

impl FeedRecorder {
    fn write_down(&mut self, told: FeedNews) {
        self.told.push(told);
        self.count.send_replace(self.told.len());
    }
}

impl Intake for FeedRecorder {
    fn event(&mut self, publication: &Publication, _placement: Placement) -> Result<Receipt, EncodeError> {
        encode(&publication.event, Some("aaaaaaaaaaaa.1760000000000.1"), self.event_bytes_max)?;
        let channels = publication.channels.iter().map(ToString::to_string).collect();
        self.write_down(FeedNews::Event(channels, publication.event.clone()));
        Ok(Receipt::default())
    }

    fn followed(&mut self, channel: &ChannelName, from: Option<EventId>) {
        assert_eq!(from, None, "the node numbers");
        self.write_down(FeedNews::Followed(channel.to_string()));
    }

    fn lost(&mut self, _lane: Lane) {
        self.write_down(FeedNews::Lost);
    }

    fn state(&mut self, state: FeedState) {
        self.write_down(FeedNews::State(state));
    }

    fn synced(&mut self, _lane: Lane, _terms: &Terms) {
        unreachable!("the node numbers");
    }

    fn gap(&mut self, _channel: &ChannelName, _at: EventId, _reason: GapReason) {
        unreachable!("an outage is all that is told");
    }

    fn dropped(&mut self, channel: &ChannelName) {
        self.write_down(FeedNews::Dropped(channel.to_string()));
    }

    fn recalled(&mut self, _channel: &ChannelName, _recalled: Recalled) {
        unreachable!("nothing was asked for");
    }
}

impl FeedNode {
    /// The node of the feed that `start` starts for its intake, which takes events of so many bytes.
    pub(crate) fn of(
        event_bytes_max: usize,
        start: impl FnOnce(&Arc<Mutex<FeedRecorder>>) -> Feed<FeedRecorder>,
    ) -> Self {
        let (count, seen) = watch::channel(0);
        let intake = Arc::new(Mutex::new(FeedRecorder { told: Vec::new(), event_bytes_max, count }));
        Self { feed: start(&intake), intake, count: seen }
    }

    /// Follows and waits for the confirmations.
    pub(crate) async fn follow(&mut self, names: &[&str]) {
        let from = self.intake.lock().told.len();
        for name in names {
            self.feed.follow(&channel(name));
        }
        let followed = |told: &[FeedNews], name: &str| told.contains(&FeedNews::Followed(name.into()));
        self.wait_for("the confirmations", |told| names.iter().all(|name| followed(&told[from..], name))).await;
    }

    /// Waits until what was told satisfies `is_enough`; fails the test when it does not in time.
    pub(crate) async fn wait_for(&mut self, what: &str, mut is_enough: impl FnMut(&[FeedNews]) -> bool) {
        let intake = Arc::clone(&self.intake);
        let enough = self.count.wait_for(|_| is_enough(&intake.lock().told));
        let in_time = tokio::time::timeout(PATIENCE, enough).await.is_ok();
        assert!(in_time, "{what} did not happen; told: {}; {:?}", self.tail(), self.feed.trouble());
    }

    /// Waits for this line.
    pub(crate) async fn until(&mut self, line: &str) {
        self.until_times(line, 1).await;
    }

    /// Waits for this line so many times.
    pub(crate) async fn until_times(&mut self, line: &str, times: usize) {
        let is_it = |told: &&FeedNews| told.to_string() == line;
        self.wait_for(line, |told| told.iter().filter(is_it).count() >= times).await;
    }

    /// Waits for so many events and returns their data.
    pub(crate) async fn data(&mut self, count: usize) -> Vec<String> {
        self.wait_for(&format!("{count} events"), |told| events(told).len() >= count).await;
        self.events().into_iter().map(|(_, event)| event.data).collect()
    }

    pub(crate) fn events(&self) -> Vec<(Vec<String>, Event)> {
        events(&self.intake.lock().told)
    }

    /// The lines of everything so far but states.
    pub(crate) fn lines(&self) -> Vec<String> {
        let told = &self.intake.lock().told;
        told.iter().filter(|told| !matches!(told, FeedNews::State(_))).map(ToString::to_string).collect()
    }

    /// How often it was told `what`.
    pub(crate) fn times(&self, what: &FeedNews) -> usize {
        self.intake.lock().told.iter().filter(|told| *told == what).count()
    }

    fn tail(&self) -> String {
        let told = &self.intake.lock().told;
        let text = format!("{:?}", &told[told.len().saturating_sub(20)..]);
        text.chars().take(4_000).collect()
    }
}

fn events(told: &[FeedNews]) -> Vec<(Vec<String>, Event)> {
    let event = |told: &FeedNews| match told {
        FeedNews::Event(channels, event) => Some((channels.clone(), event.clone())),
        _ => None,
    };
    told.iter().filter_map(event).collect()
}

pub(crate) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub(crate) fn publication(names: &[&str], fields: EventFields) -> Publication {
    Publication::new(names.iter().map(|name| channel(name)), fields.validate().unwrap())
}

pub(crate) fn text(data: impl Into<String>) -> EventFields {
    EventFields { data: data.into(), ..EventFields::default() }
}

/// An event with every field, and with the bytes in its data that are most easily broken.
pub(crate) fn whole_event(kind: &str) -> EventFields {
    EventFields {
        data: "l1\r\nl2\0 \u{2028}é\"\\".into(),
        event: Some(kind.into()),
        id: Some("mine-1".into()),
        retry_ms: Some(1500),
    }
}

/// Waits for something outside the intake. Looks again and again, since servers and counters have no bell.
pub(crate) async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "{what} did not happen");
}
