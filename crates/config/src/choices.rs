//! Choices between a few words.

use fantail_access::ForwardedField;
pub use fantail_wire::{BareBlocks, SlowPolicy};

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

impl Words for BareBlocks {
    const NOUN: &'static str = "end of a block without data";
    const VALUE_NAME: &'static str = "END";
    const WORDS: &'static [(&'static str, Self)] =
        &[(Self::Closed.as_str(), Self::Closed), (Self::Joined.as_str(), Self::Joined)];
}

/// The form of the events in NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatsEvents {
    /// Fantail's own.
    Fantail,
    /// That of ownCloud's services.
    OwnCloud,
}

impl Words for NatsEvents {
    const NOUN: &'static str = "form of events";
    const VALUE_NAME: &'static str = "FORM";
    const WORDS: &'static [(&'static str, Self)] = &[("fantail", Self::Fantail), ("owncloud", Self::OwnCloud)];
}

/// Another program whose settings are read as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The sse service of ownCloud Infinite Scale.
    OwnCloud,
}

impl Words for Preset {
    const NOUN: &'static str = "preset";
    const VALUE_NAME: &'static str = "PROGRAM";
    const WORDS: &'static [(&'static str, Self)] = &[("owncloud", Self::OwnCloud)];
}

impl Words for ForwardedField {
    const NOUN: &'static str = "header with the client's address";
    const VALUE_NAME: &'static str = "HEADER";
    const WORDS: &'static [(&'static str, Self)] =
        &[("x-forwarded-for", Self::XForwardedFor), ("forwarded", Self::Forwarded)];
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

/// The readers that are let in, and the judge of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// Every client that reaches the port reads every channel.
    Open,
    /// A JSON Web Token names the channels.
    Token,
    /// A service of the operator is asked about each stream.
    Origin,
    /// A token must be good, and then the service is asked.
    TokenThenOrigin,
    /// A trusted proxy has decided, and header fields say what it allows.
    Proxy,
    /// The client's certificate names the channels.
    Certificate,
}

impl AccessMode {
    /// Whether tokens are checked.
    pub fn checks_tokens(self) -> bool {
        matches!(self, Self::Token | Self::TokenThenOrigin)
    }

    /// Whether the operator's service is asked.
    pub fn asks_origin(self) -> bool {
        matches!(self, Self::Origin | Self::TokenThenOrigin)
    }
}

impl Words for AccessMode {
    const NOUN: &'static str = "mode of access";
    const VALUE_NAME: &'static str = "MODE";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("open", Self::Open),
        ("token", Self::Token),
        ("origin", Self::Origin),
        ("token+origin", Self::TokenThenOrigin),
        ("proxy", Self::Proxy),
        ("certificate", Self::Certificate),
    ];
}

/// Whether a client of the encrypted listener shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// One without a certificate is let in.
    Optional,
    /// The handshake fails without one.
    Required,
}

impl Words for ClientAuth {
    const NOUN: &'static str = "rule for client certificates";
    const VALUE_NAME: &'static str = "RULE";
    const WORDS: &'static [(&'static str, Self)] = &[("optional", Self::Optional), ("required", Self::Required)];
}

/// The part of a TLS connection that a stream keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsStreamState {
    /// A key, an iv and a counter.
    Dissolved,
    /// The library's connection.
    Kept,
    /// Nothing, where the kernel seals.
    Kernel,
}

impl Words for TlsStreamState {
    const NOUN: &'static str = "state of an encrypted stream";
    const VALUE_NAME: &'static str = "STATE";
    const WORDS: &'static [(&'static str, Self)] =
        &[("dissolved", Self::Dissolved), ("kept", Self::Kept), ("kernel", Self::Kernel)];
}

/// The thread of the control loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlThread {
    /// One of its own if a core is left for it.
    Auto,
    /// One of its own.
    Own,
    /// That of the first shard.
    Shared,
}

impl Words for ControlThread {
    const NOUN: &'static str = "thread";
    const VALUE_NAME: &'static str = "THREAD";
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("own", Self::Own), ("shared", Self::Shared)];
}

/// The answer to a client whose right to read was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedAnswer {
    /// 403, with the reason.
    Forbidden,
    /// 204, which tells an `EventSource` that its end is meant (WHATWG HTML, 9.2.3).
    NoContent,
}

impl Words for RevokedAnswer {
    const NOUN: &'static str = "status";
    const VALUE_NAME: &'static str = "STATUS";
    const WORDS: &'static [(&'static str, Self)] = &[("403", Self::Forbidden), ("204", Self::NoContent)];
}
