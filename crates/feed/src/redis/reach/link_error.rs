//! Why there is no connection to Redis, and what the operator can do about it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::cluster;
use super::discovery::{MasterClaim, Unanswered};
use super::lookup::NoAddress;
use super::sentinels;
use crate::files::FileError;

const UNKNOWN_AUTHORITY: &str = "; name the authority that signed the server's certificate in redis_tls_ca";
const UNTRUSTED: &str = "; redis does not trust redis_tls_cert, its authority is not among those that redis knows";

/// A connection that was not made. None of its words are secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The server or the way to it.
    #[error("{}", Advised(.0))]
    Redis(#[from] RedisError),
    /// The server that the Sentinels or the Cluster named.
    #[error("{address}: {}", Advised(.error))]
    Named {
        /// Which.
        address: String,
        /// The fault.
        error: RedisError,
    },
    /// A password or certificate.
    #[error(transparent)]
    File(#[from] FileError),
    /// No Sentinel helps.
    #[error(transparent)]
    Sentinels(#[from] sentinels::NoMasterKnown),
    /// No node of the Cluster helps.
    #[error(transparent)]
    Cluster(#[from] cluster::NoOwnerKnown),
    /// The node of a Cluster to which the connection leads does not tell who owns the slot.
    #[error("{address} is a node of a cluster and {error}")]
    Untold {
        /// Which.
        address: String,
        /// The fault.
        error: Unanswered,
    },
    /// The node of a Cluster does not own the slot.
    #[error("{address} is not the master for the slot of the log; the cluster may be changing")]
    NotOwner {
        /// Which.
        address: String,
        /// Whom it takes for the owner.
        owner: MasterClaim,
    },
    /// The server is not the one any more that it was when it was named.
    #[error("{address} was replaced while it was connected to: {why}")]
    Replaced {
        /// Which.
        address: String,
        /// The server that is named now.
        why: String,
    },
    /// The server may not be followed.
    #[error("{0} is a replica, which can miss messages unnoticed; name the master, or its sentinels")]
    Replica(String),
    /// The server is something else.
    #[error("{0} is a sentinel; name it in redis_sentinels, with redis_sentinel_master")]
    Sentinel(String),
    /// The server's name leads nowhere.
    #[error(transparent)]
    Name(#[from] NoAddress),
    /// Where it leads is not known yet.
    #[error(
        "the name {name} was looked up for {deadline:?} without an answer, which is waited for; check the name servers of this machine"
    )]
    LateLookup {
        /// The name.
        name: String,
        /// How long a connection may take.
        deadline: Duration,
    },
    /// None of the name's addresses.
    #[error("{}", in_turn(.0))]
    Addresses(Vec<(IpAddr, LinkError)>),
    /// One of them was too slow.
    #[error("there was no connection within its share of {0:?}")]
    LateAmongOthers(Duration),
    /// Too slow.
    #[error("there was no connection within {0:?}")]
    Late(Duration),
}

/// An error of the library in its own words, and what to do about it.
pub(crate) struct Advised<'a>(pub(crate) &'a RedisError);

impl fmt::Display for Advised<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        // The log's own functions say what to do themselves.
        if let Some(ours) = error.detail().and_then(|detail| detail.strip_prefix("fantail: ")) {
            return f.write_str(ours);
        }
        error.fmt(f)?;
        if is_elsewhere(error) {
            return f.write_str("; this slot is at another node of the cluster or on its way there, try again soon");
        }
        let is_login =
            error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"));
        if is_login {
            return f.write_str("; check user and password");
        }
        // The library passes on what the TLS below it says, in words only.
        let text = error.to_string();
        let by_words = [
            ("CaUsedAsEndEntity", "; the server's certificate is an authority's, make one for a server, with CA:FALSE"),
            ("UnknownIssuer", UNKNOWN_AUTHORITY),
            (
                "not valid for name",
                "; the server's certificate is for another name, so reach it by a name that it holds",
            ),
            ("CertificateRequired", "; redis asks for a client certificate, set redis_tls_cert and redis_tls_key"),
            ("UnknownCA", UNTRUSTED),
            // An authority of the same name with another key, as after it was made anew.
            ("DecryptError", UNTRUSTED),
            ("BadSignature", UNKNOWN_AUTHORITY),
            ("InvalidContentType", "; the server does not speak TLS at this port"),
        ];
        let advice = by_words.iter().find(|(words, _)| text.contains(words));
        advice.map_or(Ok(()), |(_, advice)| f.write_str(advice))
    }
}

fn in_turn(failures: &[(IpAddr, LinkError)]) -> String {
    let told: Vec<_> = failures.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    told.join("; ")
}

/// Whether a Cluster says that the slot is elsewhere, or on its way there. Nothing was carried out then.
pub(crate) fn is_elsewhere(error: &RedisError) -> bool {
    [ServerErrorKind::Moved, ServerErrorKind::Ask, ServerErrorKind::TryAgain, ServerErrorKind::ClusterDown]
        .into_iter()
        .any(|kind| error.kind() == ErrorKind::Server(kind))
}
