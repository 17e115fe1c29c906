//! Makes tokens, for development and tests. In production the operator's login makes them.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value};

use crate::signing_key::{KeyAlgorithm, KeyError, secret_of};

/// Why no token can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The secret is as bad as one that the server refuses.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// Not a private key in PEM form for this algorithm.
    #[error("this is no private key for {0} in PEM form (-----BEGIN PRIVATE KEY-----)")]
    Pem(KeyAlgorithm),
}

/// Signs a token with these claims. `key` is a secret for `HS…`, and a private key in PEM form for the other algorithms.
pub fn mint_token(
    algorithm: KeyAlgorithm,
    id: Option<&str>,
    key: &[u8],
    claims: &Map<String, Value>,
) -> Result<String, MintError> {
    let pem = |_| MintError::Pem(algorithm);
    let key = match algorithm.inner() {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            EncodingKey::from_secret(secret_of(key)?).map_err(pem)?
        }
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(key).map_err(pem)?,
        Algorithm::EdDSA => EncodingKey::from_ed_pem(key).map_err(pem)?,
        _ => EncodingKey::from_rsa_pem(key).map_err(pem)?,
    };
    let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm.inner()) };
    encode(&header, claims, &key).map_err(pem)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{KeySet, SigningKey, TokenRules, check_token};

    #[test]
    fn a_token_that_is_made_here_passes_the_check() {
        let secret = b"a-secret-of-thirty-two-bytes-abc\n";
        let algorithm: KeyAlgorithm = "HS256".parse().expect("known");
        let Value::Object(claims) = json!({ "sub": "u1", "exp": 2000 }) else { unreachable!() };
        let token = mint_token(algorithm, Some("k"), secret, &claims).expect("a token");
        let keys = KeySet::new(vec![SigningKey::new(algorithm, Some("k"), secret).expect("a key")]).expect("few");
        let checked = check_token(&token, &keys, &TokenRules::default(), 1000).expect("good");
        assert_eq!((checked.claims.text("sub"), checked.ends_at), (Some("u1"), 2000));
        assert!(mint_token(algorithm, None, b"short", &claims).is_err());
        assert!(mint_token("ES256".parse().expect("known"), None, secret, &claims).is_err());
    }
}
