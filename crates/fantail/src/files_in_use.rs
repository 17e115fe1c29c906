//! The parts of the node that are made of files: tokens of the internal listener, and everything of TLS.

use std::sync::Arc;

use fantail_telemetry::Metrics;
use tokio::task::spawn_blocking;

use crate::access::{FILES_INTERVAL, ReadAccess};
use crate::internal_access::InternalAccess;
use crate::revocations;
use crate::running_node::RunningNode;
use crate::tls::TlsServer;

/// Parts of the node that are made of files.
pub(crate) struct FilesInUse {
    pub(crate) internal_access: Arc<InternalAccess>,
    pub(crate) tls: Option<Arc<TlsServer>>,
    pub(crate) internal_tls: Option<Arc<TlsServer>>,
    /// Told which authorities count.
    pub(crate) access: Arc<ReadAccess>,
    /// Told when a certificate expires.
    pub(crate) metrics: Arc<Metrics>,
}

impl FilesInUse {
    /// Reads tokens and certificates again. Streams of clients whose authorities count no longer end.
    pub(crate) async fn read_again(self: &Arc<Self>, node: &RunningNode) {
        let files = Arc::clone(self);
        // A slow disk must not hold up the events.
        let gone = spawn_blocking(move || files.read()).await.unwrap_or(None);
        if let Some(authorities) = gone {
            revocations::end_streams_of_key(node, authorities).await;
        }
    }

    fn read(&self) -> Option<u64> {
        self.internal_access.read_files_again();
        if let Some(tls) = &self.internal_tls {
            tls.read_files_again();
        }
        let gone = self.tls.as_ref().and_then(|tls| {
            let gone = tls.read_files_again();
            self.access.set_client_authorities(tls.client_authorities());
            gone
        });
        self.tell_expiry();
        gone
    }

    pub(crate) fn tell_expiry(&self) {
        let listeners = [&self.tls, &self.internal_tls].into_iter().flatten();
        let first = listeners.filter_map(|tls| tls.expires_at()).min();
        self.metrics.hub().tls_certificate_expiry.set(first.unwrap_or(0));
    }
}

/// Keeps tokens and certificates up to date, for ever.
pub(crate) async fn keep_up_to_date(files: Arc<FilesInUse>, node: Arc<RunningNode>) {
    loop {
        tokio::time::sleep(FILES_INTERVAL).await;
        files.read_again(&node).await;
    }
}
