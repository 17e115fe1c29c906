//! The feed's counts, on their way into the metrics.
//!
//! The feed keeps its own counts and knows no metrics. The control loop is the only writer of the hub's counters. It
//! brings them up to date at each scrape; in between nobody could see a difference.

use std::sync::atomic::Ordering;

use fantail_feed::{FeedCounters, Refusal};
use fantail_telemetry::{HubCounters, RejectReason};
use parking_lot::Mutex;

/// The feed's counts that the metrics hold already.
#[derive(Debug, Default)]
pub(crate) struct FeedFigures {
    told: Mutex<[u64; 11]>,
}

impl FeedFigures {
    /// Adds what the feed has counted since the last call. For the control loop.
    pub(crate) fn bring_up_to_date(&self, feed: &FeedCounters, hub: &HubCounters) {
        let rejected = |reason| hub.events_rejected.of(reason);
        let figures = [
            (feed.refused(Refusal::NotUtf8), rejected(RejectReason::NotUtf8)),
            (feed.refused(Refusal::Envelope), rejected(RejectReason::Malformed)),
            (feed.refused(Refusal::Field), rejected(RejectReason::BadField)),
            (feed.refused(Refusal::TooLarge), rejected(RejectReason::TooLarge)),
            (feed.reconnects.load(Ordering::Relaxed), &hub.feed_reconnects),
            (feed.repairs.load(Ordering::Relaxed), &hub.feed_repairs),
            (feed.repaired.load(Ordering::Relaxed), &hub.feed_repaired_events),
            (feed.recalls.load(Ordering::Relaxed), &hub.feed_recalls),
            (feed.connect_failures.load(Ordering::Relaxed), &hub.feed_connect_failures),
            (feed.probes_lost.load(Ordering::Relaxed), &hub.feed_probes_lost),
            (feed.follows_refused.load(Ordering::Relaxed), &hub.follows_refused),
        ];
        for ((now, counter), told) in figures.into_iter().zip(self.told.lock().iter_mut()) {
            counter.add(now - std::mem::replace(told, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_of_the_feed_is_told_once_however_often_metrics_are_scraped() {
        let (feed, hub, figures) = (FeedCounters::default(), HubCounters::default(), FeedFigures::default());
        let counted = [
            (&feed.refused_not_utf8, 1),
            (&feed.refused_envelope, 2),
            (&feed.refused_field, 3),
            (&feed.refused_too_large, 4),
            (&feed.reconnects, 5),
            (&feed.repairs, 6),
            (&feed.repaired, 7),
            (&feed.recalls, 8),
            (&feed.connect_failures, 9),
            (&feed.probes_lost, 10),
            (&feed.follows_refused, 11),
        ];
        for (counter, count) in counted {
            counter.store(count, Ordering::Relaxed);
        }
        figures.bring_up_to_date(&feed, &hub);
        hub.events_rejected.add(RejectReason::BadField, 10);
        feed.refused_field.fetch_add(1, Ordering::Relaxed);
        figures.bring_up_to_date(&feed, &hub);
        figures.bring_up_to_date(&feed, &hub);
        let rejected = |reason| hub.events_rejected.of(reason).get();
        let reasons = [RejectReason::NotUtf8, RejectReason::Malformed, RejectReason::BadField, RejectReason::TooLarge];
        assert_eq!(reasons.map(rejected), [1, 2, 3 + 10 + 1, 4]);
        assert_eq!(hub.events_rejected.sum(), 21);
        let counters = [
            &hub.feed_reconnects,
            &hub.feed_repairs,
            &hub.feed_repaired_events,
            &hub.feed_recalls,
            &hub.feed_connect_failures,
            &hub.feed_probes_lost,
            &hub.follows_refused,
        ];
        assert_eq!(counters.map(fantail_telemetry::Counter::get), [5, 6, 7, 8, 9, 10, 11]);
    }
}
