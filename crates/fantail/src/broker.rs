//! The broker that the operator chose, if there is one: from the words of the settings to those of the feed.

use fantail_config::{Config, NatsEvents, Secret};
use fantail_feed::{NatsEventForm, NatsReach, NatsSettings, NatsSettingsError, RedisSettings};
use fantail_wire::Lanes;

use crate::redis_settings::redis_settings;

/// The way to the broker that carries the events; without one they stay in this node's memory.
#[derive(Debug)]
pub(crate) enum Broker {
    Redis(Box<RedisSettings>),
    Nats(Box<NatsSettings>),
}

impl Broker {
    /// The settings allow one of the two. Looks at no file.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let nats = nats_settings(config)?.map(|settings| Self::Nats(Box::new(settings)));
        let redis = redis_settings(config)?.map(|settings| Self::Redis(Box::new(settings)));
        Ok(nats.or(redis))
    }

    /// Reads every file once, to tell at start what would fail at the first connection.
    pub(crate) fn check_files(&self) -> anyhow::Result<()> {
        match self {
            Self::Redis(settings) => Ok(settings.check_files()?),
            Self::Nats(settings) => Ok(settings.check_files()?),
        }
    }

    /// Whether it numbers the events, and not each node for itself.
    pub(crate) fn numbers(&self) -> bool {
        match self {
            Self::Redis(settings) => settings.log.is_some(),
            Self::Nats(settings) => settings.stream.is_some(),
        }
    }

    /// The numberings among which channels are divided.
    pub(crate) fn lanes(&self) -> Lanes {
        match self {
            Self::Redis(settings) => settings.lanes(),
            Self::Nats(_) => Lanes::default(),
        }
    }
}

/// The feed's settings, if events come from NATS. Looks at no file.
pub(crate) fn nats_settings(config: &Config) -> Result<Option<NatsSettings>, NatsSettingsError> {
    let nats = config.nats.clone();
    if nats.nats_url.is_empty() {
        return Ok(None);
    }
    let reach = NatsReach {
        servers: nats.nats_url,
        username: nats.nats_username,
        password: nats.nats_password.as_ref().map(Secret::expose).map(str::to_owned),
        password_file: nats.nats_password_file,
        token_file: nats.nats_token_file,
        nkey_file: nats.nats_nkey_file,
        credentials_file: nats.nats_credentials_file,
        tls_ca: nats.nats_tls_ca,
        tls_insecure: nats.nats_tls_insecure,
        tls_cert: nats.nats_tls_cert,
        tls_key: nats.nats_tls_key,
    };
    let mut settings = NatsSettings::new(reach, nats.nats_stream)?;
    settings.form = match nats.nats_events {
        NatsEvents::Fantail => NatsEventForm::Fantail,
        NatsEvents::OwnCloud => NatsEventForm::OwnCloud,
    };
    settings.event_bytes_max = config.limits.event_bytes_max;
    settings.log_events_max = config.logs.log_events_max;
    Ok(Some(settings))
}
