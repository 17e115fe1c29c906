//! Patterns over the names of channels, by which operators set channels apart.

use crate::{CHANNEL_NAME_BYTES_MAX, ChannelName};

/// A name in which each `*` stands for any characters, none and slashes among them. Matched on whole names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPattern(Box<str>);

/// Why a string is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelPatternError {
    /// Nothing was given.
    #[error("a pattern must not be empty; * alone stands for every channel")]
    Empty,
    /// More bytes than a channel name has.
    #[error("a pattern has at most {CHANNEL_NAME_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// A character that no channel name holds.
    #[error("a pattern is made of A-Z a-z 0-9 . _ ~ : @ / = - and * only, found {found:?} at byte {at}")]
    Character {
        /// The first character that is not allowed.
        found: char,
        /// Its offset in bytes.
        at: usize,
    },
}

impl ChannelPattern {
    /// Checks `pattern` and keeps a copy of it.
    pub fn parse(pattern: &str) -> Result<Self, ChannelPatternError> {
        if pattern.is_empty() {
            return Err(ChannelPatternError::Empty);
        }
        if pattern.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(ChannelPatternError::TooLong(pattern.len()));
        }
        let is_allowed = |c: char| c == '*' || crate::channel_name::is_allowed(c);
        if let Some((at, found)) = pattern.char_indices().find(|&(_, c)| !is_allowed(c)) {
            return Err(ChannelPatternError::Character { found, at });
        }
        Ok(Self(pattern.into()))
    }

    /// Whether the whole name fits.
    pub fn matches(&self, name: &ChannelName) -> bool {
        fits(self.0.as_bytes(), name.as_str().as_bytes())
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Each star takes as little as it can; only the last one met is ever widened, since a wider one before it could do no
/// more. So the work is bounded by the product of the lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on if the last star takes one more: behind it in the pattern, and in the name.
    let mut widen: Option<(usize, usize)> = None;
    while n < name.len() {
        match (pattern.get(p), widen) {
            (Some(b'*'), _) => {
                p += 1;
                widen = Some((p, n));
            }
            (Some(c), _) if *c == name[n] => (p, n) = (p + 1, n + 1),
            (_, Some((behind, start))) => {
                widen = Some((behind, start + 1));
                (p, n) = (behind, start + 1);
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        ChannelPattern::parse(pattern).expect("a pattern").matches(&ChannelName::parse(name).expect("a name"))
    }

    #[test]
    fn a_star_stands_for_anything_and_the_rest_for_itself() {
        for (pattern, name, expected) in [
            ("news", "news", true),
            ("news", "newsletter", false),
            ("news", "news.a", false),
            ("news.*", "news.a", true),
            ("news.*", "news.a/b", true),
            ("news.*", "news.", true),
            ("news.*", "news", false),
            ("*", "anything/at:all", true),
            ("*.log", "a.log.log", true),
            ("*.log", "a.logs", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**a**", "a", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_holds_what_names_hold_and_stars() {
        assert_eq!(ChannelPattern::parse(""), Err(ChannelPatternError::Empty));
        assert_eq!(ChannelPattern::parse("a?b"), Err(ChannelPatternError::Character { found: '?', at: 1 }));
        assert_eq!(ChannelPattern::parse("a,b"), Err(ChannelPatternError::Character { found: ',', at: 1 }));
        assert_eq!(ChannelPattern::parse(&"*".repeat(256)), Err(ChannelPatternError::TooLong(256)));
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        assert!(!matches(&"*a".repeat(120), &"a".repeat(119)));
        assert!(!matches(&format!("{}b", "a*".repeat(120)), &"a".repeat(255)));
    }

    /// The definition itself, without regard to the cost.
    fn fits_by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|taken| fits_by_definition(rest, &name[taken..])),
            Some((c, rest)) => name.split_first().is_some_and(|(n, left)| n == c && fits_by_definition(rest, left)),
        }
    }

    proptest! {
        #[test]
        fn a_match_is_what_the_definition_says(pattern in "[ab*]{1,8}", name in "[ab]{1,10}") {
            prop_assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), fits_by_definition(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
