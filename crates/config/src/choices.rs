//! Choices between a few words.

pub use fantail_wire::SlowPolicy;

use crate::forms::words::Words;

impl Words for SlowPolicy {
    const NOUN: &'static str = "slow policy";
    const VALUE_NAME: &'static str = "POLICY";
    const WORDS: &'static [(&'static str, Self)] = &[
        (Self::Disconnect.as_str(), Self::Disconnect),
        (Self::Skip.as_str(), Self::Skip),
        (Self::Latest.as_str(), Self::Latest),
    ];
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line.
    Text,
    /// One JSON object per line.
    Json,
}

impl Words for LogFormat {
    const NOUN: &'static str = "log format";
    const VALUE_NAME: &'static str = "FORMAT";
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}
