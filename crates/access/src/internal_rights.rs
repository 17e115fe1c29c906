//! The rights that a token of the internal listener gives: publishing to channels, reading state, operating.

use std::fmt;
use std::str::FromStr;

use fantail_wire::{ChannelName, ChannelPattern, ChannelPatternError};

/// The rights of a bearer of a token at the internal listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InternalRights {
    /// Channels to which it may publish.
    publish: Vec<ChannelPattern>,
    /// Whether it may look at channels, connections, settings and metrics.
    read: bool,
    /// Whether it may end streams, delete channels and take back rights.
    operate: bool,
}

/// One right that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeededRight<'a> {
    /// To publish to all of these channels.
    Publish(&'a [ChannelName]),
    /// To look.
    Read,
    /// To act.
    Operate,
}

/// Why a text names no rights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InternalRightsError {
    /// An unknown word.
    #[error("{0:?} is no right; write publish, publish:PATTERN, read or operate, several with + between them")]
    Word(String),
    /// A pattern that is none.
    #[error("publish:{0}: {1}")]
    Pattern(String, ChannelPatternError),
}

impl FromStr for InternalRights {
    type Err = InternalRightsError;

    /// Reads `publish:orders.*+publish:news+read`. `publish` alone is for all channels.
    fn from_str(text: &str) -> Result<Self, InternalRightsError> {
        let mut rights = Self::default();
        for word in text.split('+').map(str::trim) {
            match word.split_once(':') {
                None if word == "publish" => rights.publish.push(ChannelPattern::parse("*").expect("a pattern")),
                None if word == "read" => rights.read = true,
                None if word == "operate" => rights.operate = true,
                Some(("publish", pattern)) => {
                    let parsed = ChannelPattern::parse(pattern);
                    rights.publish.push(parsed.map_err(|e| InternalRightsError::Pattern(pattern.to_owned(), e))?);
                }
                _ => return Err(InternalRightsError::Word(word.to_owned())),
            }
        }
        Ok(rights)
    }
}

impl fmt::Display for InternalRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let publish = self.publish.iter().map(|pattern| format!("publish:{}", pattern.as_str()));
        let words = [(self.read, "read"), (self.operate, "operate")].into_iter().filter(|(has, _)| *has);
        let words: Vec<_> = publish.chain(words.map(|(_, word)| word.to_owned())).collect();
        f.write_str(&words.join("+"))
    }
}

impl InternalRights {
    /// Whether the rights are enough. A publish to several channels needs the right to each of them.
    pub fn allow(&self, needed: NeededRight<'_>) -> bool {
        match needed {
            NeededRight::Publish(channels) => {
                channels.iter().all(|channel| self.publish.iter().any(|pattern| pattern.matches(channel)))
            }
            NeededRight::Read => self.read,
            NeededRight::Operate => self.operate,
        }
    }

    /// Whether it may publish at all.
    pub fn may_publish(&self) -> bool {
        !self.publish.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<ChannelName> {
        names.iter().map(|name| ChannelName::parse(name).expect("a name")).collect()
    }

    #[test]
    fn a_publish_needs_the_right_to_each_of_its_channels() {
        let rights: InternalRights = "publish:orders.*+publish:news".parse().expect("rights");
        for (channels, allowed) in [
            (&["orders.1"][..], true),
            (&["news", "orders.2"], true),
            (&["news", "users"], false),
            (&["newsx"], false),
            (&["orders"], false),
        ] {
            assert_eq!(rights.allow(NeededRight::Publish(&names(channels))), allowed, "{channels:?}");
        }
        assert!(!rights.allow(NeededRight::Read) && !rights.allow(NeededRight::Operate));
        let all: InternalRights = "publish+read+operate".parse().expect("rights");
        assert!(all.allow(NeededRight::Publish(&names(&["any"]))) && all.allow(NeededRight::Operate));
        assert_eq!(all.to_string(), "publish:*+read+operate");
    }

    #[test]
    fn a_word_that_is_no_right_is_refused_by_its_name() {
        for text in ["", "write", "publish+", "read:x", "operate+all", "Publish"] {
            assert!(matches!(text.parse::<InternalRights>(), Err(InternalRightsError::Word(_))), "{text}");
        }
        for text in ["publish:", "publish:a b"] {
            assert!(matches!(text.parse::<InternalRights>(), Err(InternalRightsError::Pattern(..))), "{text}");
        }
    }
}
