//! TLS in front of a server that speaks none: it passes one request on, and then whatever comes back.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use fantail_testkit::Certificates;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Listens in detached threads that end with the test.
pub(crate) struct TlsFront {
    pub(crate) address: String,
    certificates: Certificates,
}

impl TlsFront {
    /// Passes requests on to the server at `inner`.
    pub(crate) fn before(inner: &str) -> Self {
        let certificates = Certificates::make().unwrap();
        let mut config = server_config(&certificates);
        config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let inner = inner.to_owned();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let (outer, inner) = (StreamOwned::new(connection, socket.unwrap()), inner.clone());
                // A client that leaves, or that does not trust us, ends this thread and nothing else.
                std::thread::spawn(move || pass_on(outer, &inner));
            }
        });
        Self { address, certificates }
    }

    /// The authority that clients must trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.certificates.ca()
    }
}

/// A server that shows the certificate of these.
pub(crate) fn server_config(certificates: &Certificates) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(certificates.server()).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(certificates.server_key()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

fn pass_on(mut outer: StreamOwned<ServerConnection, TcpStream>, inner: &str) -> io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        outer.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let mut inner = TcpStream::connect(inner)?;
    inner.write_all(&request)?;
    let mut answer = vec![0; 64 * 1024];
    loop {
        let count = inner.read(&mut answer)?;
        if count == 0 {
            return Ok(());
        }
        outer.write_all(&answer[..count])?;
        outer.flush()?;
    }
}
