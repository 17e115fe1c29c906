//! The operator's settings, from a file, the environment and the command line, as one checked [`Config`].
//!
//! Each setting is declared once, in `settings.rs`: key, variable, flag, default, bounds and explanation. Help, the
//! reference page and the example file are made from that table. Later layers win: file, then environment, then flags.
//! Nothing here touches the process's environment, its arguments or the disk; callers pass them in. Every fault in any
//! of them is reported together with the others.

mod access_rules;
mod channel_rule;
mod choices;
mod environment;
mod fault;
mod file;
mod flags;
mod form;
mod forms;
mod lane_names;
mod layers;
mod listener_rules;
mod nats_rules;
mod preset;
mod redis_rules;
mod redis_url;
mod reference;
mod secret;
mod settings;
mod suggest;

pub use channel_rule::ChannelRule;
pub use choices::{
    AccessMode, BareBlocks, ClientAuth, ControlThread, LogFormat, NatsEvents, Preset, RevokedAnswer, SlowPolicy,
    TlsStreamState,
};
pub use fault::{Fault, Faults, Location};
pub use flags::{Flags, Parsed, clap_args, command, parse_flags, parse_flags_of};
pub use forms::access::{InternalToken, KeyFile};
pub use forms::networks::ListenAddress;
pub use forms::numbers::parse_duration;
pub use layers::{Effective, Source, log_format, resolve};
pub use redis_url::RedisUrl;
pub use reference::{example_toml, reference_markdown};
pub use secret::Secret;
pub use settings::{
    Access, Channels, Config, Cors, Drain, Engine, Feed, Http2, Internal, Limits, Logging, Logs, Nats, Public, Redis,
    SETTINGS, Setting, SettingsFile, Streams, Tls,
};
