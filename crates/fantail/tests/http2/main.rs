//! HTTP/2: the streams of many tabs over one connection, by the same promises as over HTTP/1.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod answers;
mod conformance;
mod hostile;
#[path = "../common/node.rs"]
mod node;
mod tabs;

use std::net::SocketAddr;

use fantail_testkit::{Certificates, Fantail, Http2Client, TlsTrust};

use node::tls_node;

/// The window that a client begins with if it says nothing else.
const WINDOW: u32 = 65_535;

/// A node that speaks HTTP/2 on both of its public listeners.
struct Served {
    node: Fantail,
    tls: SocketAddr,
    trust: TlsTrust,
    /// Kept for its files.
    _certificates: Certificates,
}

impl Served {
    async fn start(flags: &[&str]) -> Self {
        let certificates = Certificates::make().unwrap();
        let (node, tls) = tls_node(&certificates, &[&["--http2", "--http2-plain"], flags].concat()).await;
        let trust = TlsTrust::new(&certificates.ca()).unwrap();
        Self { node, tls, trust, _certificates: certificates }
    }

    async fn over_tls(&self) -> Http2Client {
        self.over_tls_with(WINDOW).await
    }

    async fn over_tls_with(&self, window: u32) -> Http2Client {
        Http2Client::connect(self.tls, Some(&self.trust), window).await.unwrap()
    }

    async fn plain(&self) -> Http2Client {
        Http2Client::connect(self.node.public(), None, WINDOW).await.unwrap()
    }
}
