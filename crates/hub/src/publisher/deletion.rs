//! Deleting a channel.

use fantail_wire::GapReason;

use super::appender::Appender;
use crate::{Channel, Hub, Watermark};

/// Empties the log, raises the floor and asks the shards to end the streams.
pub(super) fn delete(hub: &Hub, appender: &mut Appender, channel: &Channel) {
    let place = hub.next_place(channel.lane());
    let mut state = channel.lock();
    // A gap that was told of in advance, or the place from which the channel is followed, may be higher still.
    let floor = Watermark { position: place.position.max(state.log.top()), ..place };
    appender.clear(&mut state, floor, GapReason::Deleted);
    if hub.settings.is_numbered_by_feed() {
        state.recall.get_or_insert_default().bottom = Some(state.log.floor());
    }
    drop(state);
    hub.lane(channel.lane()).numbering.advance_to_gap(place);
    appender.marks.end(channel);
    appender.logs.report();
}
