//! Tokens that are none, that nobody signed, or that want to choose how they are checked (RFC 8725).

use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::PublicKeyData;

use super::case::{Case, Must, case, subscribe};
use super::jws::{Keys, claims, ec_key, ed_key, good, hs256, rsa_key, signed, unsigned};
use crate::keys::{SECRET, base64url};

pub(super) fn bearer(target: &str, token: &str) -> Vec<u8> {
    subscribe(target, &format!("Connection: close\r\nAuthorization: Bearer {token}\r\n"))
}

pub(super) fn cases(keys: &Keys) -> Vec<Case> {
    let refused = forms().into_iter().chain(headers()).chain(algorithms(keys)).chain(signatures());
    let mut cases: Vec<_> =
        refused.map(|(attack, token)| case(attack, bearer("/sse/user:bob", &token), Must::Refuse)).collect();
    // The checks above would prove nothing if the node refused everything.
    for (attack, token) in accepted(keys) {
        cases.push(case(attack, bearer("/sse/user:bob", &token), Must::Serve));
    }
    cases
}

type Tokens = Vec<(String, String)>;

fn owned<const N: usize>(tokens: [(&str, String); N]) -> Tokens {
    tokens.map(|(attack, token)| (attack.to_owned(), token)).into()
}

/// Texts that have not the form of a token, or not only that.
fn forms() -> Tokens {
    let good = good(&claims(""));
    let [header, body, signature] = parts(&good);
    owned([
        ("a token of no bytes", String::new()),
        ("a token of one dot", ".".into()),
        ("a token of two dots", "..".into()),
        ("a token of three dots", "...".into()),
        ("a token of thousands of dots", ".".repeat(8_000)),
        ("a token of one part", header.clone()),
        ("a token without its signature", format!("{header}.{body}")),
        ("a token with an empty signature", format!("{header}.{body}.")),
        ("a token with a part too many", format!("{good}.{signature}")),
        ("a token with five parts, as encrypted ones have", format!("{good}.a.b")),
        ("a token without a header", format!(".{body}.{signature}")),
        ("a token without claims", format!("{header}..{signature}")),
        ("a token with its parts exchanged", format!("{body}.{header}.{signature}")),
        ("a token in the other base64", format!("{header}.{body}.+/+/")),
        ("a padded signature", format!("{good}=")),
        ("a twice padded signature", format!("{good}==")),
        ("a padded header", format!("{header}=.{body}.{signature}")),
        ("padded claims", format!("{header}.{body}==.{signature}")),
        ("a blank in the signature", format!("{header}.{body}.{} {}", &signature[..4], &signature[4..])),
        ("a tab in the claims", format!("{header}.\t{body}.{signature}")),
        ("a quote before the token", format!("\"{good}\"")),
        ("a comma and a second token", format!("{good},{good}")),
        ("a semicolon and an option", format!("{good};alg=none")),
        ("a letter of another alphabet", format!("{header}.{body}.\u{430}{signature}")),
        ("a percent escape", format!("{header}.{body}.%41{signature}")),
        ("a signature in hexadecimal digits", format!("{header}.{body}.{}", "ab".repeat(32))),
        ("a signature cut by one character", good[..good.len() - 1].to_owned()),
        ("a signature with a character more", format!("{good}A")),
        ("a signature in other letters", format!("{header}.{body}.{}", signature.to_ascii_lowercase())),
        ("a signature over no claims at all", hs256(r#"{"alg":"HS256"}"#, "")),
        ("bits behind the end of the last byte", trailing_bits(&good)),
        ("a long token", "a".repeat(12_000)),
        ("a token of the longest head", "a.".repeat(7_000)),
        ("claims for which no head has room", super::jws::good(&claims(&format!("\"x\":\"{}\",", "x".repeat(13_000))))),
        ("a JSON token that is no compact one", format!("{{\"payload\":\"{body}\",\"signatures\":[]}}")),
        ("a session's number in the place of a token", "0123456789abcdef0123456789abcdef".into()),
        ("the user and password of Basic", base64url("user:password")),
    ])
}

/// The last character of 32 bytes holds two bits that stand for nothing.
fn trailing_bits(token: &str) -> String {
    let last = token.as_bytes()[token.len() - 1];
    let next = char::from(if last == b'9' || last == b'Z' || last == b'z' { last - 1 } else { last + 1 });
    format!("{}{next}", &token[..token.len() - 1])
}

fn parts(token: &str) -> [String; 3] {
    token.split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}

/// Headers that must not be believed, all with a good signature of the node's secret.
fn headers() -> Tokens {
    let kid = |kid: &str| format!(r#"{{"alg":"HS256","kid":{}}}"#, serde_json::Value::from(kid));
    let mut tokens = Tokens::new();
    for (attack, id) in [
        ("a key's name that is a path to an empty file", "../../../../dev/null"),
        ("a key's name that is an absolute path", "/dev/null"),
        ("a key's name that is a path to a known file", "/etc/hostname"),
        ("a key's name with a NUL", "hs\0"),
        ("a key's name that is SQL", "' UNION SELECT 'secret' --"),
        ("a key's name that is a command", "hs; sleep 10"),
        ("a key's name that is a command in backticks", "`id`"),
        ("a key's name that is a URL", "http://127.0.0.1:1/key"),
        ("a key's name in other letters", "HS"),
        ("a key's name with a blank", "hs "),
        ("a key's name that begins like one", "h"),
        ("a key's name that goes on behind one", "hs1"),
        ("a key's name of no letters", ""),
        ("a key's name that is a pattern", "*"),
        ("a key's name with a letter that looks alike", "\u{4bb}s"),
        ("a key's name of thousands of letters", &"k".repeat(4_000)),
        ("a key's name that forges a log line", "x\n2026-01-01 ERROR forged"),
        ("a key's name that paints a terminal", "\u{1b}[31mred"),
        ("the name of a key of another kind", "rsa"),
        ("the name of another key of another kind", "ec"),
    ] {
        tokens.push((attack.to_owned(), hs256(&kid(id), &claims(""))));
    }
    let jwk = format!(r#"{{"kty":"oct","alg":"HS256","k":"{}"}}"#, base64url("an-attackers-secret-of-32-bytes-x"));
    let attackers = EncodingKey::from_secret(b"an-attackers-secret-of-32-bytes-x").unwrap();
    for (attack, header) in [
        ("a key that the token brings along", format!(r#"{{"alg":"HS256","jwk":{jwk}}}"#)),
        ("a key that the token says where to find", r#"{"alg":"HS256","jku":"http://127.0.0.1:1/jwks"}"#.to_owned()),
        (
            "a certificate that the token says where to find",
            r#"{"alg":"HS256","x5u":"http://127.0.0.1:1/c"}"#.to_owned(),
        ),
        ("a certificate that the token brings along", r#"{"alg":"HS256","x5c":["MIIB"]}"#.to_owned()),
        ("a key brought along under the name of a known one", format!(r#"{{"alg":"HS256","kid":"hs","jwk":{jwk}}}"#)),
    ] {
        tokens.push((attack.to_owned(), signed(&header, &claims(""), &attackers, Algorithm::HS256)));
    }
    for (attack, header) in [
        ("a critical header of an unknown name", r#"{"alg":"HS256","crit":["x"],"x":1}"#),
        ("a critical header of a known name", r#"{"alg":"HS256","crit":["exp"],"exp":1}"#),
        ("a critical header that lists nothing", r#"{"alg":"HS256","crit":[]}"#),
        ("a critical header that is no list", r#"{"alg":"HS256","crit":"b64"}"#),
        ("claims that are not encoded (RFC 7797)", r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#),
        ("claims that are compressed", r#"{"alg":"HS256","zip":"DEF"}"#),
        ("claims that are encrypted", r#"{"alg":"HS256","enc":"A256GCM"}"#),
        ("a token to log out with", r#"{"alg":"HS256","typ":"logout+jwt"}"#),
        ("a token of a security event", r#"{"alg":"HS256","typ":"secevent+jwt"}"#),
        ("a proof of possession", r#"{"alg":"HS256","typ":"dpop+jwt"}"#),
        ("an encrypted token's type", r#"{"alg":"HS256","typ":"JWE"}"#),
        ("a type that is no text", r#"{"alg":"HS256","typ":1}"#),
        ("an algorithm given twice", r#"{"alg":"HS256","alg":"none"}"#),
        ("an algorithm given twice in the other order", r#"{"alg":"none","alg":"HS256"}"#),
        ("a key's name given twice", r#"{"alg":"HS256","kid":"hs","kid":"rsa"}"#),
        ("no algorithm", r#"{"typ":"JWT"}"#),
        ("an algorithm that is null", r#"{"alg":null}"#),
        ("an algorithm that is a number", r#"{"alg":256}"#),
        ("a list of algorithms", r#"{"alg":["HS256","none"]}"#),
        ("an algorithm that is an object", r#"{"alg":{"name":"HS256"}}"#),
        ("a key's name that is a number", r#"{"alg":"HS256","kid":1}"#),
        ("a key's name that is a list", r#"{"alg":"HS256","kid":["hs"]}"#),
        ("a header that is a list", r#"["HS256"]"#),
        ("a header that is a text", r#""HS256""#),
        ("a header that is null", "null"),
        ("a header that is no JSON", "alg=HS256"),
        ("a header that ends too early", r#"{"alg":"HS256""#),
        ("a header with a comment", r#"{"alg":"HS256"/**/}"#),
        ("a header with something behind it", r#"{"alg":"HS256"}{}"#),
        ("a header with a byte order mark", "\u{feff}{\"alg\":\"HS256\"}"),
        ("a header with a comma too many", r#"{"alg":"HS256",}"#),
    ] {
        tokens.push((attack.to_owned(), hs256(header, &claims(""))));
    }
    let deep = format!(r#"{{"alg":"HS256","x":{}{}}}"#, "[".repeat(2_500), "]".repeat(2_500));
    tokens.push(("a header that is nested deep".into(), hs256(&deep, &claims(""))));
    tokens
}

/// Algorithms that belong to no key of the node, or to another one.
fn algorithms(keys: &Keys) -> Tokens {
    let mut tokens = Tokens::new();
    let good = good(&claims(""));
    let [_, body, signature] = parts(&good);
    for name in
        ["none", "None", "NONE", "nOnE", "NoNe", " none", "none ", "", "null", "HS0", "no\u{200b}ne", "n\u{f6}ne"]
    {
        let header = base64url(format!(r#"{{"alg":"{name}","typ":"JWT"}}"#));
        tokens.push((format!("the algorithm {name:?} and no signature"), format!("{header}.{body}.")));
        tokens.push((
            format!("the algorithm {name:?} and the signature of another"),
            format!("{header}.{body}.{signature}"),
        ));
    }
    for name in
        ["hs256", "HS 256", "HS256 ", "HMAC", "HS1", "MD5", "A128KW", "dir", "ES256K", "EdDSA25519", "Ed448", "ES521"]
    {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        tokens.push((format!("the algorithm {name:?}, which is none"), hs256(&header, &claims(""))));
    }
    for (name, key) in [("rsa", &keys.rsa), ("ec", &keys.ec), ("ed", &keys.ed)] {
        let (pem, der) = (key.public_key_pem(), key.subject_public_key_info());
        for (what, secret) in [
            ("text", pem.as_bytes()),
            ("text without its last line end", pem.trim_end().as_bytes()),
            ("bytes", &der[..]),
        ] {
            let secret = EncodingKey::from_secret(secret).unwrap();
            for kid in [format!(r#","kid":"{name}""#), String::new()] {
                let header = format!(r#"{{"alg":"HS256"{kid}}}"#);
                let named = if kid.is_empty() { "unnamed" } else { "named" };
                let attack = format!("an HMAC by the {what} of the public key {name}, {named}");
                tokens.push((attack, signed(&header, &claims(""), &secret, Algorithm::HS256)));
            }
        }
    }
    let hs = |bytes: &[u8]| EncodingKey::from_secret(bytes).unwrap();
    for (attack, header, key, algorithm) in [
        ("the node's secret with a longer hash", r#"{"alg":"HS384"}"#, hs(SECRET.as_bytes()), Algorithm::HS384),
        ("the node's secret with the longest hash", r#"{"alg":"HS512"}"#, hs(SECRET.as_bytes()), Algorithm::HS512),
        ("a guessed secret", r#"{"alg":"HS256"}"#, hs(b"secret"), Algorithm::HS256),
        ("a secret of one zero byte", r#"{"alg":"HS256"}"#, hs(&[0]), Algorithm::HS256),
        (
            "the node's secret with a line end",
            r#"{"alg":"HS256"}"#,
            hs(b"a-secret-of-thirty-two-bytes-abc\n"),
            Algorithm::HS256,
        ),
        (
            "the node's secret in capitals",
            r#"{"alg":"HS256"}"#,
            hs(b"A-SECRET-OF-THIRTY-TWO-BYTES-ABC"),
            Algorithm::HS256,
        ),
        (
            "the name of the RSA key with another padding",
            r#"{"alg":"PS256","kid":"rsa"}"#,
            rsa_key(&keys.rsa),
            Algorithm::PS256,
        ),
        ("the RSA key with a longer hash", r#"{"alg":"RS384","kid":"rsa"}"#, rsa_key(&keys.rsa), Algorithm::RS384),
        ("the RSA key with the longest hash", r#"{"alg":"RS512","kid":"rsa"}"#, rsa_key(&keys.rsa), Algorithm::RS512),
        (
            "another padding under the right name",
            r#"{"alg":"RS256","kid":"rsa"}"#,
            rsa_key(&keys.rsa),
            Algorithm::PS256,
        ),
        ("a longer hash under the right name", r#"{"alg":"RS256","kid":"rsa"}"#, rsa_key(&keys.rsa), Algorithm::RS512),
        ("an elliptic key of an attacker", r#"{"alg":"ES256","kid":"ec"}"#, ec_key(&keys.other_ec), Algorithm::ES256),
        ("an Edwards key of an attacker", r#"{"alg":"EdDSA","kid":"ed"}"#, ed_key(&keys.other_ed), Algorithm::EdDSA),
        (
            "a key of another curve under its own name",
            r#"{"alg":"ES384","kid":"ec"}"#,
            ec_key(&keys.p384),
            Algorithm::ES384,
        ),
        (
            "a key of another curve under the right name",
            r#"{"alg":"ES256","kid":"ec"}"#,
            ec_key(&keys.p384),
            Algorithm::ES384,
        ),
        (
            "an Edwards signature under the elliptic name",
            r#"{"alg":"ES256","kid":"ec"}"#,
            ed_key(&keys.ed),
            Algorithm::EdDSA,
        ),
        (
            "the elliptic key under the Edwards name",
            r#"{"alg":"EdDSA","kid":"ed"}"#,
            ec_key(&keys.ec),
            Algorithm::ES256,
        ),
        (
            "the elliptic key under the name of the RSA key",
            r#"{"alg":"ES256","kid":"rsa"}"#,
            ec_key(&keys.ec),
            Algorithm::ES256,
        ),
    ] {
        tokens.push((attack.to_owned(), signed(header, &claims(""), &key, algorithm)));
    }
    tokens
}

/// Signatures that solve the equation of a careless verifier.
fn signatures() -> Tokens {
    // The order of P-256, and the order of the Edwards curve in its byte order.
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let one = |at: usize| std::array::from_fn::<u8, 64, _>(|byte| u8::from(byte == at));
    let es = unsigned(r#"{"alg":"ES256","kid":"ec"}"#, &claims(""));
    let ed = unsigned(r#"{"alg":"EdDSA","kid":"ed"}"#, &claims(""));
    let rs = unsigned(r#"{"alg":"RS256","kid":"rsa"}"#, &claims(""));
    let hs = unsigned(r#"{"alg":"HS256","kid":"hs"}"#, &claims(""));
    let der = [0x30, 6, 2, 1, 1, 2, 1, 1];
    let rsa = |first: u8, last: u8| std::array::from_fn::<u8, 256, _>(|at| if at == 255 { last } else { first });
    [
        ("an elliptic signature of zeros (CVE-2022-21449)", &es, base64url([0; 64])),
        ("an elliptic signature of r zero", &es, base64url(one(63))),
        ("an elliptic signature of s zero", &es, base64url(one(31))),
        (
            "an elliptic signature of ones",
            &es,
            base64url(std::array::from_fn::<u8, 64, _>(|at| u8::from(at % 32 == 31))),
        ),
        ("an elliptic signature of the order twice", &es, base64url([ORDER, ORDER].concat())),
        ("an elliptic signature of the order and one", &es, base64url([&ORDER[..], &one(31)[..32]].concat())),
        ("an elliptic signature beyond the order", &es, base64url([0xff; 64])),
        ("an elliptic signature in the form of certificates", &es, base64url(der)),
        ("an elliptic signature of half the length", &es, base64url([1; 32])),
        ("an elliptic signature of a byte less", &es, base64url([1; 63])),
        ("an elliptic signature of a byte more", &es, base64url([1; 65])),
        ("an elliptic signature of another curve's length", &es, base64url([1; 96])),
        ("an elliptic signature of no bytes", &es, String::new()),
        ("an Edwards signature of zeros", &ed, base64url([0; 64])),
        ("an Edwards signature of the neutral point", &ed, base64url(one(0))),
        ("an Edwards signature of all bits", &ed, base64url([0xff; 64])),
        ("an Edwards signature of half the length", &ed, base64url([0; 32])),
        ("an Edwards signature of no bytes", &ed, String::new()),
        ("an RSA signature of zero", &rs, base64url(rsa(0, 0))),
        ("an RSA signature of one", &rs, base64url(rsa(0, 1))),
        ("an RSA signature beyond the modulus", &rs, base64url(rsa(0xff, 0xff))),
        ("an RSA signature of one byte", &rs, base64url([1])),
        ("an RSA signature of twice the length", &rs, base64url([1; 512])),
        ("an RSA signature of no bytes", &rs, String::new()),
        ("an HMAC of zeros", &hs, base64url([0; 32])),
        ("an HMAC of one byte", &hs, base64url([0])),
        ("an HMAC of no bytes", &hs, String::new()),
        ("an HMAC of twice the length", &hs, base64url([0; 64])),
    ]
    .map(|(attack, message, signature)| (attack.to_owned(), format!("{message}.{signature}")))
    .into()
}

/// Tokens that look odd and are good.
fn accepted(keys: &Keys) -> Tokens {
    owned([
        ("a good token by the secret", good(&claims(""))),
        ("a good token that names its key", hs256(r#"{"alg":"HS256","kid":"hs"}"#, &claims(""))),
        ("a good token of RFC 9068", hs256(r#"{"alg":"HS256","typ":"application/at+JWT"}"#, &claims(""))),
        ("a good token with blanks in its JSON", hs256(" { \"alg\" : \"HS256\" } ", &claims(" "))),
        ("a good token with an unknown header", hs256(r#"{"alg":"HS256","x":{"y":[1]}}"#, &claims(""))),
        (
            "a good token by the RSA key",
            signed(r#"{"alg":"RS256","kid":"rsa"}"#, &claims(""), &rsa_key(&keys.rsa), Algorithm::RS256),
        ),
        (
            "a good token by the elliptic key",
            signed(r#"{"alg":"ES256"}"#, &claims(""), &ec_key(&keys.ec), Algorithm::ES256),
        ),
        (
            "a good token by the Edwards key",
            signed(r#"{"alg":"EdDSA"}"#, &claims(""), &ed_key(&keys.ed), Algorithm::EdDSA),
        ),
    ])
}
