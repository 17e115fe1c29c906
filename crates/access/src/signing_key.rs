//! The keys that tokens are checked with.
//!
//! The algorithm belongs to the key, never to the token. A token that names another algorithm than its key has is refused
//! before anything is computed (RFC 8725, 3.1). So no token can make this program take a public key for an HMAC secret.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

/// The most keys of one set. A JWKS of a large identity provider has about ten.
pub const KEYS_MAX: usize = 64;

/// The shortest HMAC secret in bytes: as long as the shortest hash (RFC 7518, 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// One key, and the one algorithm that it may be used with.
#[derive(Clone)]
pub struct SigningKey {
    /// The name by which tokens ask for it.
    id: Option<Box<str>>,
    algorithm: Algorithm,
    key: DecodingKey,
    /// Tells it from every other key: another material, algorithm or name gives another number.
    fingerprint: u64,
}

/// All keys that are valid at one time.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<SigningKey>,
}

/// The reason why a text gives no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// This program does not know the algorithm, or does not accept it.
    #[error(
        "{0:?} is no algorithm for tokens; write HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA"
    )]
    Algorithm(String),
    /// The secret is too short, and could be guessed.
    #[error(
        "an HMAC secret has at least {SECRET_BYTES_MIN} bytes, this one has {0}; make one with: openssl rand -hex 32"
    )]
    ShortSecret(usize),
    /// A key in PEM form would be taken for an HMAC secret; a public one is known to everyone.
    #[error("this is a key in PEM form and no HMAC secret; name its own algorithm, such as ES256, RS256 or EdDSA")]
    PemAsSecret,
    /// The text is no PEM, or the algorithm needs a key of another kind.
    #[error("this is no public key for {0:?} in PEM form (-----BEGIN PUBLIC KEY-----)")]
    Pem(Algorithm),
    /// The key is private. This program needs none, and should have none.
    #[error("this is a private key; give the public one: openssl pkey -in private.pem -pubout")]
    Private,
    /// The text is no JSON, or no JWKS.
    #[error("this is no JSON Web Key Set: {0}")]
    Set(String),
    /// The set has too many keys.
    #[error("a key set has at most {KEYS_MAX} keys, this one has {0}")]
    TooMany(usize),
    /// The set has no key that can check tokens.
    #[error("no key of this set can check a signature; keys need kty RSA, EC, OKP or oct, and an oct key its alg")]
    NoneUsable,
}

/// The algorithm that an operator writes beside a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyAlgorithm(Algorithm);

impl KeyAlgorithm {
    pub(crate) fn inner(self) -> Algorithm {
        self.0
    }
}

impl FromStr for KeyAlgorithm {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        name.parse().map(Self).map_err(|_| KeyError::Algorithm(name.to_owned()))
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Shows no part of the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A key as an operator gives it: a secret for `HS…`, a public key in PEM form for all others.
    ///
    /// White space at the end of a secret is not part of it: editors and `echo` put a line end there.
    pub fn new(algorithm: KeyAlgorithm, id: Option<&str>, text: &[u8]) -> Result<Self, KeyError> {
        Self::exact(algorithm, id, text.trim_ascii_end())
    }

    /// The same, with white space at the end of a secret as a part of it: for a secret that is a value and no file, as other
    /// programs sign with.
    pub fn exact(KeyAlgorithm(algorithm): KeyAlgorithm, id: Option<&str>, text: &[u8]) -> Result<Self, KeyError> {
        let key = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => DecodingKey::from_secret(checked(text)?),
            _ if text.windows(11).any(|window| window == b"PRIVATE KEY") => return Err(KeyError::Private),
            Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(text),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(text),
            _ => DecodingKey::from_rsa_pem(text),
        };
        let key = key.map_err(|_| KeyError::Pem(algorithm))?;
        let fingerprint = fingerprint(algorithm, id, text);
        Ok(Self { id: id.map(Into::into), algorithm, key, fingerprint })
    }

    /// `None` if the key has another use, such as encryption, or is of a kind that signs no tokens.
    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return None;
        }
        let of_kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => Some(Algorithm::ES256),
                EllipticCurve::P384 => Some(Algorithm::ES384),
                _ => None,
            },
            AlgorithmParameters::OctetKeyPair(key) => (key.curve == EllipticCurve::Ed25519).then_some(Algorithm::EdDSA),
            _ => None,
        };
        let algorithm = match common.key_algorithm.as_ref() {
            Some(named) => named.to_string().parse().ok()?,
            None => of_kind?,
        };
        if let AlgorithmParameters::OctetKey(secret) = &jwk.algorithm
            && secret.value.trim_end_matches('=').len() * 3 / 4 < SECRET_BYTES_MIN
        {
            return None; // it can be guessed
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        let fits = key.family() == algorithm.family();
        // A curve has one algorithm; a key that names another contradicts itself.
        let fits = fits && (of_kind.is_none_or(|of_kind| of_kind == algorithm || of_kind == Algorithm::RS256));
        let material = serde_json::to_vec(&jwk.algorithm).ok()?;
        let id = common.key_id.as_deref();
        let fingerprint = fingerprint(algorithm, id, &material);
        fits.then(|| Self { id: id.map(Into::into), algorithm, key, fingerprint })
    }

    /// The name by which tokens ask for it.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Tells it from every other key of this process's life.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The one algorithm that it may be used with.
    pub fn algorithm(&self) -> KeyAlgorithm {
        KeyAlgorithm(self.algorithm)
    }

    pub(crate) fn key(&self) -> &DecodingKey {
        &self.key
    }
}

/// The HMAC secret in the text of a file.
pub(crate) fn secret_of(text: &[u8]) -> Result<&[u8], KeyError> {
    checked(text.trim_ascii_end())
}

fn checked(secret: &[u8]) -> Result<&[u8], KeyError> {
    if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
        return Err(KeyError::PemAsSecret);
    }
    if secret.len() < SECRET_BYTES_MIN { Err(KeyError::ShortSecret(secret.len())) } else { Ok(secret) }
}

/// The hasher has one fixed key: the number is compared within a process and shown nowhere.
fn fingerprint(algorithm: Algorithm, id: Option<&str>, material: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (format!("{algorithm:?}"), id, material).hash(&mut hasher);
    hasher.finish()
}

impl KeySet {
    /// These keys.
    pub fn new(keys: Vec<SigningKey>) -> Result<Self, KeyError> {
        if keys.len() > KEYS_MAX { Err(KeyError::TooMany(keys.len())) } else { Ok(Self { keys }) }
    }

    /// Reads a JSON Web Key Set (RFC 7517). It skips keys that can check no token.
    pub fn from_jwks(json: &[u8]) -> Result<Self, KeyError> {
        let set: JwkSet = serde_json::from_slice(json).map_err(|error| KeyError::Set(error.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeyError::TooMany(set.keys.len()));
        }
        let keys: Vec<_> = set.keys.iter().filter_map(SigningKey::from_jwk).collect();
        if keys.is_empty() { Err(KeyError::NoneUsable) } else { Ok(Self { keys }) }
    }

    /// The keys of both sets. A key of both sets stands twice, which costs one more comparison and nothing else.
    pub fn joined(sets: impl IntoIterator<Item = Self>) -> Result<Self, KeyError> {
        Self::new(sets.into_iter().flat_map(|set| set.keys).collect())
    }

    /// The keys of `self` that `newer` does not have any more, by their fingerprints.
    pub fn gone_in(&self, newer: &Self) -> Vec<u64> {
        let is_kept = |key: &&SigningKey| newer.keys.iter().any(|other| other.fingerprint == key.fingerprint);
        self.keys.iter().filter(|key| !is_kept(key)).map(SigningKey::fingerprint).collect()
    }

    /// Whether a key of this fingerprint is in the set.
    pub fn has(&self, fingerprint: u64) -> bool {
        self.keys.iter().any(|key| key.fingerprint == fingerprint)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a token that asks for the key `id` can be checked: by that key, or by one without a name.
    pub fn knows(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id().is_none_or(|it| it == id))
    }

    /// The keys that a token may have been signed with, by the name and the algorithm that it gives.
    pub(crate) fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &SigningKey> {
        let is_named = move |key: &&SigningKey| match (id, key.id()) {
            (Some(asked), Some(has)) => asked == has,
            _ => true,
        };
        self.keys.iter().filter(is_named).filter(move |key| key.algorithm == algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_can_be_guessed_and_keys_of_another_kind_are_refused_with_the_reason() {
        let new = |algorithm: &str, text: &str| {
            SigningKey::new(algorithm.parse().expect("known"), None, text.as_bytes()).map(|_| ())
        };
        assert_eq!(new("HS256", "secret\n"), Err(KeyError::ShortSecret(6)));
        assert_eq!(new("HS256", &"x".repeat(32)), Ok(()));
        assert_eq!(new("RS256", &"x".repeat(32)), Err(KeyError::Pem(Algorithm::RS256)));
        assert_eq!(new("ES256", "-----BEGIN PRIVATE KEY-----\n"), Err(KeyError::Private));
        // Everyone who has the public key could sign tokens with it.
        let public = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";
        assert_eq!(new("HS256", public), Err(KeyError::PemAsSecret));
        for name in ["none", "None", "", "hs256", "HS256 ", "ES512"] {
            assert_eq!(name.parse::<KeyAlgorithm>(), Err(KeyError::Algorithm(name.into())), "{name}");
        }
    }

    #[test]
    fn of_a_key_set_those_keys_are_taken_that_signatures_are_checked_with() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"; // RFC 8037, appendix A.2
        let okp = |more: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"{more}}}"#);
        let read = |keys: &[String]| KeySet::from_jwks(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes());
        let names = |set: &KeySet| set.keys.iter().map(|key| key.id().unwrap_or("-").to_owned()).collect::<Vec<_>>();
        let set = read(&[
            okp(r#","kid":"a""#),
            okp(r#","kid":"encrypts","use":"enc""#),
            okp(r#","kid":"contradicts","alg":"HS256""#),
            r#"{"kty":"oct","kid":"names no algorithm","k":"AAAA"}"#.to_owned(),
            okp(""),
        ]);
        assert_eq!(names(&set.expect("usable")), ["a", "-"]);
        assert!(matches!(read(&[okp(r#","use":"enc""#)]), Err(KeyError::NoneUsable)));
        assert!(matches!(read(&vec![okp(""); KEYS_MAX + 1]), Err(KeyError::TooMany(65))));
        assert!(matches!(KeySet::from_jwks(b"[]"), Err(KeyError::Set(_))));
    }

    #[test]
    fn a_key_shows_nothing_of_itself() {
        let secret = "canary-canary-canary-canary-canary";
        let key = SigningKey::new("HS256".parse().expect("known"), Some("a"), secret.as_bytes()).expect("long");
        assert!(!format!("{key:?}").contains("canary"));
    }
}
