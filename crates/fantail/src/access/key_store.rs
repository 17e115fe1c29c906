//! The keys in force: those of the files, and those of a JWKS from the network.
//!
//! The last good set stays in force when a file or the network fails. One question is under way at a time. A token that
//! names an unknown key leads to another question only after a pause: otherwise any client could cause as many as it
//! likes.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use fantail_access::KeySet;
use fantail_config::Access;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::key_files::{self, is_url};
use crate::http_client::{Server, ServerUrl, fetch};

/// How often files are read again.
pub(crate) const FILES_INTERVAL: Duration = Duration::from_secs(10);
/// How often a JWKS is asked for.
const JWKS_INTERVAL: Duration = Duration::from_mins(5);
/// The pause between two questions for unknown keys.
const JWKS_PAUSE: Duration = Duration::from_secs(30);
/// A key set is smaller.
const JWKS_BYTES_MAX: usize = 1 << 20;

/// All keys that tokens may be signed with.
pub(crate) struct KeyStore {
    access: Access,
    current: RwLock<Arc<KeySet>>,
    /// Counts the changes of `current`.
    version: AtomicU64,
    /// Fingerprints of keys that are no longer in force, for the task that ends their streams.
    gone: Mutex<Vec<u64>>,
    /// Signals that there is one more.
    changed: Notify,
    files: Mutex<KeySet>,
    jwks: Option<Jwks>,
}

struct Jwks {
    server: Server,
    deadline: Duration,
    state: tokio::sync::Mutex<JwksState>,
}

#[derive(Default)]
struct JwksState {
    keys: Option<KeySet>,
    asked: Option<Instant>,
    /// Whether the last question was answered with a set.
    is_answered: bool,
}

impl KeyStore {
    /// Reads the files. The network is asked later.
    pub(crate) fn load(access: &Access) -> anyhow::Result<Self> {
        let files = key_files::read(access)?;
        let jwks = access.token_jwks.as_deref().filter(|place| is_url(place)).map(|url| {
            let parsed = ServerUrl::parse(url).map_err(anyhow::Error::msg)?;
            let server = Server::new(parsed, access.token_jwks_ca.as_deref().filter(|_| url.starts_with("https")));
            let server = server.map_err(anyhow::Error::msg)?;
            anyhow::Ok(Jwks { server, deadline: access.origin_deadline, state: tokio::sync::Mutex::default() })
        });
        Ok(Self {
            access: access.clone(),
            current: RwLock::new(Arc::new(files.clone())),
            version: AtomicU64::new(0),
            gone: Mutex::default(),
            changed: Notify::new(),
            files: Mutex::new(files),
            jwks: jwks.transpose().context("token_jwks")?,
        })
    }

    /// The keys in force.
    pub(crate) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read())
    }

    /// Changes with each change of the keys.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether a set is asked for over the network, so an unknown key may be in a newer one.
    pub(crate) fn may_have_newer(&self) -> bool {
        self.jwks.is_some()
    }

    /// Asks for a newer set, unless that was done a short while ago. Waits while another task asks. True if the keys in
    /// force are newer than the call.
    pub(crate) async fn look_for_newer(&self) -> bool {
        self.ask_again_after(JWKS_PAUSE).await
    }

    /// Brings the keys up to date when that is due. Returns the fingerprints of those that are gone.
    pub(crate) async fn bring_up_to_date(&self) -> Vec<u64> {
        self.ask_again_after(JWKS_INTERVAL).await;
        let gone = mem::take(&mut *self.gone.lock());
        if gone.is_empty() {
            tokio::select! {
                () = tokio::time::sleep(FILES_INTERVAL) => self.read_files_again(),
                () = self.changed.notified() => {}
            }
        }
        gone
    }

    /// Reads the files again; if one cannot be read the keys stay.
    pub(crate) fn read_files_again(&self) {
        match key_files::read(&self.access) {
            Ok(files) => {
                *self.files.lock() = files;
                let state = self.jwks.as_ref().map(|jwks| jwks.state.try_lock());
                match state {
                    None => {
                        self.put(None);
                    }
                    Some(Ok(state)) => {
                        self.put(state.keys.clone());
                    }
                    // A question to the network is under way: its answer puts both together, or the next turn does.
                    Some(Err(_)) => {}
                }
            }
            Err(error) => warn!(error = format!("{error:#}"), "keys cannot be read again, the last good ones stay"),
        }
    }

    async fn ask_again_after(&self, pause: Duration) -> bool {
        let called = Instant::now();
        let Some(jwks) = &self.jwks else { return false };
        let mut state = jwks.state.lock().await;
        if state.asked.is_some_and(|asked| asked >= called) {
            // Another task asked while this call waited. Its answer is this one's, good or bad.
            return state.is_answered;
        }
        // Until the first answer the pauses are short.
        let pause = if state.keys.is_some() { pause } else { pause.min(Duration::from_secs(1)) };
        if state.asked.is_some_and(|asked| asked.elapsed() < pause) {
            return false;
        }
        state.asked = Some(Instant::now());
        state.is_answered = false;
        match jwks.ask().await {
            Ok(keys) => {
                state.keys = Some(keys.clone());
                state.is_answered = self.put(Some(keys));
                state.is_answered
            }
            Err(error) => {
                let has_keys = state.keys.is_some();
                warn!(error = format!("{error:#}"), has_keys, "token_jwks cannot be had, the last good set stays");
                false
            }
        }
    }

    /// Puts the keys of files and network in force. False if they cannot be.
    fn put(&self, jwks: Option<KeySet>) -> bool {
        let files = self.files.lock().clone();
        let joined = match KeySet::joined([files, jwks.unwrap_or_default()]) {
            Ok(joined) => joined,
            Err(error) => {
                warn!(%error, "the keys are not taken, the last good ones stay");
                return false;
            }
        };
        let mut current = self.current.write();
        let (gone, new) = (current.gone_in(&joined), joined.gone_in(&current));
        if gone.is_empty() && new.is_empty() {
            return true;
        }
        info!(keys = joined.len(), gone = gone.len(), new = new.len(), "the keys of tokens have changed");
        *current = Arc::new(joined);
        self.version.fetch_add(1, Ordering::Release);
        self.gone.lock().extend(gone);
        self.changed.notify_one();
        true
    }
}

impl Jwks {
    async fn ask(&self) -> anyhow::Result<KeySet> {
        let asking = fetch(&self.server, JWKS_BYTES_MAX);
        let (status, body) = timeout(self.deadline, asking).await.context("no answer within origin_deadline")??;
        if !status.is_success() {
            bail!("{} answered {status}", self.server.url.authority());
        }
        Ok(KeySet::from_jwks(&body)?)
    }
}
