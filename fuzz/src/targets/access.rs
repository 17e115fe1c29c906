//! Tokens, claims, keys and the words of the operator's service.

use std::sync::LazyLock;

use fantail_access::{
    CHANNELS_FIELD, CHANNELS_PER_TEMPLATE_MAX, ChannelRules, ChannelTemplate, EXPIRES_IN_FIELD, Grant, GrantFields,
    InternalRights, KEYS_MAX, KeySet, LISTED_CHANNELS_MAX, SESSION_FIELD, SUBJECT_FIELD, SigningKey, TokenRules,
    check_token,
};
use fantail_wire::{ChannelName, escape_in_channel};
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey};

const SECRET: &[u8] = b"a-secret-of-thirty-two-bytes-abc";
const NOW: u64 = 1_000_000;

static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let key = SigningKey::new("HS256".parse().expect("known"), None, SECRET).expect("a key");
    KeySet::new(vec![key]).expect("few")
});

static RULES: LazyLock<ChannelRules> = LazyLock::new(|| ChannelRules {
    claim: "channels".into(),
    templates: ["user:{sub}", "org:{org}:news", "deep:{a.b}"]
        .map(|text| ChannelTemplate::parse(text).expect("a template"))
        .into(),
});

fn signature(message: &str) -> String {
    let key = EncodingKey::from_secret(SECRET).expect("a key");
    sign(message.as_bytes(), &key, Algorithm::HS256).expect("a signature")
}

/// A token is good only with the very signature that the key makes.
pub(super) fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if check_token(text, &KEYS, &TokenRules::default(), NOW).is_ok() {
        let (message, shown) = text.rsplit_once('.').expect("three parts");
        assert_eq!(shown, signature(message), "{text}");
    }
}

/// Signed claims, whatever they say: a good token ends later than now, and its channels stay in their places.
pub(super) fn claims(data: &[u8]) {
    let message = format!("{}.{}", base64url(br#"{"alg":"HS256"}"#), base64url(data));
    let token = format!("{message}.{}", signature(&message));
    let Ok(checked) = check_token(&token, &KEYS, &TokenRules::default(), NOW) else { return };
    assert!(checked.ends_at > NOW);
    let claims = checked.claims.clone();
    let Ok(grant) = Grant::of_token(&checked, &RULES) else { return };
    assert!(grant.channels.len() <= LISTED_CHANNELS_MAX + 3 * CHANNELS_PER_TEMPLATE_MAX);
    assert!(grant.patterns.len() <= LISTED_CHANNELS_MAX);
    let is_listed = |name: &str| match claims.get("channels") {
        Some(serde_json::Value::String(one)) => one == name,
        Some(serde_json::Value::Array(list)) => list.iter().any(|item| item == name),
        _ => false,
    };
    for channel in &grant.channels {
        let name = channel.as_str();
        assert!(ChannelName::check(name).is_ok());
        let filled = name.strip_prefix("user:").or(name.strip_prefix("deep:"));
        let filled = filled.or(name.strip_prefix("org:").and_then(|rest| rest.strip_suffix(":news")));
        assert!(is_listed(name) || filled.is_some_and(|value| !value.contains([':', '/', '@', '='])), "{name}");
    }
    if let Some(sub) = claims.text("sub") {
        let own = format!("user:{}", escape_in_channel(sub));
        assert!(grant.channels.iter().any(|channel| channel.as_str() == own) || own.len() > 255);
    }
}

/// A template is written as it was read. Two values never give the same part of a name.
pub(super) fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(template) = ChannelTemplate::parse(text) {
        assert_eq!(template.to_string(), text);
        assert_eq!(ChannelTemplate::parse(&template.to_string()), Ok(template));
    }
    let escaped = escape_in_channel(text);
    assert!(escaped.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)));
    assert_eq!(unescape(&escaped).as_deref(), Some(text));
    if let Ok(rights) = text.parse::<InternalRights>() {
        assert_eq!(rights.to_string().parse::<InternalRights>().map(|again| again.to_string()), Ok(rights.to_string()));
    }
}

fn unescape(escaped: &str) -> Option<String> {
    if escaped == "~" {
        return Some(String::new());
    }
    let (mut bytes, mut rest) = (Vec::new(), escaped.as_bytes());
    while let [first, behind @ ..] = rest {
        if *first == b'~' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(behind.get(..2)?).ok()?, 16).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}

/// A set of keys of any form has as many keys as it may have, and each is the same key again.
pub(super) fn key_set(data: &[u8]) {
    if let Ok(keys) = KeySet::from_jwks(data) {
        assert!((1..=KEYS_MAX).contains(&keys.len()));
        let again = KeySet::from_jwks(data).expect("as before");
        assert_eq!((keys.gone_in(&again).len(), again.gone_in(&keys).len()), (0, 0));
    }
    let (first, text) = data.split_first().map_or((0, data), |(first, text)| (*first, text));
    const NAMES: [&str; 4] = ["HS256", "RS256", "ES256", "EdDSA"];
    let name = NAMES[usize::from(first) % NAMES.len()];
    let _ = SigningKey::new(name.parse().expect("known"), None, text);
}

/// A grant in JSON or in header fields allows what it names and nothing else; one that names nothing, what was asked for.
pub(super) fn grant_fields(data: &[u8]) {
    let asked = ["asked".to_owned()];
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(data)
        && let Ok(fields) = GrantFields::from_json(&json)
    {
        judge(fields, &asked, &json["channels"]);
    }
    let mut fields = GrantFields::default();
    for line in data.split(|&byte| byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let name = [CHANNELS_FIELD, SUBJECT_FIELD, SESSION_FIELD, EXPIRES_IN_FIELD][line.len() % 4];
        if fields.set_field(name, line).is_err() {
            return;
        }
    }
    let named = serde_json::json!(fields.channels);
    judge(fields, &asked, &named);
}

fn judge(fields: GrantFields, asked: &[String], named: &serde_json::Value) {
    let Ok(grant) = fields.grant(asked.iter().cloned(), NOW) else { return };
    let is_named = |name: &str| match named {
        serde_json::Value::Array(list) => list.iter().any(|item| item == name),
        _ => name == "asked",
    };
    assert!(grant.channels.len() + grant.patterns.len() <= LISTED_CHANNELS_MAX);
    assert!(grant.channels.iter().all(|channel| is_named(channel.as_str())));
    assert!(grant.patterns.iter().all(|pattern| is_named(pattern.as_str()) && pattern.as_str().contains('*')));
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}
