//! The authorities that vouch for a server, and the message if they do not.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A bundle of certificates is smaller; a device or a log named by mistake is larger.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The authorities. A server is trusted if it holds a certificate of theirs for its name.
#[derive(Debug, Clone)]
pub(super) struct Trust(Arc<ClientConfig>);

/// The server is not proven to be the one that was meant. Asking again does not change that.
#[derive(Debug)]
pub(crate) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl Trust {
    /// Trusts what the system trusts, or the file in `SSL_CERT_FILE`.
    pub(super) fn of_system() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (known, _) = roots.add_parsable_certificates(found.certs);
        match (known, found.errors.first()) {
            (1.., _) => Ok(Self::new(roots)),
            (0, Some(error)) => {
                Err(format!("this system's certificate authorities cannot be read: {error}; name a file with --ca"))
            }
            (0, None) => Err("this system has no certificate authorities; name a file with --ca".to_owned()),
        }
    }

    /// Trusts the certificates in a PEM file and no others.
    pub(super) fn of_file(path: &Path) -> Result<Self, String> {
        let told = |reason: String| format!("{}: {reason}", path.display());
        let pem = read(path).map_err(|error| told(format!("cannot be read: {error}")))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let added =
                certificate.map_err(|error| error.to_string()).and_then(|c| roots.add(c).map_err(|e| e.to_string()));
            added.map_err(|reason| told(format!("holds a certificate that cannot be read: {reason}")))?;
        }
        if roots.is_empty() {
            return Err(told("holds no PEM block of a CERTIFICATE".to_owned()));
        }
        Ok(Self::new(roots))
    }

    /// The same for a client that shows the certificate in a PEM file, if the server asks for one.
    pub(super) fn showing(&self, certificate: &Path, key: &Path) -> Result<Self, String> {
        let read = |path: &Path| read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()));
        let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| format!("{}: {error}", certificate.display()))?;
        let no_key = |error: &dyn fmt::Display| format!("{}: {error}", key.display());
        let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| no_key(&error))?;
        let pair = CertifiedKey::from_der(chain, private, self.0.crypto_provider()).map_err(|error| no_key(&error))?;
        let mut config = ClientConfig::clone(&self.0);
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair));
        Ok(Self(Arc::new(config)))
    }

    fn new(roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }

    /// Makes sure that the other end is `host`. Messages call it `address`.
    pub(super) async fn connect(
        &self,
        host: &str,
        address: &str,
        socket: TcpStream,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Refused(format!("no certificate can be for the name in {address}")))?;
        let connected = TlsConnector::from(Arc::clone(&self.0)).connect(name, socket).await;
        connected
            .map_err(|error| match tls_error(&error).and_then(refusal) {
                Some(reason) => anyhow::Error::new(Refused(format!("the server {reason}"))),
                None => anyhow::Error::new(error),
            })
            .with_context(|| format!("cannot speak TLS with {address}"))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 4 MiB, so it is not the file that was meant"));
    }
    Ok(bytes)
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The reason to refuse the server, if asking again would not change it.
fn refusal(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::InvalidCertificate(error) => Some(certificate_refusal(error)),
        rustls::Error::InvalidMessage(_) => Some("does not speak TLS; try an http:// url".to_owned()),
        _ => None,
    }
}

fn certificate_refusal(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "shows a certificate that no known authority has signed; name the file of its authority with --ca"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            format!("shows a certificate for another name: {}", names.join(", "))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "shows a certificate that is for no such name".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "shows a certificate that has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "shows a certificate that is not valid yet; look at the clocks here and there".to_owned()
        }
        // The type is of another crate, so only its name can be compared.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "shows the certificate of an authority; it needs one of a server, with CA:FALSE".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            "shows a certificate of version 1 of X.509; it needs one of version 3, with extensions".to_owned()
        }
        other => format!("shows a certificate that is not accepted: {other}"),
    }
}

/// The name in `DnsName("h.example")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner.trim_end_matches(')'));
    inner.trim_matches('"')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    #[test]
    fn a_file_that_names_no_authority_is_told_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        for (text, reason) in [
            ("", "holds no PEM block of a CERTIFICATE"),
            ("hunter2", "holds no PEM block of a CERTIFICATE"),
            (
                "-----BEGIN CERTIFICATE-----\naGk=\n-----END CERTIFICATE-----\n",
                "holds a certificate that cannot be read",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let told = Trust::of_file(&path).unwrap_err();
            assert!(told.starts_with(&format!("{}: {reason}", path.display())) && !told.contains("hunter2"), "{told}");
        }
        let told = Trust::of_file(Path::new("/dev/zero")).unwrap_err();
        assert!(told.contains("larger than 4 MiB"), "{told}");
    }

    #[test]
    fn names_in_a_certificate_are_told_as_people_write_them() {
        for (told, name) in [("DnsName(\"h.example\")", "h.example"), ("IpAddress(127.0.0.1)", "127.0.0.1"), ("x", "x")]
        {
            assert_eq!(bare(told), name);
        }
    }
}
