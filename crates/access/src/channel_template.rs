//! Channels that are made from the claims of a token: `user:{sub}`, `org:{org}:news`.
//!
//! A value must not break out of its place. Example: a user takes the name `bob:private`. The template `user:{sub}` must not
//! give that user the channel that `user:{sub}:private` gives to `bob`. So letters, digits, `-`, `_` and `.` of a value stay,
//! and each other byte becomes `~` and two hexadecimal digits: `bob:private` becomes `bob~3aprivate`. Publishers write the same.

use std::fmt;

use fantail_wire::{ChannelName, ChannelNameError, escape_in_channel};
use serde_json::Value;

use crate::claims::Claims;

/// The most channels that one template gives, from claims that are lists.
pub const CHANNELS_PER_TEMPLATE_MAX: usize = 64;

/// A channel's name with places for claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The path of a claim.
    Claim(String),
}

/// The reason why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Braces do not match, or are empty.
    #[error("{0:?}: write a claim's name in braces, such as user:{{sub}}")]
    Braces(String),
    /// The template has no claim, so everyone would get the same channel.
    #[error("{0:?} names no claim; a channel that everyone may read has a place in the tokens' own list")]
    NoClaim(String),
    /// No claims make a valid channel of this template.
    #[error("{text:?} cannot become a channel's name: {reason}")]
    Name {
        /// The template.
        text: String,
        /// The reason why a name made of it is refused.
        reason: ChannelNameError,
    },
}

/// The reason why a token gives no channel here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// The claim is neither text nor number, nor a list of these.
    #[error("the token's claim {0} is neither a text nor a number, nor a list of them")]
    Type(String),
    /// The list is too long.
    #[error("the token's claim {0} lists more than {CHANNELS_PER_TEMPLATE_MAX} values")]
    TooMany(String),
    /// This value makes a name that no channel may have.
    #[error("the token's claims make no channel: {0}")]
    Name(#[from] ChannelNameError),
}

/// The template as it was written.
impl fmt::Display for ChannelTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with(|claim| format!("{{{claim}}}")))
    }
}

impl ChannelTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let braces = || TemplateError::Braces(text.to_owned());
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (claim, behind) = after.split_once('}').ok_or_else(braces)?;
            if claim.is_empty() || claim.contains('{') || before.contains('}') {
                return Err(braces());
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Claim(claim.to_owned()));
            rest = behind;
        }
        if rest.contains('}') {
            return Err(braces());
        }
        if pieces.is_empty() {
            return Err(TemplateError::NoClaim(text.to_owned()));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let template = Self { pieces };
        let reason = ChannelName::check(&template.with(|_| "x".to_owned())).err();
        reason.map_or(Ok(template), |reason| Err(TemplateError::Name { text: text.to_owned(), reason }))
    }

    /// The channels that this template gives for these claims. It gives none if one of its claims is missing, and one for each
    /// value if a claim is a list. Several lists give each combination: lists of 2 and 3 values give 6 channels.
    pub fn fill(&self, claims: &Claims) -> Result<Vec<ChannelName>, FillError> {
        let mut names = vec![String::new()];
        for piece in &self.pieces {
            let values = match piece {
                Piece::Text(text) => vec![text.clone()],
                Piece::Claim(path) => match claims.get(path) {
                    None | Some(Value::Null) => return Ok(Vec::new()),
                    Some(value) => written(value).ok_or_else(|| FillError::Type(path.clone()))?,
                },
            };
            if names.len().saturating_mul(values.len()) > CHANNELS_PER_TEMPLATE_MAX {
                let Piece::Claim(path) = piece else { unreachable!("a text is one value") };
                return Err(FillError::TooMany(path.clone()));
            }
            names = names.iter().flat_map(|name| values.iter().map(move |value| format!("{name}{value}"))).collect();
        }
        let names: Result<Vec<_>, _> = names.iter().map(|name| ChannelName::parse(name)).collect();
        Ok(names?)
    }

    fn with(&self, value: impl Fn(&str) -> String) -> String {
        let written = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Claim(path) => value(path),
        });
        written.collect()
    }
}

/// A claim's values, escaped for names.
fn written(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(list) => list.iter().map(written_alone).collect(),
        one => written_alone(one).map(|one| vec![one]),
    }
}

fn written_alone(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(escape_in_channel(text).into_owned()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, claims: &str) -> Result<Vec<String>, FillError> {
        let claims = Claims::new(serde_json::from_str(claims).expect("an object"));
        let names = ChannelTemplate::parse(template).expect("a template").fill(&claims)?;
        Ok(names.iter().map(|name| name.as_str().to_owned()).collect())
    }

    #[test]
    fn a_template_gives_a_channel_for_each_value_of_its_claims() {
        for (template, claims, expected) in [
            ("user:{sub}", r#"{"sub":"u1"}"#, &["user:u1"] as &[&str]),
            ("user:{sub}", r#"{"sub":42}"#, &["user:42"]),
            ("user:{sub}", "{}", &[]),
            ("user:{sub}", r#"{"sub":null}"#, &[]),
            ("org:{org.id}:news", r#"{"org":{"id":"o"}}"#, &["org:o:news"]),
            ("@eu/{sub}", r#"{"sub":"u1"}"#, &["@eu/u1"]),
            ("g:{groups}", r#"{"groups":["a","b"]}"#, &["g:a", "g:b"]),
            ("g:{groups}", r#"{"groups":[]}"#, &[]),
            ("{a}/{b}", r#"{"a":["1","2"],"b":["x","y"]}"#, &["1/x", "1/y", "2/x", "2/y"]),
        ] {
            assert_eq!(fill(template, claims).expect("filled"), expected, "{template} {claims}");
        }
        for claims in [r#"{"sub":true}"#, r#"{"sub":{}}"#, r#"{"sub":[[]]}"#, r#"{"sub":1.5}"#] {
            assert_eq!(fill("user:{sub}", claims), Err(FillError::Type("sub".into())), "{claims}");
        }
        let many = format!(r#"{{"sub":[{}]}}"#, vec!["1"; 65].join(","));
        assert_eq!(fill("user:{sub}", &many), Err(FillError::TooMany("sub".into())));
        let long = format!(r#"{{"sub":"{}"}}"#, "x".repeat(251));
        assert_eq!(fill("user:{sub}", &long), Err(FillError::Name(ChannelNameError::TooLong(256))));
    }

    #[test]
    fn a_value_stays_in_its_place() {
        for (value, expected) in [
            ("bob:private", "user:bob~3aprivate"),
            ("*", "user:~2a"),
            ("@eu/x", "user:~40eu~2fx"),
            ("..", "user:~2e~2e"),
            ("a.b", "user:a.b"),
            ("", "user:~"),
            ("~3a", "user:~7e3a"),
            ("ü", "user:~c3~bc"),
            ("a b\r\nx", "user:a~20b~0d~0ax"),
            ("{sub}", "user:~7bsub~7d"),
        ] {
            let claims = serde_json::json!({ "sub": value }).to_string();
            assert_eq!(fill("user:{sub}", &claims).expect("filled"), [expected], "{value:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_template_is_refused_with_the_reason() {
        for text in ["user:{", "user:}", "user:{}", "{a{b}}", "a}{b", "{sub"] {
            assert_eq!(ChannelTemplate::parse(text), Err(TemplateError::Braces(text.into())), "{text}");
        }
        assert_eq!(ChannelTemplate::parse("news"), Err(TemplateError::NoClaim("news".into())));
        for text in ["a b{sub}", "/{sub}", "{a}//{b}", "*{sub}"] {
            assert!(matches!(ChannelTemplate::parse(text), Err(TemplateError::Name { .. })), "{text}");
        }
    }
}
