//! The rule for certificates of clients: whose they must be, and when they count.

use std::io;
use std::sync::Arc;

use anyhow::Context;
use fantail_access::ClientCertificate;
use fantail_config::ClientAuth;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConnection};

use super::files::{File, Files, Places};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientRule {
    /// The fingerprint of the authorities, 0 if clients are asked for no certificate.
    pub(super) authorities: u64,
    auth: ClientAuth,
}

impl ClientRule {
    pub(super) fn of(files: &Files, places: &Places) -> Self {
        let first_bytes = |file: &File| u64::from_be_bytes(*file.digest().first_chunk().expect("32 bytes")).max(1);
        Self { authorities: files.client_ca.as_ref().map_or(0, first_bytes), auth: places.client_auth }
    }

    pub(super) fn verifier(
        self,
        authorities: &File,
        provider: Arc<CryptoProvider>,
    ) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
        let mut roots = RootCertStore::empty();
        for authority in authorities.certificates()? {
            roots.add(authority).with_context(|| authorities.told())?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        let verifier = match self.auth {
            ClientAuth::Required => verifier,
            ClientAuth::Optional => verifier.allow_unauthenticated(),
        };
        verifier.build().with_context(|| authorities.told())
    }

    /// The rule as bytes that a ticket is bound to.
    pub(super) fn binding(self) -> [u8; 9] {
        let mut bytes = [u8::from(self.auth == ClientAuth::Required); 9];
        bytes[..8].copy_from_slice(&self.authorities.to_be_bytes());
        bytes
    }

    /// Judges a client behind its handshake, and returns the certificate that it has shown. A resumed session brings that of its
    /// first handshake, and rustls does not look at it again.
    pub(super) fn judge(self, connection: &ServerConnection, now: u64) -> io::Result<Option<ClientCertificate>> {
        if self.authorities == 0 {
            return Ok(None);
        }
        let refused = |reason| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        let Some(shown) = connection.peer_certificates().and_then(<[_]>::first) else {
            return match self.auth {
                ClientAuth::Optional => Ok(None),
                ClientAuth::Required => refused("the client has shown no certificate"),
            };
        };
        match ClientCertificate::of_der(shown, self.authorities) {
            None => refused("the client's certificate cannot be read"),
            Some(certificate) if !certificate.holds_at(now) => refused("the client's certificate is not valid now"),
            certificate => Ok(certificate),
        }
    }
}
