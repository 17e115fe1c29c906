//! The operator's certificates, and the choice between them.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use rustls::Error;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::failure::explain;
use super::files::{File, Files};

#[derive(Debug)]
pub(super) struct Certificates(Vec<Arc<CertifiedKey>>);

impl Certificates {
    pub(super) fn of(files: &Files) -> anyhow::Result<Self> {
        let pairs = files.pairs.iter().map(|(certificate, key)| {
            pair(certificate, key).with_context(|| format!("{} with {}", certificate.told(), key.told()))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the first of them expires, in seconds since 1970.
    pub(super) fn expires_at(&self) -> Option<u64> {
        let expiry = |pair: &Arc<CertifiedKey>| {
            let (_, certificate) = x509_parser::parse_x509_certificate(pair.end_entity_cert().ok()?).ok()?;
            u64::try_from(certificate.validity().not_after.timestamp()).ok()
        };
        self.0.iter().filter_map(expiry).min()
    }
}

fn pair(certificate: &File, key: &File) -> anyhow::Result<Arc<CertifiedKey>> {
    let chain = certificate.certificates()?;
    let key = PrivateKeyDer::from_pem_slice(key.content()).context("the key is no private key in PEM form")?;
    let pair = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    pair.map(Arc::new).map_err(|error| match error {
        Error::InconsistentKeys(_) => anyhow!("the key does not belong to the certificate"),
        error => anyhow!("the certificate or the key cannot be used: {}", explain(&error)),
    })
}

/// The first certificate that is made for the name that the client asks for, or else the first.
impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let is_for = |pair: &&Arc<CertifiedKey>| {
            let parsed = pair.end_entity_cert().ok().and_then(|der| ParsedCertificate::try_from(der).ok());
            parsed.zip(asked.as_ref()).is_some_and(|(parsed, asked)| verify_server_name(&parsed, asked).is_ok())
        };
        self.0.iter().find(is_for).or(self.0.first()).map(Arc::clone)
    }
}
