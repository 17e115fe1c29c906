//! The server's judgement of a token: the same keys, the same checks, the same rules for channels.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use fantail_access::{Grant, KeySet, SigningKey, TOKEN_BYTES_MAX, TokenError, TokenRules, check_token, peek_token};
use fantail_config::Access;
use fantail_telemetry::logging::{self, Format};
use serde_json::Value;

use crate::access::{KeyStore, channel_rules, token_rules, unix_second};

/// Far more than a token and what surrounds it.
const INPUT_BYTES_MAX: u64 = 16 * TOKEN_BYTES_MAX as u64;

/// A token to be looked at.
pub(crate) struct Inspect {
    /// The server's settings.
    pub(crate) access: Access,
    /// None if it comes from standard input.
    pub(crate) token: Option<String>,
}

impl Inspect {
    /// Prints what the token says and gives. An error names the check that refuses it.
    pub(super) fn run(self) -> anyhow::Result<()> {
        // The reason why a key set cannot be had is a line of the log.
        logging::init("warn", Format::Text, None)?;
        let token = match &self.token {
            Some(token) => token.clone(),
            None => read_input().context("standard input")?,
        };
        let token = without_scheme(token.trim());
        let mut out = io::stdout();
        if let Some((header, claims)) = peek_token(token) {
            write!(out, "header: {}\nclaims: {}\n", shown(&header), shown(&claims))?;
        }
        let (keys, may_have_newer) = self.keys()?;
        let (rules, now) = (token_rules(&self.access), u64::from(unix_second()));
        let checked = match check_token(token, &keys, &rules, now) {
            Ok(checked) => checked,
            Err(TokenError::UnknownKey(_) | TokenError::Algorithm | TokenError::Signature) if may_have_newer => bail!(
                "token_jwks cannot be had, and may have the token's key: a server tells such clients to come back later"
            ),
            Err(error) => bail!("refused by the check of {}: {error}{}", error.check(), advice(&error, &keys, &rules)),
        };
        let key = keys.iter().find(|key| key.fingerprint() == checked.key).map_or_else(String::new, told);
        let left = Duration::from_secs(checked.ends_at.saturating_sub(now));
        write!(out, "key: {key}\nends: in {} s\n", left.as_secs())?;
        let grant = match Grant::of_token(&checked, &channel_rules(&self.access)) {
            Ok(grant) => grant,
            Err(error) => bail!("refused by the check of channels: {error}"),
        };
        out.write_all(channels(&grant).as_bytes())?;
        if self.access.origin_url.is_some() {
            writeln!(out, "then: origin_url is asked, and may allow less")?;
        }
        Ok(())
    }

    /// The keys of the server: those of its files, and those that it would ask for over the network. True if these could not be
    /// had.
    fn keys(&self) -> anyhow::Result<(Arc<KeySet>, bool)> {
        let store = KeyStore::load(&self.access)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
        let are_newest = runtime.block_on(store.look_for_newer());
        runtime.shutdown_background();
        Ok((store.current(), store.may_have_newer() && !are_newest))
    }
}

fn read_input() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().take(INPUT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A token is often copied with what stands before it in the header.
fn without_scheme(text: &str) -> &str {
    let scheme = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    scheme.map_or(text, |(_, token)| token.trim())
}

/// JSON without characters that a terminal would obey.
fn shown(value: &Value) -> String {
    value.to_string().chars().fold(String::new(), |mut text, character| {
        if character.is_control() {
            let _ = write!(text, "{}", character.escape_unicode());
        } else {
            text.push(character);
        }
        text
    })
}

/// Details that the server knows and does not tell a client.
fn advice(error: &TokenError, keys: &KeySet, rules: &TokenRules) -> String {
    match error {
        TokenError::UnknownKey(_) | TokenError::Algorithm | TokenError::Signature => {
            let known: Vec<_> = keys.iter().map(told).collect();
            format!("; the server has these keys: {}", known.join(", "))
        }
        TokenError::Expired(_) | TokenError::NotYet(_) => {
            let now = httpdate::fmt_http_date(SystemTime::now());
            format!("; this machine's clock says {now}, and token_leeway is {} s", rules.leeway_seconds)
        }
        TokenError::Issuer => format!("; token_issuers has {}", rules.issuers.join(", ")),
        TokenError::Audience => format!("; token_audiences has {}", rules.audiences.join(", ")),
        _ => String::new(),
    }
}

/// A key by its algorithm and its name.
fn told(key: &SigningKey) -> String {
    match key.id() {
        Some(id) => format!("{} (kid {id:?})", key.algorithm()),
        None => format!("{} (no kid)", key.algorithm()),
    }
}

fn channels(grant: &Grant) -> String {
    let mut text = String::new();
    for channel in &grant.channels {
        let _ = writeln!(text, "channel: {channel}");
    }
    for pattern in &grant.patterns {
        let _ = writeln!(text, "pattern: {}", pattern.as_str());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_does_not_reach_the_terminal_as_a_command() {
        let claims = serde_json::json!({ "sub": "\u{1b}[2J\u{9b}31m" });
        assert_eq!(shown(&claims), r#"{"sub":"\u001b[2J\u{9b}31m"}"#);
        assert_eq!(without_scheme("bearer  a.b.c"), "a.b.c");
    }
}
