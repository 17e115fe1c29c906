//! Publishes to NATS as other programs do: one message for each event, with a header for the names if it is for several
//! channels.

use std::net::SocketAddr;

use anyhow::{Result, bail};

use crate::nats_connection::NatsConnection;

/// One connection, made when it is needed.
#[derive(Debug)]
pub(super) struct NatsSender {
    server: SocketAddr,
    has_stream: bool,
    connection: Option<NatsConnection>,
}

impl NatsSender {
    /// To this server. With `has_stream` an event is accepted once the stream has stored it.
    pub(super) const fn new(server: SocketAddr, has_stream: bool) -> Self {
        Self { server, has_stream, connection: None }
    }

    /// Connects ahead of the first event.
    pub(super) async fn prepare(&mut self) -> Result<()> {
        self.connection().await.map(drop)
    }

    /// Sends one event and waits until it is accepted.
    pub(super) async fn send(&mut self, channels: &[&str], data: &str) -> Result<()> {
        let has_stream = self.has_stream;
        let (subject, headers) = address(channels);
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let connection = self.connection().await?;
        if has_stream {
            let answer = connection.request_with_headers(&subject, &headers, data.as_bytes()).await?;
            if !is_stored(&answer) {
                bail!("the stream refused the event: {answer}");
            }
        } else {
            match headers.as_slice() {
                [] => connection.send_message(&subject, data.as_bytes()).await?,
                headers => connection.send_with_headers(&subject, headers, data.as_bytes()).await?,
            }
            connection.settle().await?;
        }
        Ok(())
    }

    /// Drops the connection.
    pub(super) fn forget(&mut self) {
        self.connection = None;
    }

    async fn connection(&mut self) -> Result<&mut NatsConnection> {
        Ok(match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(NatsConnection::connect(self.server).await?),
        })
    }
}

/// The subject and the headers of an event for these channels. None of their names has an empty part.
fn address(channels: &[&str]) -> (String, Vec<String>) {
    match channels {
        [channel] => (format!("fantail.{channel}"), Vec::new()),
        several => ("fantail.%several".to_owned(), vec![format!("Fantail-Channels: {}", several.join(","))]),
    }
}

/// Whether a stream's answer names the place that it gave to the message.
fn is_stored(answer: &str) -> bool {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
    answer["error"].is_null() && answer["seq"].is_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NatsServer;

    #[test]
    fn only_an_answer_with_a_place_says_that_an_event_is_stored() {
        assert!(is_stored(r#"{"stream":"EVENTS","seq":7}"#));
        assert!(!is_stored(r#"{"error":{"code":503,"description":"no"},"stream":"EVENTS","seq":0}"#));
        assert!(!is_stored(r#"{"stream":"EVENTS"}"#) && !is_stored(""));
    }

    #[tokio::test]
    #[allow(clippy::unwrap_used)] // a failed unwrap is the failed test
    async fn an_event_is_accepted_where_a_stream_keeps_it_and_refused_where_none_does() {
        let server = NatsServer::start_jetstream().await.unwrap();
        let mut plain = NatsSender::new(server.addr(), false);
        let mut stored = NatsSender::new(server.addr(), true);
        plain.send(&["a"], "nobody hears it").await.unwrap();
        assert!(stored.send(&["a"], "nobody keeps it").await.is_err());
        server.make_stream("EVENTS", "").await.unwrap();
        stored.forget();
        stored.send(&["a"], "one").await.unwrap();
        stored.send(&["a", "b"], "two").await.unwrap();
        plain.send(&["a", "b"], "three").await.unwrap();
        let kept = async |number: u64| {
            let subject = "$JS.API.STREAM.MSG.GET.EVENTS";
            let text = server.ask(subject, &format!(r#"{{"seq":{number}}}"#)).await.unwrap();
            let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
            (answer["message"]["subject"].as_str().unwrap().to_owned(), answer["message"]["hdrs"].is_string())
        };
        assert_eq!(kept(1).await, ("fantail.a".to_owned(), false));
        assert_eq!(kept(2).await, ("fantail.%several".to_owned(), true));
        assert_eq!(kept(3).await, ("fantail.%several".to_owned(), true));
    }
}
