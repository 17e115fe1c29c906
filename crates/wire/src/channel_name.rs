//! The names of channels: what may stand in a URL, in a Redis channel and in a gap event without any escaping.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest channel name, in bytes.
pub const CHANNEL_NAME_BYTES_MAX: usize = 255;

/// A valid channel name; cloning it moves a reference count.
///
/// 1 to [`CHANNEL_NAME_BYTES_MAX`] bytes out of `A-Z a-z 0-9 . _ ~ : @ / = -`. Left out on purpose: Redis's glob
/// characters and `{}` (hash tags), `+` and `,` (both mean something else in a query), everything that JSON, URLs or
/// logs would have to escape. A name has no empty, `.` or `..` segment between slashes, since proxies fold those.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// Why a string is no channel name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelNameError {
    /// Nothing was given.
    #[error("a channel name must not be empty")]
    Empty,
    /// More than [`CHANNEL_NAME_BYTES_MAX`] bytes.
    #[error("a channel name has at most {CHANNEL_NAME_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// A character outside the alphabet.
    #[error("a channel name is made of A-Z a-z 0-9 . _ ~ : @ / = - only, found {found:?} at byte {at}")]
    Character {
        /// The first character that is not allowed.
        found: char,
        /// Its offset in bytes.
        at: usize,
    },
    /// An empty, `.` or `..` segment.
    #[error("a channel name has no empty, \".\" or \"..\" segment between slashes")]
    Segment,
}

impl ChannelName {
    /// Checks `name` and keeps a copy of it.
    pub fn parse(name: &str) -> Result<Self, ChannelNameError> {
        Self::check(name).map(|()| Self(name.into()))
    }

    /// Checks whether `name` is a channel name.
    pub fn check(name: &str) -> Result<(), ChannelNameError> {
        if name.is_empty() {
            return Err(ChannelNameError::Empty);
        }
        if name.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(ChannelNameError::TooLong(name.len()));
        }
        if let Some((at, found)) = name.char_indices().find(|&(_, c)| !is_allowed(c)) {
            return Err(ChannelNameError::Character { found, at });
        }
        if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(ChannelNameError::Segment);
        }
        Ok(())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | ':' | '@' | '/' | '=' | '-')
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_accepted() {
        for name in ["demo", "user:42", "chat/room-1", "a@b.c", "~x", "base64==", &"x".repeat(255)] {
            assert_eq!(ChannelName::parse(name).map(|n| n.as_str().to_owned()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn hostile_names_are_refused_with_the_reason() {
        assert_eq!(ChannelName::parse(""), Err(ChannelNameError::Empty));
        assert_eq!(ChannelName::parse(&"x".repeat(256)), Err(ChannelNameError::TooLong(256)));
        // Each of these means something to Redis, to a URL, to a header or to a log.
        for c in
            ['*', '?', '[', ']', '^', '\\', '{', '}', '+', ',', '%', '#', '&', ' ', '\r', '\n', '\0', '\u{7f}', 'é']
        {
            let name = format!("a{c}b");
            assert_eq!(ChannelName::parse(&name), Err(ChannelNameError::Character { found: c, at: 1 }), "{name:?}");
        }
        for name in ["/", "a/", "/a", "a//b", ".", "..", "a/../b", "./a"] {
            assert_eq!(ChannelName::parse(name), Err(ChannelNameError::Segment), "{name:?}");
        }
    }
}
