//! The part of JetStream's API that a node needs: requests and answers in JSON, over one connection.

use std::time::Duration;

use async_nats::{Client, Message, RequestError, SubscribeError, Subscriber};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::stream_log::{Delivered, StreamState};

/// Requests about one stream.
#[derive(Debug, Clone)]
pub(super) struct StreamApi {
    pub(super) client: Client,
    pub(super) stream: String,
}

/// A consumer and its messages. It is gone at the server soon after it is dropped here.
pub(super) struct Consumer {
    pub(super) messages: Subscriber,
    /// Messages that it had to deliver when it was made.
    pub(super) pending: u64,
    pub(super) name: String,
}

/// Which messages a consumer delivers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    /// The first number.
    pub(super) from: u64,
    /// The one subject; none for all.
    pub(super) subject: Option<&'a str>,
    /// The longest silence.
    pub(super) heartbeat: Duration,
}

/// Something that a consumer's subscription brought.
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

/// Why the stream could not be asked.
#[derive(Debug, thiserror::Error)]
pub(in crate::nats) enum ApiError {
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("{0}")]
    Subscribe(#[from] SubscribeError),
    #[error("{description} ({code})")]
    Refused { code: u16, description: String },
    #[error("its answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalText,
}

#[derive(Deserialize)]
struct RefusalText {
    code: u16,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct StreamInfo {
    created: String,
    state: InfoState,
}

#[derive(Deserialize)]
struct InfoState {
    messages: u64,
    first_seq: u64,
    last_seq: u64,
    #[serde(default)]
    num_deleted: u64,
    #[serde(default)]
    deleted: Option<Vec<u64>>,
}

#[derive(Deserialize)]
struct ConsumerInfo {
    name: String,
    #[serde(default)]
    num_pending: u64,
}

impl StreamApi {
    /// The stream as it is now.
    pub(super) async fn state(&self) -> Result<StreamState, ApiError> {
        let info: StreamInfo = self.ask("STREAM.INFO", &Value::Null).await?;
        Ok(self.state_of(&info))
    }

    /// The same, and the numbers between its first and its last that are gone; none if those are too many to be listed.
    pub(super) async fn state_with_deleted(
        &self,
        deleted_max: u64,
    ) -> Result<(StreamState, Option<Vec<u64>>), ApiError> {
        let info: StreamInfo = self.ask("STREAM.INFO", &Value::Null).await?;
        match info.state.num_deleted {
            0 => return Ok((self.state_of(&info), Some(Vec::new()))),
            found if found > deleted_max => return Ok((self.state_of(&info), None)),
            _ => {}
        }
        let info: StreamInfo = self.ask("STREAM.INFO", &json!({ "deleted_details": true })).await?;
        let state = self.state_of(&info);
        Ok((state, info.state.deleted))
    }

    /// Makes a consumer that the server pushes to this connection. It acknowledges nothing, so it takes nothing away from
    /// others.
    pub(super) async fn consume(&self, reading: Reading<'_>) -> Result<Consumer, ApiError> {
        let inbox = self.client.new_inbox();
        let messages = self.client.subscribe(inbox.clone()).await?;
        let mut config = json!({
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": reading.from,
            "ack_policy": "none",
            "max_deliver": 1,
            "replay_policy": "instant",
            "flow_control": true,
            "idle_heartbeat": u64::try_from(reading.heartbeat.as_nanos()).unwrap_or(u64::MAX),
            "mem_storage": true,
            "num_replicas": 1,
        });
        if let Some(subject) = reading.subject {
            config["filter_subject"] = subject.into();
        }
        let request = json!({ "stream_name": self.stream, "config": config });
        let info: ConsumerInfo = self.ask("CONSUMER.CREATE", &request).await?;
        Ok(Consumer { messages, pending: info.num_pending, name: info.name })
    }

    /// Ends a consumer. If that fails it ends by itself, since nobody listens to it.
    pub(super) async fn end(&self, consumer: Consumer) {
        let Consumer { messages, name, .. } = consumer;
        drop(messages);
        let _: Result<Value, _> = self.ask(&format!("CONSUMER.DELETE.{}.{name}", self.stream), &Value::Null).await;
    }

    /// Lets the server go on.
    pub(super) async fn go_on(&self, message: &Message) {
        let stalled = message.headers.as_ref().and_then(|headers| headers.get("Nats-Consumer-Stalled"));
        let subject = message.reply.as_ref().map(ToString::to_string).or_else(|| stalled.map(ToString::to_string));
        if let Some(subject) = subject {
            // If it fails the connection has ended.
            let _ = self.client.publish(subject, bytes::Bytes::new()).await;
        }
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str, request: &Value) -> Result<T, ApiError> {
        let subject = match what {
            "STREAM.INFO" | "CONSUMER.CREATE" => format!("$JS.API.{what}.{}", self.stream),
            whole => format!("$JS.API.{whole}"),
        };
        let payload = if request.is_null() { Vec::new() } else { serde_json::to_vec(request)? };
        let answer = self.client.request(subject, payload.into()).await?;
        if let Ok(Refusal { error }) = serde_json::from_slice(&answer.payload) {
            return Err(ApiError::Refused { code: error.code, description: error.description });
        }
        Ok(serde_json::from_slice(&answer.payload)?)
    }

    fn state_of(&self, info: &StreamInfo) -> StreamState {
        let InfoState { messages, first_seq, last_seq, .. } = info.state;
        let (name, created) = (self.stream.clone(), info.created.clone());
        StreamState { name, created, messages, first: first_seq, last: last_seq }
    }
}

/// Tells a message from what the server says about its consumer.
pub(super) fn news_of(message: &Message) -> News {
    let number = |name: &str| message.headers.as_ref()?.get(name)?.as_str().parse().ok();
    match message.status.map(|status| status.as_u16()) {
        None => message.reply.as_deref().and_then(place_of).map_or(News::Other, News::Message),
        Some(100) => match (number("Nats-Last-Consumer"), number("Nats-Last-Stream")) {
            (Some(deliveries), Some(number)) => News::Heartbeat { deliveries, number },
            _ if message.reply.is_some() => News::FlowControl,
            _ => News::Other,
        },
        Some(_) => News::Other,
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
