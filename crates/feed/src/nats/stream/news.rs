//! News of a consumer's subscription: messages with their places, and the server's own words about the consumer.

use async_nats::Message;

use super::stream_log::Delivered;

/// The status of the server's own words.
const IDLE: u16 = 100;

/// Something that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    Message(Delivered),
    /// Nothing is there to be delivered: the consumer's deliveries and the number that it has come to.
    Heartbeat {
        deliveries: u64,
        number: u64,
    },
    /// The server goes on when this was answered.
    FlowControl,
    /// Of no meaning here.
    Other,
}

/// Tells a message from what the server says. A message has a place, and what the server says has none. The status decides
/// nothing, since a publisher may have written one into its message's headers.
pub(super) fn news_of(message: &Message) -> News {
    if let Some(at) = message.reply.as_deref().and_then(place_of) {
        return News::Message(at);
    }
    if message.status.is_none_or(|status| status.as_u16() != IDLE) {
        return News::Other;
    }
    let number = |name: &str| message.headers.as_ref()?.get(name)?.as_str().parse().ok();
    match (number("Nats-Last-Consumer"), number("Nats-Last-Stream")) {
        (Some(deliveries), Some(number)) => News::Heartbeat { deliveries, number },
        _ if message.reply.is_some() => News::FlowControl,
        _ => News::Other,
    }
}

/// The place that a message's reply subject tells: `$JS.ACK.stream.consumer.tries.number.delivery.time.pending`, with two
/// more parts before the stream, and one at the end, where accounts or domains share streams.
fn place_of(reply: &str) -> Option<Delivered> {
    let parts: Vec<_> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let first = match parts.len() {
        7 => 3,
        9.. => 5,
        _ => return None,
    };
    let part = |at: usize| parts.get(first + at)?.parse().ok();
    Some(Delivered { number: part(0)?, delivery: part(1)?, at_ns: part(2)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_its_place_with_and_without_a_domain() {
        let place = Some(Delivered { number: 44, delivery: 7, at_ns: 1_764_000_000_000_000_001 });
        assert_eq!(place_of("$JS.ACK.EVENTS.c1.1.44.7.1764000000000000001.0"), place);
        assert_eq!(place_of("$JS.ACK.hub.Ab12.EVENTS.c1.1.44.7.1764000000000000001.0.x1"), place);
        for other in ["", "$JS.ACK.EVENTS", "$JS.ACK.EVENTS.c1.1.x.7.1.0", "_INBOX.a.b"] {
            assert_eq!(place_of(other), None, "{other}");
        }
    }
}
