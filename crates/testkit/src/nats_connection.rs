//! The part of the NATS protocol that tests need: publish, subscribe and ask, over one plain connection.
//!
//! The tested program uses a NATS library, and a judge must not share its mistakes.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    PATIENCE,
    error::{Doing, Error, Result, within},
};

/// The subject on which this connection's answers come.
const INBOX: &str = "_INBOX.testkit";

/// One connection to a NATS server. The server carries out what it is told in that order.
#[derive(Debug)]
pub struct NatsConnection {
    stream: BufReader<TcpStream>,
    /// The server's first line, as JSON.
    info: String,
    inbox: String,
    asked: u64,
}

/// One message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsMessage {
    /// Its subject.
    pub subject: String,
    /// The headers as they are on the wire; empty if there are none.
    pub headers: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl NatsConnection {
    /// Connects without credentials.
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        Self::connect_with(addr, "").await
    }

    /// Connects with more members of the `CONNECT` object, such as `"auth_token":"secret"`.
    pub async fn connect_with(addr: SocketAddr, members: &str) -> Result<Self> {
        let connect = async {
            let stream = TcpStream::connect(addr).await.doing("connecting to nats")?;
            // A question behind a message must not wait for the acknowledgement of that.
            stream.set_nodelay(true).doing("setting up a socket")?;
            let mut stream = BufReader::new(stream);
            let mut info = String::new();
            stream.read_line(&mut info).await.doing("reading the INFO of nats")?;
            let inbox = format!("{INBOX}.{}", stream.get_ref().local_addr().doing("looking at a socket")?.port());
            let mut connection = Self { stream, info, inbox, asked: 0 };
            let comma = if members.is_empty() { "" } else { "," };
            let options = format!("\"verbose\":false,\"headers\":true,\"no_responders\":true{comma}{members}");
            connection.send(format!("CONNECT {{{options}}}\r\nSUB {}.* 1\r\n", connection.inbox).as_bytes()).await?;
            connection.settle().await?;
            Ok(connection)
        };
        within(PATIENCE, "a connection to nats", connect).await
    }

    /// The server's description of itself.
    pub fn info(&self) -> &str {
        &self.info
    }

    /// Publishes and does not wait.
    pub async fn send_message(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        self.send_lines(subject, &[], payload).await
    }

    /// Publishes with headers such as `Fantail-Event: tick`, and does not wait.
    pub async fn send_with_headers(&mut self, subject: &str, headers: &[&str], payload: &[u8]) -> Result<()> {
        self.send_lines(subject, headers, payload).await
    }

    /// Publishes, and waits until the server has taken it.
    pub async fn publish(&mut self, subject: &str, payload: impl AsRef<[u8]>) -> Result<()> {
        self.send_message(subject, payload.as_ref()).await?;
        self.settle().await
    }

    /// Waits until the server has carried out everything that was sent.
    pub async fn settle(&mut self) -> Result<()> {
        self.send(b"PING\r\n").await?;
        within(PATIENCE, "a PONG of nats", async {
            loop {
                if self.next_op().await?.is_none() {
                    return Ok(());
                }
            }
        })
        .await
    }

    /// Subscribes, and waits until that stands.
    pub async fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.send(format!("SUB {subject} 2\r\n").as_bytes()).await?;
        self.settle().await
    }

    /// Waits for the next message.
    pub async fn next_message(&mut self) -> Result<NatsMessage> {
        within(PATIENCE, "a message of nats", async {
            loop {
                if let Some(message) = self.next_op().await? {
                    return Ok(message);
                }
            }
        })
        .await
    }

    /// Asks, and waits for the answer.
    pub async fn request(&mut self, subject: &str, payload: &str) -> Result<String> {
        self.request_with_headers(subject, &[], payload.as_bytes()).await
    }

    /// Asks with headers such as `Fantail-Event: tick`, and waits for the answer.
    pub async fn request_with_headers(&mut self, subject: &str, headers: &[&str], payload: &[u8]) -> Result<String> {
        self.asked += 1;
        let reply = format!("{}.{}", self.inbox, self.asked);
        self.send_lines(&format!("{subject} {reply}"), headers, payload).await?;
        within(PATIENCE, &format!("an answer to {subject}"), async {
            loop {
                match self.next_op().await? {
                    Some(message) if message.subject == reply && message.headers.contains(" 503") => {
                        return Err(Error::Protocol(format!("nobody answers {subject}")));
                    }
                    Some(message) if message.subject == reply => {
                        return Ok(String::from_utf8_lossy(&message.payload).into_owned());
                    }
                    _ => {}
                }
            }
        })
        .await
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).await.doing("writing to nats")
    }

    /// `addresses` are the subject, and the one for the answer if there is to be one.
    async fn send_lines(&mut self, addresses: &str, headers: &[&str], payload: &[u8]) -> Result<()> {
        let (head, lines) = if headers.is_empty() {
            (format!("PUB {addresses} {}\r\n", payload.len()), String::new())
        } else {
            let lines = format!("NATS/1.0\r\n{}\r\n\r\n", headers.join("\r\n"));
            (format!("HPUB {addresses} {} {}\r\n", lines.len(), lines.len() + payload.len()), lines)
        };
        self.send(&[head.as_bytes(), lines.as_bytes(), payload, b"\r\n"].concat()).await
    }

    /// The next message, or `None` for a PONG. Everything else is answered or passed over.
    async fn next_op(&mut self) -> Result<Option<NatsMessage>> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await.doing("reading from nats")? == 0 {
                return Err(Error::Protocol("nats closed the connection".into()));
            }
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["PONG"] => return Ok(None),
                ["PING"] => self.send(b"PONG\r\n").await?,
                ["-ERR", ..] => return Err(Error::Protocol(format!("nats answered {}", line.trim_end()))),
                ["MSG", subject, .., bytes] => return self.message(subject, "0", bytes).await.map(Some),
                ["HMSG", subject, .., head, bytes] => return self.message(subject, head, bytes).await.map(Some),
                _ => {}
            }
        }
    }

    async fn message(&mut self, subject: &str, head: &str, bytes: &str) -> Result<NatsMessage> {
        let number = |text: &str| text.parse::<usize>().map_err(|_| Error::Protocol(format!("nats sent {text:?}")));
        let (head, bytes) = (number(head)?, number(bytes)?);
        let mut payload = vec![0; bytes + 2];
        self.stream.read_exact(&mut payload).await.doing("reading a message of nats")?;
        payload.truncate(bytes);
        let headers = String::from_utf8_lossy(&payload[..head]).into_owned();
        Ok(NatsMessage { subject: subject.to_owned(), headers, payload: payload.split_off(head) })
    }
}
