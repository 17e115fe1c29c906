//! Publishing from outside a node: one connection, and no feed behind it.

use std::sync::Arc;

use fantail_wire::Publication;
use tokio::task::JoinHandle;

use super::publish_link::PublishLink;
use super::settings::NatsSettings;
use crate::publish::{check_channels, check_size};
use crate::{PublishError, Receipt};

/// A connection for publishing. It is made anew if it ended between two events.
#[derive(Debug)]
pub struct NatsPublisher {
    settings: NatsSettings,
    /// None after a try that failed.
    open: Option<OpenLink>,
}

/// A connection, and the task that hears its confirmations until the connection ends.
#[derive(Debug)]
struct OpenLink {
    link: Arc<PublishLink>,
    listening: JoinHandle<()>,
}

impl NatsPublisher {
    /// Connects and logs in.
    pub async fn connect(settings: NatsSettings) -> Result<Self, PublishError> {
        let open = Some(OpenLink::new(&settings).await?);
        Ok(Self { settings, open })
    }

    /// Publishes to every node that follows one of the event's channels. Text alone for one channel goes as it is, as
    /// with any program's publish; everything else needs headers.
    pub async fn publish(&mut self, publication: &Publication) -> Result<Receipt, PublishError> {
        check_channels(publication)?;
        check_size(&publication.event, self.settings.event_bytes_max)?;
        // A failure below leaves no connection behind, so that the next event does not go where this one failed.
        let open = match self.open.take() {
            Some(open) if !open.listening.is_finished() => open,
            _ => OpenLink::new(&self.settings).await?,
        };
        let receipt = open.link.publish(publication).await?;
        self.open = Some(open);
        Ok(receipt)
    }
}

impl OpenLink {
    async fn new(settings: &NatsSettings) -> Result<Self, PublishError> {
        let opened = PublishLink::open(settings).await;
        let (link, own) = opened.map_err(|error| {
            PublishError::Unavailable(format!("cannot connect to nats ({}): {error}", settings.address()))
        })?;
        let link = Arc::new(link);
        let listening = tokio::spawn({
            let link = Arc::clone(&link);
            async move { link.hold(own).await }
        });
        Ok(Self { link, listening })
    }
}

impl Drop for OpenLink {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
