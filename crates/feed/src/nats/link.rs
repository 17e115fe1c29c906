//! One connection to one server, from the login to its end.
//!
//! The library would connect again by itself, and what was published in between would be missing without a sign. So a
//! connection ends here when the library is about to try again, before anything of the next one can arrive, and
//! its holder makes a new one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, Event, ServerError};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::settings::{NatsSettings, NatsSettingsError, READ_BYTES};
use crate::random::random_below;

/// The library's one further try, which nobody waits for, is not made before the connection was let go.
const PAUSE_BEFORE_FURTHER_TRY: Duration = Duration::from_secs(1);
/// Words of a server about what it did not permit that are kept until somebody asks.
const REFUSALS_MAX: usize = 256;
/// How often the server is asked for a sign of life beside the probes.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// A connection that is logged in.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    end: watch::Receiver<Option<LinkEnd>>,
    refusals: Arc<Mutex<VecDeque<String>>>,
}

/// Why a connection cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkEnd {
    #[error("the connection ended")]
    Disconnected,
    #[error("this node was slower than nats, and messages were dropped")]
    Slow,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Settings(#[from] NatsSettingsError),
    #[error("{0}")]
    Connect(String),
    #[error("nothing answered within {0:?}")]
    Late(Duration),
}

impl Link {
    /// Connects to one of the servers: to each in turn, from a random one on, until one lets this node in.
    pub(super) async fn open(settings: &NatsSettings) -> Result<Self, LinkError> {
        let deadline = Instant::now() + settings.connect_deadline;
        let late = || LinkError::Late(settings.connect_deadline);
        let first = random_below(settings.servers.len() as u64) as usize;
        let mut last = late();
        for at in 0..settings.servers.len() {
            // A server that does not answer leaves time for the others.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(settings.servers.len() - at).unwrap_or(1);
            match timeout(share, Self::open_at(settings, (first + at) % settings.servers.len())).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => last = error,
                Err(_) => last = late(),
            }
        }
        Err(last)
    }

    async fn open_at(settings: &NatsSettings, server: usize) -> Result<Self, LinkError> {
        let (ending, end) = watch::channel(None);
        let ending = Arc::new(ending);
        let refusals = Arc::<Mutex<VecDeque<String>>>::default();
        let refused = Arc::clone(&refusals);
        let options = settings.connect_options().await?;
        let client = options
            .name("fantail")
            .connection_timeout(settings.connect_deadline)
            .request_timeout(Some(settings.response_deadline))
            .ping_interval(PING_INTERVAL)
            .read_buffer_capacity(READ_BYTES)
            .subscription_capacity(settings.queue_messages_max)
            .ignore_discovered_servers()
            .max_reconnects(1)
            .reconnect_delay_callback(end_at_second_try(Arc::clone(&ending)))
            .event_callback(move |event| {
                match event {
                    Event::SlowConsumer(_) => end_with(&ending, LinkEnd::Slow),
                    Event::Disconnected | Event::Closed => end_with(&ending, LinkEnd::Disconnected),
                    Event::ServerError(ServerError::Other(error)) => keep(&mut refused.lock(), error),
                    _ => {}
                }
                std::future::ready(())
            })
            .connect(settings.servers[server].clone())
            .await
            .map_err(|error| LinkError::Connect(told(&error)))?;
        Ok(Self { client, end, refusals })
    }

    /// Whether what comes over it is still its own. Asked before each message is handed down.
    pub(super) fn end(&self) -> Option<LinkEnd> {
        *self.end.borrow()
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) -> LinkEnd {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        ended.ok().and_then(|end| *end).unwrap_or(LinkEnd::Disconnected)
    }

    /// The last thing that the server did not permit.
    pub(super) fn refused(&self) -> Option<String> {
        self.refusals.lock().back().cloned()
    }

    /// That a message to `subject` was not permitted, if the server has said so. It says so before it carries out what
    /// came behind the message, and the library tells of it by a task of its own, which gets its turn first.
    pub(super) async fn take_refusal(&self, subject: &str) -> Option<String> {
        tokio::task::yield_now().await;
        let mut refusals = self.refusals.lock();
        let at = refusals.iter().position(|told| told.contains(&format!("\"{subject}\"")))?;
        refusals.remove(at)
    }

    /// Waits at most until then for what `answer` brings, and not beyond the end of the connection.
    pub(super) async fn within<T>(&self, deadline: Duration, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answer = timeout_at(Instant::now() + deadline, answer) => answer.ok(),
            _ = self.ended() => None,
        }
    }
}

/// The library asks how long to wait before each try. The first is the one that was asked for.
fn end_at_second_try(ending: Arc<watch::Sender<Option<LinkEnd>>>) -> impl Fn(usize) -> Duration {
    let is_connected = AtomicBool::new(false);
    move |_| {
        if !is_connected.swap(true, Ordering::Relaxed) {
            return Duration::ZERO;
        }
        end_with(&ending, LinkEnd::Disconnected);
        PAUSE_BEFORE_FURTHER_TRY
    }
}

/// The newest ones: a publisher without rights must not fill the memory.
fn keep(refusals: &mut VecDeque<String>, refusal: String) {
    if refusals.len() == REFUSALS_MAX {
        refusals.pop_front();
    }
    refusals.push_back(refusal);
}

fn end_with(ending: &watch::Sender<Option<LinkEnd>>, end: LinkEnd) {
    ending.send_if_modified(|ended| ended.is_none() && ended.replace(end).is_none());
}

/// The kind of a failure with its cause. The library names the address nowhere.
fn told(error: &ConnectError) -> String {
    let advice = match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "; look at nats_username, nats_token_file, nats_nkey_file and nats_credentials_file"
        }
        ConnectErrorKind::Tls => "; look at nats_tls_ca",
        // A faulty certificate is an error of the socket.
        ConnectErrorKind::Io if error.to_string().contains("peer certificate") => "; look at nats_tls_ca",
        _ => "",
    };
    format!("{error}{advice}")
}
