//! The token that a request shows: what a command sends, what the internal listeners are sent, and its comparison with one that is known.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// The value of `Authorization` that shows the token in a file, its only line. An error names the file and quotes nothing of it.
pub(crate) fn bearer_in(file: &Path) -> Result<HeaderValue, String> {
    let path = file.display();
    let line = std::fs::read_to_string(file).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let line = line.trim();
    if line.is_empty() {
        return Err(format!("{path} is empty"));
    }
    let mut value =
        HeaderValue::from_str(&format!("Bearer {line}")).map_err(|_| format!("{path} holds more than one line"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The token of the request's only `Authorization: Bearer` (RFC 6750, 2.1). It is empty if there is none, or more than one.
pub(crate) fn only_bearer(headers: &HeaderMap) -> &[u8] {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (shown.next(), shown.next()) else { return b"" };
    let is_bearer = |scheme: &[u8]| scheme.eq_ignore_ascii_case(b"bearer ");
    value
        .as_bytes()
        .split_at_checked(7)
        .filter(|(scheme, _)| is_bearer(scheme))
        .map_or(b"", |(_, token)| token.trim_ascii())
}

/// Compares tokens. Its time tells nothing about a token: a comparison byte by byte alone would tell how much of a guess is right, and
/// this one compares hashes first, whose key only this process has.
#[derive(Default)]
pub(crate) struct TokenComparison(RandomState);

impl TokenComparison {
    pub(crate) fn is_same(&self, shown: &[u8], known: &[u8]) -> bool {
        self.0.hash_one(shown) == self.0.hash_one(known) && shown == known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_request_is_that_of_its_only_bearer() {
        for (values, expected) in [
            (&["Bearer abc"][..], "abc"),
            (&["bearer  abc "], "abc"),
            (&["Basic abc"], ""),
            (&["Bearer"], ""),
            (&["Bearer abc", "Bearer abc"], ""),
            (&[], ""),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a value"));
            }
            assert_eq!(only_bearer(&headers), expected.as_bytes(), "{values:?}");
        }
    }
}
