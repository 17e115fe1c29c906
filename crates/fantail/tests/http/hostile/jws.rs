//! Tokens of any shape, signed as an attacker would like to have them.

use std::fs;
use std::path::Path;

use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use tempfile::TempDir;

use crate::keys::{SECRET, base64url, now};

pub(super) const ISSUER: &str = "https://id.example";

/// The node's keys, and some of an attacker.
pub(super) struct Keys {
    directory: TempDir,
    pub(super) rsa: KeyPair,
    pub(super) ec: KeyPair,
    pub(super) ed: KeyPair,
    /// Of nobody that the node knows.
    pub(super) other_ec: KeyPair,
    pub(super) other_ed: KeyPair,
    pub(super) p384: KeyPair,
}

impl Keys {
    pub(super) fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = |algorithm| KeyPair::generate_for(algorithm).unwrap();
        let keys = Self {
            rsa: KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
            ec: made(&PKCS_ECDSA_P256_SHA256),
            ed: made(&PKCS_ED25519),
            other_ec: made(&PKCS_ECDSA_P256_SHA256),
            other_ed: made(&PKCS_ED25519),
            p384: made(&PKCS_ECDSA_P384_SHA384),
            directory,
        };
        let path = keys.directory.path();
        fs::write(path.join("hs"), SECRET).unwrap();
        for (name, key) in [("rsa", &keys.rsa), ("ec", &keys.ec), ("ed", &keys.ed)] {
            fs::write(path.join(name), key.public_key_pem()).unwrap();
        }
        keys
    }

    /// The setting `token_keys`.
    pub(super) fn setting(&self) -> String {
        let path = |name: &str| Path::join(self.directory.path(), name).display().to_string();
        let [hs, rsa, ec, ed] = ["hs", "rsa", "ec", "ed"].map(path);
        format!("hs=HS256:{hs},rsa=RS256:{rsa},ec=ES256:{ec},ed=EdDSA:{ed}")
    }
}

/// Claims that the node accepts, with these members before them.
pub(super) fn claims(more: &str) -> String {
    format!("{{{more}\"exp\":{},\"iss\":\"{ISSUER}\",\"aud\":\"fantail\",\"sub\":\"bob\"}}", now() + 600)
}

/// Header and claims in their places, without a signature.
pub(super) fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", base64url(header), base64url(claims))
}

/// A token with this header and these claims, whatever they are, and a good HMAC of the node's secret.
pub(super) fn hs256(header: &str, claims: &str) -> String {
    signed(header, claims, &EncodingKey::from_secret(SECRET.as_bytes()).unwrap(), Algorithm::HS256)
}

/// A token that the node accepts if it accepts these claims.
pub(super) fn good(claims: &str) -> String {
    hs256(r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

pub(super) fn signed(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = unsigned(header, claims);
    let signature = sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

pub(super) fn ec_key(key: &KeyPair) -> EncodingKey {
    EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap()
}

pub(super) fn ed_key(key: &KeyPair) -> EncodingKey {
    EncodingKey::from_ed_pem(key.serialize_pem().as_bytes()).unwrap()
}

pub(super) fn rsa_key(key: &KeyPair) -> EncodingKey {
    EncodingKey::from_rsa_pem(key.serialize_pem().as_bytes()).unwrap()
}
