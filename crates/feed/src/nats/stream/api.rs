//! The part of JetStream's API that a node needs: requests and answers in JSON, over one connection.

use std::time::Duration;

use async_nats::{Client, Message, RequestError, SubscribeError, Subscriber};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::stream_log::StreamState;
use crate::nats::form::NatsEventForm;

/// The code of a request about a stream that there is not.
const NOT_FOUND: u16 = 404;

/// Requests about one stream.
#[derive(Debug, Clone)]
pub(super) struct StreamApi {
    pub(super) client: Client,
    pub(super) stream: String,
    pub(super) form: NatsEventForm,
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

/// Why the stream could not be asked.
#[derive(Debug, thiserror::Error)]
pub(in crate::nats) enum ApiError {
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("{0}")]
    Subscribe(#[from] SubscribeError),
    #[error("{0}")]
    NotPermitted(String),
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
    /// The stream, made if there is none: for those whose publishers wait for a subscriber to make it.
    pub(super) async fn state_or_new(&self) -> Result<StreamState, ApiError> {
        match self.state().await {
            Err(ApiError::Refused { code: NOT_FOUND, .. }) => {
                let made: Value =
                    self.ask(&format!("STREAM.CREATE.{}", self.stream), &json!({ "name": self.stream })).await?;
                drop(made);
                tracing::info!(stream = self.stream, "made the stream in nats, since there was none");
                self.state().await
            }
            found => found,
        }
    }

    /// The stream as it is now.
    pub(super) async fn state(&self) -> Result<StreamState, ApiError> {
        let info = self.info(&Value::Null).await?;
        Ok(self.state_of(&info))
    }

    /// The same, and the numbers between its first and its last that are gone; none if those are too many to be listed.
    pub(super) async fn state_with_deleted(
        &self,
        deleted_max: u64,
    ) -> Result<(StreamState, Option<Vec<u64>>), ApiError> {
        let info = self.info(&Value::Null).await?;
        match info.state.num_deleted {
            0 => return Ok((self.state_of(&info), Some(Vec::new()))),
            found if found > deleted_max => return Ok((self.state_of(&info), None)),
            _ => {}
        }
        let info = self.info(&json!({ "deleted_details": true })).await?;
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
        let info: ConsumerInfo = self.ask(&format!("CONSUMER.CREATE.{}", self.stream), &request).await?;
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

    async fn info(&self, request: &Value) -> Result<StreamInfo, ApiError> {
        self.ask(&format!("STREAM.INFO.{}", self.stream), request).await
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str, request: &Value) -> Result<T, ApiError> {
        let payload = if request.is_null() { Vec::new() } else { serde_json::to_vec(request)? };
        let answer = self.client.request(format!("$JS.API.{what}"), payload.into()).await?;
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
