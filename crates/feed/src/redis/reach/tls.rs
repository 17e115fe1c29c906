//! The files of a TLS connection to Redis: they prove the server to this client, and this client to the server.
//!
//! Read again for each connection, since certificates are replaced while programs run. Certificates are always checked:
//! a server that signs its own is named by its certificate in `redis_tls_ca`.

use std::path::PathBuf;

use redis::{ClientTlsConfig, TlsCertificates};

use crate::files::{FileError, read_pem};

/// Files in PEM, each only if there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    /// The certificate and its key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    pub(crate) fn read(&self) -> Result<TlsCertificates, FileError> {
        let root_cert = self.ca.as_ref().map(|path| read_pem("redis_tls_ca", path, "CERTIFICATE")).transpose()?;
        let client_tls = match &self.client {
            None => None,
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: read_pem("redis_tls_cert", certificate, "CERTIFICATE")?,
                client_key: read_pem("redis_tls_key", key, "PRIVATE KEY")?,
            }),
        };
        Ok(TlsCertificates { client_tls, root_cert })
    }
}
