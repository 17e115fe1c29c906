//! Checks a token: its form, its signature, its times, its issuer and its audience (RFC 7519, RFC 8725).

use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::Value;

use crate::claims::Claims;
use crate::required_claim::RequiredClaim;
use crate::signing_key::KeySet;

/// The longest token in bytes. Identity providers that put groups into tokens make them tens of KiB long. `head_bytes_max` bounds a token as well.
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// The conditions that a token's claims must meet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenRules {
    /// The issuers that are accepted (`iss`); empty for any.
    pub issuers: Vec<String>,
    /// The audiences of which the token must name one (`aud`); empty for any.
    pub audiences: Vec<String>,
    /// Claims that the token must have.
    pub claims_required: Vec<RequiredClaim>,
    /// How much clocks may differ, in seconds.
    pub leeway_seconds: u64,
}

/// The reason why a token is refused. The text is for the sender, so it says nothing about the keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any token should be.
    #[error("the token has {0} bytes, more than {TOKEN_BYTES_MAX}")]
    TooLong(usize),
    /// It has not three parts of base64url with JSON in the first two.
    #[error("this is no JSON Web Token: three parts, separated by dots, are expected")]
    Form,
    /// It has a header that this program must understand and does not.
    #[error("the token's header has {0:?}, which is not supported")]
    Header(&'static str),
    /// It names an unknown key.
    #[error("the token names the key {0:?}, which is not known")]
    UnknownKey(String),
    /// No key that may have signed it has its algorithm.
    #[error("no key for the token's algorithm is known")]
    Algorithm,
    /// It was changed, or another key signed it.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim has the wrong type.
    #[error("the token's claim {0} has the wrong type")]
    Claim(String),
    /// It has no end; a token must have one.
    #[error("the token has no exp claim: it would be good for ever")]
    NoExpiry,
    /// It has ended.
    #[error("the token has expired {0} s ago")]
    Expired(u64),
    /// It is not valid yet.
    #[error("the token is good only in {0} s (nbf)")]
    NotYet(u64),
    /// Another issuer made it.
    #[error("the token's issuer (iss) is not accepted")]
    Issuer,
    /// It is for another audience.
    #[error("the token's audience (aud) is not this service")]
    Audience,
    /// It lacks a claim.
    #[error("the token has no claim {0}, which is needed here")]
    Missing(String),
}

impl TokenError {
    /// The name of the check that it did not pass: a part of the token, or a claim.
    pub fn check(&self) -> &str {
        match self {
            Self::TooLong(_) | Self::Form => "form",
            Self::Header(_) => "header",
            Self::UnknownKey(_) => "kid",
            Self::Algorithm => "alg",
            Self::Signature => "signature",
            Self::Claim(name) | Self::Missing(name) => name,
            Self::NoExpiry | Self::Expired(_) => "exp",
            Self::NotYet(_) => "nbf",
            Self::Issuer => "iss",
            Self::Audience => "aud",
        }
    }
}

/// Header and claims of a token that nobody has checked: to be shown, and never to decide by. `None` if it has no such parts.
pub fn peek_token(token: &str) -> Option<(Value, Value)> {
    let header = serde_json::to_value(decode_header(token).ok()?).ok()?;
    Some((header, insecure_decode::<Value>(token).ok()?.claims))
}

/// A token that is valid now.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedToken {
    /// Its claims.
    pub claims: Claims,
    /// The time of its issue (`iat`), in seconds since 1970, if it has one.
    pub issued_at: Option<u64>,
    /// The end of the right that it gives, in seconds since 1970: its `exp`. If the leeway for clocks alone lets it in, the
    /// leeway is added.
    pub ends_at: u64,
    /// The fingerprint of the key that signed it.
    pub key: u64,
}

/// Checks `token` at `now`, in seconds since 1970.
pub fn check_token(token: &str, keys: &KeySet, rules: &TokenRules, now: u64) -> Result<CheckedToken, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong(token.len()));
    }
    let (claims, key) = verify(token, keys)?;
    let expires_at = rules.judge(&claims, now)?;
    let issued_at = claims.time("iat").map_err(|name| TokenError::Claim(name.to_owned()))?;
    let forgiven = if expires_at > now { 0 } else { rules.leeway_seconds };
    Ok(CheckedToken { claims, issued_at, ends_at: expires_at.saturating_add(forgiven), key })
}

/// The claims of a token whose signature one of the keys confirms, and the fingerprint of that key.
fn verify(token: &str, keys: &KeySet) -> Result<(Claims, u64), TokenError> {
    let header = decode_header(token).map_err(|_| TokenError::Form)?;
    if header.crit.is_some() {
        // RFC 7515, 4.1.11: a header that must be understood.
        return Err(TokenError::Header("crit"));
    }
    if header.enc.is_some() || header.zip.is_some() {
        return Err(TokenError::Header("enc or zip"));
    }
    if header.typ.as_deref().is_some_and(|kind| !is_access_token(kind)) {
        // RFC 8725, 3.11: a token made for something else.
        return Err(TokenError::Header("typ"));
    }
    if let Some(id) = header.kid.as_deref().filter(|id| !keys.knows(id)) {
        return Err(TokenError::UnknownKey(id.chars().take(100).collect()));
    }
    let mut refused = TokenError::Algorithm;
    for key in keys.candidates(header.kid.as_deref(), header.alg) {
        // The signature alone: the claims are judged by a clock that is passed in.
        let mut signature_only = Validation::new(key.algorithm().inner());
        signature_only.required_spec_claims.clear();
        (signature_only.validate_exp, signature_only.validate_aud) = (false, false);
        match decode(token, key.key(), &signature_only) {
            Ok(data) => return Ok((Claims::new(data.claims), key.fingerprint())),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => refused = TokenError::Signature,
            // The signature is good, or is no base64url.
            Err(_) => return Err(TokenError::Form),
        }
    }
    Err(refused)
}

/// `JWT`, and `at+jwt` of RFC 9068. Other kinds, such as `logout+jwt`, are made for other uses.
fn is_access_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
}

impl TokenRules {
    /// The time until which the claims hold.
    fn judge(&self, claims: &Claims, now: u64) -> Result<u64, TokenError> {
        let wrong_type = |name: &str| TokenError::Claim(name.to_owned());
        let expires_at = claims.time("exp").map_err(wrong_type)?.ok_or(TokenError::NoExpiry)?;
        if expires_at.saturating_add(self.leeway_seconds) <= now {
            return Err(TokenError::Expired(now - expires_at));
        }
        let begins_at = claims.time("nbf").map_err(wrong_type)?.unwrap_or(0);
        if begins_at > now.saturating_add(self.leeway_seconds) {
            return Err(TokenError::NotYet(begins_at - now));
        }
        if !self.issuers.is_empty() {
            // RFC 7519, 4.1.1: one text, never a list.
            let issuer = claims.text("iss").ok_or(TokenError::Issuer)?;
            if !self.issuers.iter().any(|accepted| accepted == issuer) {
                return Err(TokenError::Issuer);
            }
        }
        if !self.audiences.is_empty() {
            let named = claims.texts("aud").map_err(wrong_type)?;
            if !named.iter().any(|named| self.audiences.iter().any(|accepted| accepted == named)) {
                return Err(TokenError::Audience);
            }
        }
        match self.claims_required.iter().find(|required| !required.is_in(claims)) {
            Some(missing) => Err(TokenError::Missing(missing.to_string())),
            None => Ok(expires_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;
    use crate::signing_key::SigningKey;

    const SECRET: &str = "a-secret-of-thirty-two-bytes-abc";
    const NOW: u64 = 1_000_000;

    fn keys() -> KeySet {
        let key = |id, secret: &str| SigningKey::new("HS256".parse().expect("known"), id, secret.as_bytes());
        KeySet::new(vec![
            key(Some("new"), SECRET).expect("long"),
            key(Some("old"), "another-secret-of-thirty-two-byte").expect("long"),
        ])
        .expect("few")
    }

    fn signed_with(header: &Header, claims: &Value, secret: &str) -> String {
        encode(header, claims, &EncodingKey::from_secret(secret.as_bytes()).expect("a key")).expect("signed")
    }

    fn signed(claims: &Value) -> String {
        signed_with(&Header::new(Algorithm::HS256), claims, SECRET)
    }

    fn check(claims: &Value, rules: &TokenRules) -> Result<u64, TokenError> {
        check_token(&signed(claims), &keys(), rules, NOW).map(|token| token.ends_at)
    }

    #[test]
    fn a_token_is_good_from_nbf_to_exp_and_the_leeway_helps_at_both_ends() {
        let rules = TokenRules { leeway_seconds: 30, ..TokenRules::default() };
        for (claims, expected) in [
            (json!({"exp": NOW + 60}), Ok(NOW + 60)),
            (json!({"exp": NOW - 29}), Ok(NOW + 1)),
            (json!({"exp": NOW - 30}), Err(TokenError::Expired(30))),
            (json!({"exp": NOW + 60, "nbf": NOW + 30}), Ok(NOW + 60)),
            (json!({"exp": NOW + 60, "nbf": NOW + 31}), Err(TokenError::NotYet(31))),
            (json!({"sub": "x"}), Err(TokenError::NoExpiry)),
            (json!({"exp": "tomorrow"}), Err(TokenError::Claim("exp".into()))),
            (json!({"exp": u64::MAX, "nbf": -5}), Err(TokenError::Claim("nbf".into()))),
        ] {
            assert_eq!(check(&claims, &rules), expected, "{claims}");
        }
    }

    #[test]
    fn issuer_and_audience_must_be_among_those_that_are_accepted() {
        let rules = TokenRules {
            issuers: vec!["https://a.example".into()],
            audiences: vec!["events".into()],
            ..TokenRules::default()
        };
        let exp = NOW + 60;
        for (claims, expected) in [
            (json!({"exp": exp, "iss": "https://a.example", "aud": "events"}), Ok(exp)),
            (json!({"exp": exp, "iss": "https://a.example", "aud": ["x", "events"]}), Ok(exp)),
            (json!({"exp": exp, "iss": "https://a.example.evil", "aud": "events"}), Err(TokenError::Issuer)),
            (json!({"exp": exp, "iss": ["https://a.example"], "aud": "events"}), Err(TokenError::Issuer)),
            (json!({"exp": exp, "aud": "events"}), Err(TokenError::Issuer)),
            (json!({"exp": exp, "iss": "https://a.example"}), Err(TokenError::Audience)),
            (json!({"exp": exp, "iss": "https://a.example", "aud": []}), Err(TokenError::Audience)),
            (json!({"exp": exp, "iss": "https://a.example", "aud": 1}), Err(TokenError::Claim("aud".into()))),
            (
                json!({"exp": exp, "iss": "https://a.example", "aud": ["events", 1]}),
                Err(TokenError::Claim("aud".into())),
            ),
        ] {
            assert_eq!(check(&claims, &rules), expected, "{claims}");
        }
    }

    #[test]
    fn a_token_without_a_claim_that_is_needed_is_refused() {
        let claims_required = ["scope.user*", "user.id"].map(|text| RequiredClaim::parse(text).expect("a path"));
        let rules = TokenRules { claims_required: claims_required.into(), ..TokenRules::default() };
        let exp = NOW + 60;
        let missing = |name: &str| Err(TokenError::Missing(name.into()));
        for (claims, expected) in [
            (json!({"exp": exp, "scope": {"user:all": {}}, "user": {"id": "u"}}), Ok(exp)),
            (json!({"exp": exp, "scope": {"user": 0}, "user": {"id": 7}}), Ok(exp)),
            (json!({"exp": exp, "scope": {"publicshare": {}}, "user": {"id": "u"}}), missing("scope.user*")),
            (json!({"exp": exp, "scope": {"user": ""}, "user": {"id": "u"}}), missing("scope.user*")),
            (json!({"exp": exp, "scope": "user", "user": {"id": "u"}}), missing("scope.user*")),
            (json!({"exp": exp, "user": {"id": "u"}}), missing("scope.user*")),
            (json!({"exp": exp, "scope": {"user": {}}, "user": {}}), missing("user.id")),
            (json!({"exp": exp, "scope": {"user": {}}, "user": {"id": ""}}), missing("user.id")),
            (json!({"exp": exp, "scope": {"user": {}}, "user": {"id": null}}), missing("user.id")),
        ] {
            assert_eq!(check(&claims, &rules), expected, "{claims}");
        }
    }

    #[test]
    fn the_key_is_found_by_its_name_or_tried_if_the_token_names_none() {
        let claims = json!({"exp": NOW + 60});
        let named = |kid: &str| Header { kid: Some(kid.into()), ..Header::new(Algorithm::HS256) };
        let check = |token: &str| check_token(token, &keys(), &TokenRules::default(), NOW).map(|token| token.key);
        let [new, _old] = keys().gone_in(&KeySet::default())[..] else { panic!("there are two keys") };
        assert_eq!(check(&signed(&claims)), Ok(new));
        assert_eq!(check(&signed_with(&named("new"), &claims, SECRET)), Ok(new));
        assert_eq!(check(&signed_with(&named("old"), &claims, SECRET)), Err(TokenError::Signature));
        assert_eq!(check(&signed_with(&named("../x"), &claims, SECRET)), Err(TokenError::UnknownKey("../x".into())));
    }

    #[test]
    fn the_algorithm_is_the_keys_and_never_the_tokens() {
        let claims = json!({"exp": NOW + 60});
        let other = signed_with(&Header::new(Algorithm::HS384), &claims, SECRET);
        assert_eq!(check_token(&other, &keys(), &TokenRules::default(), NOW), Err(TokenError::Algorithm));
        // The header says none, in any spelling; the signature is empty or left as it was.
        let [_, body, signature] =
            signed(&claims).split('.').map(str::to_owned).collect::<Vec<_>>().try_into().expect("3");
        for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIn0", "eyJhbGciOiJOT05FIn0", "eyJhbGciOiIifQ", "e30"] {
            for signature in ["", &signature] {
                let token = format!("{header}.{body}.{signature}");
                assert!(check_token(&token, &keys(), &TokenRules::default(), NOW).is_err(), "{token}");
            }
        }
    }

    #[test]
    fn a_text_that_is_no_token_and_a_token_for_another_use_are_refused() {
        let check = |token: &str| check_token(token, &keys(), &TokenRules::default(), NOW).map(|_| ());
        for text in ["", ".", "..", "a.b", "a.b.c.d", "\u{0}.\u{0}.\u{0}", "e30.e30.", "🙂.🙂.🙂"] {
            assert_eq!(check(text), Err(TokenError::Form), "{text}");
        }
        assert_eq!(check(&"a".repeat(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong(TOKEN_BYTES_MAX + 1)));
        let claims = json!({"exp": NOW + 60});
        for (kind, expected) in
            [("at+jwt", Ok(())), ("application/at+JWT", Ok(())), ("logout+jwt", Err(TokenError::Header("typ")))]
        {
            let header = Header { typ: Some(kind.into()), ..Header::new(Algorithm::HS256) };
            assert_eq!(check(&signed_with(&header, &claims, SECRET)), expected, "{kind}");
        }
        let critical = Header { crit: Some(vec!["exp".into()]), ..Header::new(Algorithm::HS256) };
        assert_eq!(check(&signed_with(&critical, &claims, SECRET)), Err(TokenError::Header("crit")));
        assert_eq!(check(&signed(&json!([NOW + 60]))), Err(TokenError::Form), "claims are an object");
    }

    #[test]
    fn a_token_can_be_shown_though_no_key_is_known() {
        let (header, claims) = peek_token(&signed(&json!({"exp": 5, "sub": "u"}))).expect("a token");
        assert_eq!((&header["alg"], claims), (&json!("HS256"), json!({"exp": 5, "sub": "u"})));
        assert_eq!(peek_token("a.b.c"), None);
    }

    #[test]
    fn one_changed_byte_anywhere_makes_it_wrong() {
        let token = signed(&json!({"exp": NOW + 60, "sub": "u"}));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            let checked = check_token(&changed, &keys(), &TokenRules::default(), NOW);
            // The last character of a part may hold bits that stand for nothing; a strict reader refuses them as well.
            assert!(checked.is_err(), "{at}: {changed}");
        }
    }
}
