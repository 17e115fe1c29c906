//! The form of a server's events, if it puts a publisher's data into something of its own: literal text with `{channel}` and
//! `{data}` in it. Events of another form are the server's own.

use std::str::FromStr;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

const CHANNEL: &str = "{channel}";
const DATA: &str = "{data}";

/// Literal text before the channel, between channel and data, and behind the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventTemplate {
    begin: String,
    /// None if the channel is not named.
    between: Option<String>,
    end: String,
}

impl EventTemplate {
    /// The publisher's data in this event; `None` if it is one of the server's own.
    pub(crate) fn data<'a>(&self, event: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = event.strip_prefix(self.begin.as_bytes())?;
        if let Some(between) = &self.between {
            let at = rest.windows(between.len()).position(|window| window == between.as_bytes())?;
            rest = &rest[at + between.len()..];
        }
        rest.strip_suffix(self.end.as_bytes())
    }
}

impl FromStr for EventTemplate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (front, end) = text.split_once(DATA).unwrap_or((text, ""));
        ensure!(text.contains(DATA) && !end.contains(CHANNEL), "{text:?} needs {DATA}, and {CHANNEL} only before it");
        let (begin, between) = match front.split_once(CHANNEL) {
            Some((begin, between)) => (begin, Some(between.to_owned())),
            None => (front, None),
        };
        ensure!(between.as_deref() != Some(""), "{text:?} needs something between {CHANNEL} and {DATA}");
        Ok(Self { begin: begin.to_owned(), between, end: end.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a value that does not parse is a failed test")]
    use super::*;

    #[test]
    fn data_is_found_in_its_form_and_nowhere_else() {
        let template: EventTemplate = r#"{"channel":"{channel}","pub":{"data":"{data}"}}"#.parse().unwrap();
        assert_eq!(template.data(br#"{"channel":"a-1","pub":{"data":"1 2 x"}}"#), Some(&b"1 2 x"[..]));
        for other in [r#"{"connect":{"ping":25}}"#, "{}", r#"{"channel":"a-1","pub":{"data":"1"}"#, ""] {
            assert_eq!(template.data(other.as_bytes()), None, "{other}");
        }
        assert_eq!("<{data}>".parse::<EventTemplate>().unwrap().data(b"<x>"), Some(&b"x"[..]));
    }

    #[test]
    fn unusable_templates_are_refused() {
        for text in ["", "{channel}", "{channel}{data}", "{data}{channel}"] {
            assert!(text.parse::<EventTemplate>().is_err(), "{text:?}");
        }
    }
}
