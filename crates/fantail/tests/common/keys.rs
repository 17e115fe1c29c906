//! Keys that sign the tokens of tests and nothing else, and a directory for their files.
#![allow(dead_code)] // each test program uses its part of this file

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fantail_access::mint_token;
use serde_json::{Map, Value};

/// For HS256.
pub(crate) const SECRET: &str = "a-secret-of-thirty-two-bytes-abc";

/// For ES256.
pub(crate) const EC_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg63PsLq5aAsKK0MdC
9GYRtHbO/bKRF2AA1WP9TA4pYC2hRANCAASLrqP9XvYeVg/QJNRf8NOpEIqUcCkT
DdlWSq8MitiCgII+CozCkAY3flU52jcrUwULqqOMPRxt/LeJa3aHl4GZ
-----END PRIVATE KEY-----
";
pub(crate) const EC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEi66j/V72HlYP0CTUX/DTqRCKlHAp
Ew3ZVkqvDIrYgoCCPgqMwpAGN35VOdo3K1MFC6qjjD0cbfy3iWt2h5eBmQ==
-----END PUBLIC KEY-----
";

/// For `EdDSA`.
pub(crate) const ED_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIMiE2VsEv0ScjxfO4qQO0x7yka9K8gDFckx37gHBKGkg
-----END PRIVATE KEY-----
";
pub(crate) const ED_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAqymhXLnC1jc5tGMuziMarYRogirPI9/kk4yr4Kmw1pU=
-----END PUBLIC KEY-----
";

/// Files with keys; they go with this.
pub(crate) struct KeyDirectory(tempfile::TempDir);

impl KeyDirectory {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = Path::join(self.0.path(), name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The value of `--token-keys` for a key in a file.
    pub(crate) fn key(&self, algorithm: &str, text: &str) -> String {
        format!("{algorithm}:{}", self.file(&format!("{algorithm}.key"), text))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token with these claims, signed with this key.
pub(crate) fn signed(algorithm: &str, key: &str, claims: Value) -> String {
    let claims: Map<String, Value> = serde_json::from_value(claims).unwrap();
    mint_token(algorithm.parse().unwrap(), None, key.as_bytes(), &claims).unwrap()
}

/// Base64url without padding, as RFC 7515 writes the parts of a token.
pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.as_ref().chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}
