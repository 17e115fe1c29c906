//! Choices between a few words.

use crate::forms::words::Words;

/// The policy towards a stream that is slower than its channel's log is long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowPolicy {
    /// It is ended; the client comes back and is told of the gap.
    #[default]
    Disconnect,
    /// It is told of the gap and goes on with what is still there.
    Skip,
    /// It is told of the gap and goes on with the newest event.
    Latest,
}

impl Words for SlowPolicy {
    const NOUN: &'static str = "slow policy";
    const VALUE_NAME: &'static str = "POLICY";
    const WORDS: &'static [(&'static str, Self)] =
        &[("disconnect", Self::Disconnect), ("skip", Self::Skip), ("latest", Self::Latest)];
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
