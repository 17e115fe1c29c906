//! One connection to Redis, and how it is known that it ended.

use std::sync::Arc;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Client, PushInfo, RedisResult};
use tokio::sync::Notify;

use super::settings::RedisSettings;

/// A connection that stands until [`ended`](Self::ended) returns. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    ended: Arc<Notify>,
}

/// Belongs to the connection's driver, whose every way to end drops it: a closed socket, a reply that is no Redis
/// protocol, a panic.
struct Driver {
    ended: Arc<Notify>,
}

impl Link {
    /// Connects and logs in. `on_push` is called for each push in the order of the socket, and may refuse to go on by
    /// returning false.
    pub(super) async fn open(
        settings: &RedisSettings,
        on_push: impl Fn(PushInfo) -> bool + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        let ended = Arc::new(Notify::new());
        let driver = Driver { ended: Arc::clone(&ended) };
        let push_sender = move |push| if on_push(push) { Ok(()) } else { driver.give_up() };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_deadline))
            .set_response_timeout(Some(settings.response_deadline))
            .set_push_sender(push_sender);
        let client = Client::open(settings.connection().clone())?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { connection, ended })
    }

    /// Waits for the end. A connection that ended before the call is told at once: the end leaves a permit.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }
}

impl Driver {
    fn give_up(&self) -> Result<(), SendError> {
        self.ended.notify_one();
        Err(SendError)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.ended.notify_one();
    }
}
