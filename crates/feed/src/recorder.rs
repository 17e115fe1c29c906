//! An intake for tests: it writes down every call, and refuses an event with the data `too large`.

use fantail_wire::{ChannelName, EncodeError, EventId, GapReason, Lane, Publication, Terms};

use crate::{FeedState, Intake, Placement, Recalled, Receipt};

/// The calls as lines, in their order.
#[derive(Debug, Default)]
pub(crate) struct IntakeRecorder(pub(crate) Vec<String>);

impl Intake for IntakeRecorder {
    fn event(&mut self, publication: &Publication, placement: Placement) -> Result<Receipt, EncodeError> {
        if publication.event.data == "too large" {
            return Err(EncodeError::TooLarge { max: 1, found: 2 });
        }
        let channels: Vec<_> = publication.channels.iter().map(ChannelName::as_str).collect();
        let place = match placement {
            Placement::Next => String::new(),
            Placement::Numbered(id) => format!("{} ", id.number),
            Placement::Unnumbered => "unnumbered ".into(),
        };
        self.0.push(format!("{place}{}={}", channels.join("+"), publication.event.data));
        Ok(Receipt { id: None, subscribers: Some(7) })
    }

    fn followed(&mut self, channel: &ChannelName, _from: Option<EventId>) {
        self.0.push(format!("followed {channel}"));
    }

    fn lost(&mut self, _lane: Lane) {
        self.0.push("lost".into());
    }

    fn state(&mut self, state: FeedState) {
        self.0.push(format!("{state:?}"));
    }

    fn synced(&mut self, _lane: Lane, terms: &Terms) {
        self.0.push(format!("synced {}", terms.number));
    }

    fn gap(&mut self, channel: &ChannelName, at: EventId, _reason: GapReason) {
        self.0.push(format!("gap {} {channel}", at.number));
    }

    fn dropped(&mut self, channel: &ChannelName) {
        self.0.push(format!("dropped {channel}"));
    }

    fn recalled(&mut self, channel: &ChannelName, recalled: Recalled) {
        self.0.push(format!("recalled {channel} {recalled:?}"));
    }
}
