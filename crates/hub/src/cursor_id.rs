//! The id of a stream's cursor, for those who look at streams.
//!
//! A cursor is a place and remembers no id; nothing is kept for it. So the id is put together from what the logs still
//! hold, and only when somebody asks.

use crate::{Channel, EntryKind, Hub, Position};

/// A channel's log at a place.
enum LogPlace {
    /// The publisher gave this id to the event there.
    PublisherId(String),
    /// Something stands there: what, and since when.
    Entry(EntryKind, u64),
    /// Nothing stands there; the newest below it, or the floor, is of this time.
    Before(u64),
}

impl Hub {
    /// The id with which a client that has had everything up to `cursor` goes on, out of the lane of `channels`, which
    /// are the stream's. `None` if it has had nothing, or if the feed has long forgotten the term.
    ///
    /// Where no event of these channels stands at the place any more, the time in the id is that of an earlier one. It
    /// resumes at the same place: the number decides.
    pub fn id_at(&self, cursor: Position, channels: &[&Channel]) -> Option<String> {
        if cursor == Position::ORIGIN {
            return None;
        }
        let lane = channels.first()?.lane();
        let watermark = self.watermark(lane);
        let mut at_ms = if watermark.position == cursor { watermark.at_ms } else { 0 };
        let mut is_gap = false;
        for channel in channels {
            match channel.place_in_log(cursor) {
                LogPlace::PublisherId(id) => return Some(id),
                LogPlace::Entry(kind, ms) => {
                    is_gap |= kind == EntryKind::Gap;
                    at_ms = at_ms.max(ms);
                }
                LogPlace::Before(ms) => at_ms = at_ms.max(ms),
            }
        }
        // Of unnumbered entries only gaps have an id of their own.
        let unnumbered = if is_gap || !self.ids_are_shared() { cursor.unnumbered } else { 0 };
        self.id(lane, Position { unnumbered, ..cursor }, at_ms).map(|id| id.to_string())
    }
}

impl Channel {
    fn place_in_log(&self, place: Position) -> LogPlace {
        let state = self.lock();
        match state.log.range(Position::ORIGIN, place).next_back() {
            Some(entry) if entry.position == place => match &entry.publisher_id {
                Some(id) => LogPlace::PublisherId(id.as_str().to_owned()),
                None => LogPlace::Entry(entry.kind, entry.at_ms),
            },
            Some(entry) => LogPlace::Before(entry.at_ms),
            None => LogPlace::Before(state.log.floor().at_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::{EventId, Lane, PublisherId, Term};

    use super::*;
    use crate::testing::{FedHub, LIMITS, publication};
    use crate::{Begin, LogLimits, Resume};

    fn shown(feed: &FedHub, cursor: Position) -> Option<String> {
        feed.hub.id_at(cursor, &[&*feed.join.channel])
    }

    #[test]
    fn a_cursor_has_the_id_of_the_event_at_which_it_stands() {
        let mut feed = FedHub::new(LIMITS);
        assert_eq!(shown(&feed, Position::ORIGIN), None, "it has had nothing");
        feed.follow_at(10);
        assert_eq!(shown(&feed, Position::new(1, 10)), Some(feed.id(10).to_string()), "the place of an opening");
        feed.publish(11);
        feed.publish(12);
        assert_eq!(shown(&feed, Position::new(1, 11)), Some(feed.id(11).to_string()));
        let mut with_id = publication("a");
        with_id.event.id = PublisherId::parse("mine").ok();
        feed.publisher.publish_numbered(&with_id, feed.id(13)).expect("small");
        assert_eq!(shown(&feed, Position::new(1, 13)), Some("mine".to_owned()));
        assert_eq!(shown(&feed, Position::new(7, 13)), None, "a term that nobody knows");
    }

    #[test]
    fn an_id_put_together_without_its_event_resumes_at_the_same_place() {
        let mut feed = FedHub::new(LogLimits { entries_max: 1, ..LIMITS });
        feed.follow_at(10);
        for number in 11..20 {
            feed.publish(number);
        }
        for number in 10..20 {
            let id = shown(&feed, Position::new(1, number)).expect("a known term");
            let id = EventId::parse(&id).expect("an id of ours");
            assert_eq!((id.term, id.number), (Term::from_random(1), number));
        }
    }

    #[test]
    fn of_unnumbered_entries_only_a_gap_has_an_id() {
        let mut feed = FedHub::new(LIMITS);
        feed.follow_at(10);
        feed.publisher.publish_unnumbered(&publication("a")).expect("small");
        let unnumbered = Position { unnumbered: 1, ..Position::new(1, 10) };
        assert_eq!(feed.hub.watermark(Lane::default()).position, unnumbered);
        let id = EventId::parse(&shown(&feed, unnumbered).expect("known")).expect("ours");
        assert_eq!((id.number, id.unnumbered), (10, 0));
        let Begin::At(start) = feed.begin(&Resume::After(id.to_string())) else { panic!("it waits") };
        assert_eq!(start.cursor, Position::new(1, 10));
    }
}
