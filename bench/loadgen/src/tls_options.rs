//! TLS of the streams, as the command line has it: the trusted authority, the version and the key exchange. Nothing here
//! speaks TLS; `hold/tls.rs` does.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// How streams at an `https://` URL are opened. Every one of them is offered the same, so that two servers do the same work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct TlsOptions {
    /// The authority of the server's certificate, a PEM file. Streams at an https:// URL need it: certificates are always
    /// checked, and no other authority is trusted
    #[arg(long = "tls-ca", id = "tls_ca", value_name = "FILE")]
    pub(crate) authority: Option<PathBuf>,

    /// The one version of TLS that streams offer
    #[arg(long = "tls-version", id = "tls_version", value_name = "VERSION", value_enum, default_value_t)]
    pub(crate) version: TlsVersion,

    /// The key exchange that streams offer
    #[arg(long = "tls-key-exchange", id = "tls_key_exchange", value_name = "NAME", value_enum, default_value_t)]
    pub(crate) key_exchange: KeyExchange,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum TlsVersion {
    #[default]
    #[value(name = "1.3")]
    V1_3,
    #[value(name = "1.2")]
    V1_2,
}

/// A key exchange. Servers take the first one that they know, so a comparison of servers needs one that all of them know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum KeyExchange {
    /// X25519, which all servers know
    #[default]
    X25519,
    /// X25519MLKEM768, and X25519 for a server that does not know it, as browsers offer
    #[value(name = "x25519mlkem768")]
    X25519MlKem768,
}
