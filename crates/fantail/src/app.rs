//! Where the parts meet.
//!
//! `Config` is taken apart by name, so that a new setting does not compile until something here takes it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use fantail_access::{CorsPolicy, HostPolicy, TrustedProxies};
use fantail_config::{Channels, Config, Cors, Drain, Engine, Feed, Internal, Limits, Logs, Public, Streams};
use fantail_feed::{LogRetention, RedisSettings};
use fantail_hub::{Following, Hub, HubSettings, LogLimits, NumberedBy};
use fantail_shard::{Admission, ShardSettings};
use fantail_telemetry::{Metrics, logging};
use fantail_wire::{LaneName, Lanes, Term};

use crate::channel_classes;
use crate::channel_makers::ChannelMakers;
use crate::cli::format_of;
use crate::control::{Control, FeedChoice};
use crate::descriptors;
use crate::drain::DrainTimes;
use crate::health;
use crate::listener::{self, SocketOptions};
use crate::public::PublicSettings;
use crate::redis_reach::redis_settings;
use crate::shard_thread::{self, ShardThread};

/// Serves until a signal ends it.
pub(crate) fn serve(config: Config) -> anyhow::Result<()> {
    let effective = config.effective();
    let Config {
        public,
        internal,
        engine,
        feed,
        redis,
        streams,
        logs,
        channels,
        limits,
        drain,
        cors,
        logging,
        sources: _,
    } = config;
    let Public { listen, listen_shared, path, trusted_proxies } = public;
    let Internal { internal_listen, internal_hosts, health_listen } = internal;
    let Engine { workers } = engine;
    let Feed {
        redis_url,
        redis_log,
        redis_log_events_max,
        redis_log_age_max,
        redis_log_lanes,
        follow_deadline,
        linger,
    } = feed;
    let Streams {
        keepalive_interval,
        retry,
        progress_deadline,
        send_buffer_bytes,
        channels_per_stream_max,
        slow_policy,
        plain_events_expected,
        unknown_id_replay_max,
        control_events,
        feed_state_events,
    } = streams;
    let Logs { log_events_max, log_bytes_max, log_age_max, logs_bytes_max } = logs;
    let Channels { channel } = channels;
    let Limits {
        connections_max,
        channels_max,
        channels_per_address_max,
        request_deadline,
        head_bytes_max,
        uri_bytes_max,
        publish_body_bytes_max,
        event_bytes_max,
    } = limits;
    let Drain { drain_delay, drain_window, drain_deadline } = drain;
    let Cors { cors_origin, cors_credentials } = cors;

    let log_format = format_of(logging.log_format);
    logging::init(&logging.log_level, log_format)?;
    // The TLS of the Redis client asks for the process's default provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut redis = redis_settings(redis_url.as_ref(), redis, event_bytes_max)?;
    if let Some(settings) = &mut redis {
        settings.log_events_max = log_events_max;
        settings.log =
            redis_log.then_some(LogRetention { events_max: redis_log_events_max as u64, age_max: redis_log_age_max });
        settings.log_lanes = lanes(&redis_log_lanes)?;
    }
    let health_places = if health_listen.is_some() { health::CONNECTIONS_MAX } else { 0 };
    let connections_max = descriptors::connections_max(connections_max, workers, health_places)?;

    let lanes = redis.as_ref().map(RedisSettings::lanes).unwrap_or_default();
    let log = LogLimits { entries_max: log_events_max, bytes_max: log_bytes_max, age_ms_max: millis(log_age_max) };
    let metrics = Arc::new(Metrics::new(workers));
    metrics.hub().channels_max.set(channels_max as u64);
    let channel_makers = ChannelMakers::new(channels_per_address_max);
    let (hub, publisher) = Hub::new(
        HubSettings {
            numbering: match &redis {
                Some(settings) if settings.log.is_some() => NumberedBy::Feed,
                _ => NumberedBy::Node(Term::from_random(fastrand::u64(..))),
            },
            lanes: lanes.clone(),
            following: if redis.is_some() { Following::OnDemand } else { Following::Always },
            shards: u16::try_from(workers).context("too many workers")?,
            log,
            patterns: channel_classes::log_limits(&channel, log)?,
            expects_unnumbered: channel_classes::plain_events_expected(&channel, plain_events_expected),
            unknown_id_replay_max,
            control_events,
            logs_bytes_max,
            event_bytes_max,
            channels_max,
            channels_per_address_max: channel_makers.channels_max,
            clock: now_ms,
        },
        metrics.hub(),
    );
    let feed = match redis {
        None => FeedChoice::Memory,
        Some(settings) => FeedChoice::Redis(Box::new(settings)),
    };
    let public_settings = Arc::new(PublicSettings {
        path,
        lanes,
        channels_max: channels_per_stream_max,
        channel_makers,
        head_bytes_max,
        uri_bytes_max,
        request_deadline,
        cors: cors_policy(&cors_origin, cors_credentials)?,
        trusted_proxies: TrustedProxies::new(trusted_proxies),
    });
    let shard_settings = ShardSettings {
        keepalive_interval,
        follow_deadline,
        progress_deadline,
        retry_ms: u32::try_from(millis(retry)).unwrap_or(u32::MAX),
        slow_policies: channel_classes::slow_policies(&channel, slow_policy),
        control_events,
    };

    // Everything is checked; from here on sockets are bound.
    let listeners = listener::bind_public(listen, listen_shared, workers, SocketOptions { send_buffer_bytes })?;
    let internal_listener = listener::bind_control("internal_listen", internal_listen)?;
    let health_listener = health_listen.map(|address| listener::bind_control("health_listen", address)).transpose()?;
    let admission = Admission::new(connections_max.public);
    metrics.hub().connections_max.set(admission.max() as u64);
    let shards = listeners
        .sockets
        .into_iter()
        .enumerate()
        .map(|(index, listener)| {
            shard_thread::spawn(ShardThread {
                index: index as u16,
                listener,
                hub: Arc::clone(&hub),
                settings: shard_settings.clone(),
                public: Arc::clone(&public_settings),
                counters: metrics.shard(index),
                admission: Arc::clone(&admission),
                reserve_places: connections_max.reserve_of_a_shard,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Control {
        hub,
        publisher,
        feed,
        metrics,
        shards,
        admission,
        // Its lines are for a person, and whoever collects JSON has the same in the log.
        banner: log_format == logging::Format::Text,
        listen: listeners.address,
        public_url: format!("http://{}{}", listeners.address, public_settings.path),
        internal_listener,
        internal_hosts: HostPolicy::new(internal_hosts),
        health_listener,
        internal_connections_max: connections_max.internal,
        publish_body_bytes_max,
        head_bytes_max,
        request_deadline,
        linger,
        drain: DrainTimes { delay: drain_delay, window: drain_window, deadline: drain_deadline },
        feed_state_events,
        effective,
    }
    .run()
}

/// The lanes of these names and the first. The config has checked them by the same rules.
fn lanes(names: &[String]) -> anyhow::Result<Lanes> {
    let names: Result<Vec<_>, _> = names.iter().map(|name| LaneName::parse(name)).collect();
    Ok(Lanes::named(names?)?)
}

/// The list has been checked by the same rules.
fn cors_policy(origins: &[String], credentials: bool) -> anyhow::Result<CorsPolicy> {
    let policy = CorsPolicy::parse(origins).map_err(|errors| anyhow::anyhow!("{}", errors[0]))?;
    Ok(if credentials { policy.with_credentials() } else { policy })
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
