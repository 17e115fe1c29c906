//! A node as far as its feed knows it, which numbers. It checks the order of what it is told at once, and writes it down.
#![allow(dead_code)] // each test program uses its part of this file

use std::collections::BTreeMap;
use std::sync::Arc;

use fantail_feed::{Feed, FeedState, Intake, Placement, Recalled, Receipt};
use fantail_testkit::proxy::Cut;
use fantail_testkit::{FaultProxy, PATIENCE};
use fantail_wire::{ChannelName, EncodeError, EventId, GapReason, Lane, Publication, Term, Terms};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The intake's calls as lines: `11 a hello`, `unnumbered a hello`, `gap a 12 trimmed`, `followed a`, `term`, `lost`.
#[derive(Debug)]
pub(crate) struct LogNodeRecorder {
    pub(crate) told: Vec<String>,
    pub(crate) ids: Vec<EventId>,
    pub(crate) recalled: BTreeMap<String, Recalled>,
    pub(crate) terms: Option<Terms>,
    /// Up to where everything was handed down.
    watermark: Option<(Term, u64)>,
    count: watch::Sender<usize>,
}

/// A feed that numbers, and its intake.
pub(crate) struct LogNode {
    pub(crate) feed: Feed<LogNodeRecorder>,
    pub(crate) intake: Arc<Mutex<LogNodeRecorder>>,
    count: watch::Receiver<usize>,
}

impl LogNodeRecorder {
    fn write_down(&mut self, told: String) {
        self.told.push(told);
        self.count.send_replace(self.told.len());
    }
}

impl Intake for LogNodeRecorder {
    fn event(&mut self, publication: &Publication, placement: Placement) -> Result<Receipt, EncodeError> {
        let names: Vec<_> = publication.channels.iter().map(ChannelName::as_str).collect();
        let (names, data) = (names.join("+"), &publication.event.data);
        match placement {
            Placement::Numbered(id) => {
                let (term, number) = self.watermark.expect("terms are told before events");
                assert_eq!(id.term, term, "an event of a term that was not told");
                assert!(id.number > number, "{} {names} {data} came behind number {number}", id.number);
                self.watermark = Some((term, id.number));
                self.ids.push(id);
                self.write_down(format!("{} {names} {data}", id.number));
            }
            Placement::Unnumbered => self.write_down(format!("unnumbered {names} {data}")),
            Placement::Next => unreachable!("the feed numbers"),
        }
        Ok(Receipt::default())
    }

    fn followed(&mut self, channel: &ChannelName, from: Option<EventId>) {
        let (from, (term, _)) = (from.expect("the feed numbers"), self.watermark.expect("synced comes first"));
        assert_eq!(from.term, term, "{channel} is complete above a place of another term");
        self.write_down(format!("followed {channel}"));
    }

    fn lost(&mut self, _lane: Lane) {
        self.write_down("lost".into());
    }

    fn state(&mut self, state: FeedState) {
        self.write_down(format!("{state:?}"));
    }

    fn synced(&mut self, _lane: Lane, terms: &Terms) {
        match self.watermark {
            Some((term, number)) if term == terms.current => {
                self.watermark = Some((term, number.max(terms.number)));
            }
            before => {
                self.watermark = Some((terms.current, terms.number));
                if before.is_some() {
                    self.write_down("term".into());
                }
            }
        }
        self.terms = Some(terms.clone());
        self.count.send_modify(|_| {});
    }

    fn gap(&mut self, channel: &ChannelName, at: EventId, reason: GapReason) {
        self.write_down(format!("gap {channel} {} {reason}", at.number));
    }

    fn dropped(&mut self, channel: &ChannelName) {
        self.write_down(format!("dropped {channel}"));
    }

    fn recalled(&mut self, channel: &ChannelName, recalled: Recalled) {
        self.recalled.insert(channel.to_string(), recalled);
        self.write_down(format!("recalled {channel}"));
    }
}

impl LogNode {
    /// The node of the feed that `start` starts for its intake.
    pub(crate) fn of(start: impl FnOnce(&Arc<Mutex<LogNodeRecorder>>) -> Feed<LogNodeRecorder>) -> Self {
        let (count, seen) = watch::channel(0);
        let recorder = LogNodeRecorder {
            told: Vec::new(),
            ids: Vec::new(),
            recalled: BTreeMap::new(),
            terms: None,
            watermark: None,
            count,
        };
        let intake = Arc::new(Mutex::new(recorder));
        Self { feed: start(&intake), intake, count: seen }
    }

    /// Follows and waits for the confirmations.
    pub(crate) async fn follow(&mut self, names: &[&str]) {
        let from = self.intake.lock().told.len();
        for name in names {
            self.feed.follow(&channel(name));
        }
        let is_followed = |told: &[String], name: &str| told.iter().any(|line| *line == format!("followed {name}"));
        self.wait_for("the confirmations", |node| names.iter().all(|name| is_followed(&node.told[from..], name))).await;
    }

    /// Waits until the intake is as wanted; fails the test when it is not in time.
    pub(crate) async fn wait_for(&mut self, what: &str, is_so: impl Fn(&LogNodeRecorder) -> bool) {
        let intake = Arc::clone(&self.intake);
        let in_time = tokio::time::timeout(PATIENCE, self.count.wait_for(|_| is_so(&intake.lock()))).await.is_ok();
        let told = self.intake.lock().told.clone();
        assert!(in_time, "{what} did not happen; told: {:?}", &told[told.len().saturating_sub(30)..]);
    }

    /// Cuts it off from its server until the proxy accepts again, and waits until it has noticed.
    pub(crate) async fn cut_off(&mut self, proxy: &FaultProxy) {
        proxy.refuse().await.unwrap();
        proxy.cut(Cut::Reset).await.unwrap();
        self.wait_for("the loss", |node| node.told.iter().any(|line| line == "lost")).await;
    }

    /// Waits for the event with this data.
    pub(crate) async fn until_data(&mut self, data: &str) {
        self.wait_for(data, |node| node.told.iter().any(|told| told.split(' ').nth(2) == Some(data))).await;
    }

    /// Events, gaps and terms so far, in order.
    pub(crate) fn told(&self) -> Vec<String> {
        let is_of_order = |line: &&String| {
            line.starts_with(|first: char| first.is_ascii_digit())
                || ["gap ", "unnumbered ", "term"].iter().any(|start| line.starts_with(start))
        };
        self.intake.lock().told.iter().filter(is_of_order).cloned().collect()
    }

    /// The data of all numbered events, in order.
    pub(crate) fn data(&self) -> Vec<String> {
        let told = self.told();
        let data = told.iter().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
        data.filter_map(|line| line.split(' ').nth(2).map(str::to_owned)).collect()
    }
}

pub(crate) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}
