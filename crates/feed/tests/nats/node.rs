//! A node as far as its feed knows it: an intake that writes everything down, and waits for what must come.

use std::sync::Arc;
use std::time::Duration;

use fantail_feed::{FeedState, Intake, NatsFeed, NatsReach, NatsSettings, Placement, Recalled, Receipt};
use fantail_testkit::PATIENCE;
use fantail_wire::{
    ChannelName, EncodeError, Event, EventFields, EventId, GapReason, Lane, Publication, Terms, encode,
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The intake's calls as lines: `a+b hello`, `followed a`, `dropped a`, `lost`, `Connected`.
#[derive(Debug)]
pub(crate) struct FeedRecorder {
    pub(crate) told: Vec<String>,
    pub(crate) events: Vec<Event>,
    event_bytes_max: usize,
    count: watch::Sender<usize>,
}

/// A feed and its intake.
pub(crate) struct FeedNode {
    pub(crate) feed: NatsFeed<FeedRecorder>,
    pub(crate) intake: Arc<Mutex<FeedRecorder>>,
    count: watch::Receiver<usize>,
}

impl FeedRecorder {
    fn write_down(&mut self, told: String) {
        self.told.push(told);
        self.count.send_replace(self.told.len());
    }
}

impl Intake for FeedRecorder {
    fn event(&mut self, publication: &Publication, _placement: Placement) -> Result<Receipt, EncodeError> {
        encode(&publication.event, Some("aaaaaaaaaaaa.1760000000000.1"), self.event_bytes_max)?;
        let channels: Vec<_> = publication.channels.iter().map(ChannelName::as_str).collect();
        self.events.push(publication.event.clone());
        self.write_down(format!("{} {}", channels.join("+"), publication.event.data));
        Ok(Receipt::default())
    }

    fn followed(&mut self, channel: &ChannelName, from: Option<EventId>) {
        assert_eq!(from, None, "the node numbers");
        self.write_down(format!("followed {channel}"));
    }

    fn lost(&mut self, _lane: Lane) {
        self.write_down("lost".into());
    }

    fn state(&mut self, state: FeedState) {
        self.write_down(format!("{state:?}"));
    }

    fn synced(&mut self, _lane: Lane, _terms: &Terms) {
        unreachable!("the node numbers");
    }

    fn gap(&mut self, _channel: &ChannelName, _at: EventId, _reason: GapReason) {
        unreachable!("an outage is all that is told");
    }

    fn dropped(&mut self, channel: &ChannelName) {
        self.write_down(format!("dropped {channel}"));
    }

    fn recalled(&mut self, _channel: &ChannelName, _recalled: Recalled) {
        unreachable!("nothing was asked for");
    }
}

impl FeedNode {
    #[allow(clippy::needless_pass_by_value, reason = "they are made for this node")]
    pub(crate) fn start_with(settings: NatsSettings) -> Self {
        let (count, seen) = watch::channel(0);
        let event_bytes_max = settings.event_bytes_max;
        let recorder = FeedRecorder { told: Vec::new(), events: Vec::new(), event_bytes_max, count };
        let intake = Arc::new(Mutex::new(recorder));
        Self { feed: NatsFeed::start(&settings, &intake), intake, count: seen }
    }

    /// Starts a node and waits until it follows `names`.
    pub(crate) async fn following(url: &str, names: &[&str]) -> Self {
        let mut node = Self::start_with(settings(url));
        node.follow(names).await;
        node
    }

    /// Follows and waits for the confirmations.
    pub(crate) async fn follow(&mut self, names: &[&str]) {
        let from = self.intake.lock().told.len();
        for name in names {
            self.feed.follow(&channel(name));
        }
        let is_followed = |told: &[String], name: &str| told.contains(&format!("followed {name}"));
        self.wait_for("the confirmations", |told| names.iter().all(|name| is_followed(&told[from..], name))).await;
    }

    /// Waits until what was told satisfies `is_enough`; fails the test when it does not in time.
    pub(crate) async fn wait_for(&mut self, what: &str, mut is_enough: impl FnMut(&[String]) -> bool) {
        let intake = Arc::clone(&self.intake);
        let enough = self.count.wait_for(|_| is_enough(&intake.lock().told));
        let in_time = tokio::time::timeout(PATIENCE, enough).await.is_ok();
        assert!(in_time, "{what} did not happen; told: {:?}; {:?}", self.tail(), self.feed.trouble());
    }

    /// Waits for this line.
    pub(crate) async fn until(&mut self, line: &str) {
        self.wait_for(line, |told| told.iter().any(|told| told == line)).await;
    }

    /// Waits for this line so many times.
    pub(crate) async fn until_times(&mut self, line: &str, times: usize) {
        self.wait_for(line, |told| told.iter().filter(|told| *told == line).count() >= times).await;
    }

    /// Everything told so far but states.
    pub(crate) fn told(&self) -> Vec<String> {
        let told = &self.intake.lock().told;
        told.iter().filter(|line| !["Connected", "Connecting"].contains(&line.as_str())).cloned().collect()
    }

    fn tail(&self) -> Vec<String> {
        let told = &self.intake.lock().told;
        told[told.len().saturating_sub(20)..].to_vec()
    }
}

pub(crate) fn reach(url: &str) -> NatsReach {
    NatsReach { servers: vec![url.into()], ..NatsReach::default() }
}

pub(crate) fn settings(url: &str) -> NatsSettings {
    settings_of(reach(url))
}

pub(crate) fn settings_of(reach: NatsReach) -> NatsSettings {
    let mut settings = NatsSettings::new(reach, None).unwrap();
    settings.probe_interval = Duration::from_millis(300);
    settings.response_deadline = Duration::from_secs(2);
    settings
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
