//! The TLS of a scenario: one certificate for all servers, and what clients offer.

use std::sync::Arc;

use fantail_testkit::Certificates;

use crate::target::ServerUnderTest;
use crate::tls_options::{KeyExchange, TlsOptions, TlsVersion};

/// The certificate of all servers, and the TLS that clients offer.
#[derive(Debug, Clone)]
pub(crate) struct Encryption {
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) version: TlsVersion,
    pub(crate) key_exchange: KeyExchange,
}

impl Encryption {
    /// The same server with streams that offer this TLS.
    pub(crate) fn offered_to(&self, target: ServerUnderTest) -> ServerUnderTest {
        let Self { certificates, version, key_exchange } = self;
        let tls = TlsOptions { authority: Some(certificates.ca()), version: *version, key_exchange: *key_exchange };
        ServerUnderTest { tls, ..target }
    }
}
