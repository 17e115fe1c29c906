//! An operator's settings for reaching Redis: its address, the login, and the certificates.
//!
//! Plain data, unchecked. [`RedisSettings::new`](super::RedisSettings::new) checks it; nothing here shows a secret.

use std::path::PathBuf;

/// How to reach Redis, in the operator's words. Everything but the address may be missing.
#[derive(Clone, Default)]
pub struct RedisReach {
    /// `redis://`, `rediss://` or `unix://`. With Sentinels or nodes of a Cluster it has no host and
    /// may be empty.
    pub url: String,
    /// The ACL user; the URL may name it instead.
    pub username: Option<String>,
    /// The user's password; the URL may hold it instead.
    pub password: Option<String>,
    /// A file with the password, read again for each connection.
    pub password_file: Option<PathBuf>,
    /// The authority that signs the server's certificate (PEM); the system's authorities if missing.
    pub tls_ca: Option<PathBuf>,
    /// The certificate that this client shows (PEM).
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    pub tls_key: Option<PathBuf>,
    /// Nodes of a Cluster that know the others, each as `host:port`.
    pub cluster_nodes: Vec<String>,
    /// Sentinels that know the master, each as `host:port`.
    pub sentinels: Vec<String>,
    /// The name by which they know it.
    pub sentinel_master: Option<String>,
    /// The Sentinels' own ACL user.
    pub sentinel_username: Option<String>,
    /// Its password.
    pub sentinel_password: Option<String>,
    /// A file with that password, read again each time.
    pub sentinel_password_file: Option<PathBuf>,
}
