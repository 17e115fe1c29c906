//! A claim that a token must have.

use std::fmt;

use serde_json::Value;

use crate::claims::Claims;

/// The path of a claim, such as `user.id`, or with a `*` at its end the beginning of one: `scope.user*` is in every token whose
/// `scope` is an object with a key that begins with `user`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredClaim {
    /// Without the `*`.
    path: String,
    is_beginning: bool,
}

/// The reason why a text names no claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?}: write the path of a claim, such as user.id, or with a * at its end the beginning of one, such as scope.user*"
)]
pub struct RequiredClaimError(String);

impl RequiredClaim {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, RequiredClaimError> {
        let (path, is_beginning) = text.strip_suffix('*').map_or((text, false), |path| (path, true));
        let mut names = path.split('.');
        // The beginning of a name may be empty: scope.* is in every token with something in its scope.
        let end_is_whole = names.next_back().is_some_and(|end| is_beginning || !end.is_empty());
        if path.is_empty() || path.contains('*') || !end_is_whole || names.any(str::is_empty) {
            return Err(RequiredClaimError(text.to_owned()));
        }
        Ok(Self { path: path.to_owned(), is_beginning })
    }

    /// Whether a token has it. `null` and an empty text stand for none.
    pub(crate) fn is_in(&self, claims: &Claims) -> bool {
        if !self.is_beginning {
            return claims.get(&self.path).is_some_and(is_present);
        }
        let (object, beginning) =
            self.path.rsplit_once('.').map_or((None, &*self.path), |(path, end)| (Some(path), end));
        let keys = match object {
            Some(path) => claims.get(path).and_then(Value::as_object),
            None => Some(claims.all()),
        };
        keys.is_some_and(|keys| keys.iter().any(|(key, value)| key.starts_with(beginning) && is_present(value)))
    }
}

fn is_present(value: &Value) -> bool {
    !value.is_null() && value.as_str() != Some("")
}

/// As it was written.
impl fmt::Display for RequiredClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path, if self.is_beginning { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_names_no_claim_is_refused_and_one_that_does_is_shown_as_it_was_written() {
        for text in ["", "*", "a**", "a*b", "a..b", ".a", "a.", ".*", "..*", "a..b*"] {
            assert!(RequiredClaim::parse(text).is_err(), "{text}");
        }
        for text in ["sub", "user.id", "scope.user*", "scope.*"] {
            assert_eq!(RequiredClaim::parse(text).expect("a path").to_string(), text);
        }
    }
}
