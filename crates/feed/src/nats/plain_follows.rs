//! The followed channels without a stream: a machine without IO.
//!
//! One subscription brings all channels, so a channel is followed as soon as that stands.

use fantail_wire::ChannelName;

use super::delivery::{NatsOrder, NatsOrders};
use super::form::NatsEventForm;
use super::incoming::{ChannelSet, Incoming, Read};
use crate::Placement;

/// The wishes, and whether they are fulfilled.
#[derive(Debug, Default)]
pub(super) struct PlainFollows {
    wanted: ChannelSet,
    is_subscribed: bool,
}

impl PlainFollows {
    pub(super) fn follow(&mut self, channel: &ChannelName, orders: &mut NatsOrders) {
        self.wanted.insert(channel.clone());
        if self.is_subscribed {
            orders.push(NatsOrder::Followed { channel: channel.clone(), from: None });
        }
    }

    pub(super) fn unfollow(&mut self, channel: &ChannelName) {
        self.wanted.remove(channel);
    }

    /// Everything that is published arrives from now on.
    pub(super) fn subscribed(&mut self, orders: &mut NatsOrders) {
        self.is_subscribed = true;
        orders.extend(self.wanted.iter().map(|channel| NatsOrder::Followed { channel: channel.clone(), from: None }));
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.is_subscribed
    }

    pub(super) fn lost(&mut self) {
        self.is_subscribed = false;
    }

    /// Takes a message. Returns whether it was for a followed channel. One that comes before the subscription is confirmed is
    /// passed over: the confirmation tells of a gap, or of the place from which the channel is complete.
    pub(super) fn message(&self, message: &Incoming<'_>, orders: &mut NatsOrders) -> bool {
        if !self.is_subscribed {
            return false;
        }
        match message.read(NatsEventForm::Fantail, &self.wanted) {
            Read::Foreign => return false,
            Read::Event(publication) => {
                orders.push(NatsOrder::Event { publication, placement: Placement::Next, is_repaired: false });
            }
            Read::Unusable(channels, error) => {
                orders.push(NatsOrder::Refuse { channel: channels.first().cloned(), error });
                orders.extend(channels.into_iter().map(NatsOrder::Dropped));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).expect("valid")
    }

    fn told(orders: NatsOrders) -> Vec<String> {
        let say = |order| match order {
            NatsOrder::Followed { channel, .. } => format!("followed {channel}"),
            NatsOrder::Event { publication, .. } => publication.event.data,
            NatsOrder::Dropped(channel) => format!("dropped {channel}"),
            NatsOrder::Refuse { .. } => "refused".into(),
            other => unreachable!("{other:?}"),
        };
        orders.into_iter().map(say).collect()
    }

    #[test]
    fn a_channel_is_followed_once_the_subscription_stands_and_again_after_a_loss() {
        let (mut follows, mut orders) = (PlainFollows::default(), NatsOrders::new());
        follows.follow(&channel("a"), &mut orders);
        let early = Incoming { subject: "fantail.a", headers: None, payload: b"early" };
        assert!(!follows.message(&early, &mut orders));
        assert!(orders.is_empty());
        follows.subscribed(&mut orders);
        follows.follow(&channel("b"), &mut orders);
        follows.lost();
        follows.unfollow(&channel("a"));
        follows.follow(&channel("b"), &mut orders);
        follows.subscribed(&mut orders);
        assert_eq!(told(orders), ["followed a", "followed b", "followed b"]);
    }

    #[test]
    fn a_message_that_is_no_event_is_told_to_the_followed_channels_that_it_was_for() {
        let (mut follows, mut orders) = (PlainFollows::default(), NatsOrders::new());
        follows.subscribed(&mut orders);
        follows.follow(&channel("a"), &mut orders);
        orders.clear();
        let message = |subject, payload| Incoming { subject, headers: None, payload };
        assert!(follows.message(&message("fantail.a", b"x"), &mut orders));
        assert!(follows.message(&message("fantail.a", b"\xff"), &mut orders));
        assert!(!follows.message(&message("fantail.b", b"\xff"), &mut orders));
        assert!(follows.message(&message("fantail.%several", b"x"), &mut orders), "it is refused and counted");
        assert_eq!(told(orders), ["x", "refused", "dropped a", "refused"]);
    }
}
