//! From the operator's words about Redis to the settings of the feed.

use fantail_config::{Config, Feed, Secret};
use fantail_feed::{LogRetention, RedisReach, RedisSettings, SettingsError};
use fantail_wire::Lanes;

/// The feed's settings, if events come from Redis. Looks at no file.
pub(crate) fn redis_settings(config: &Config) -> Result<Option<RedisSettings>, SettingsError> {
    let Feed { redis_url, redis_log, .. } = &config.feed;
    let redis = config.redis.clone();
    if redis_url.is_none() && redis.redis_sentinels.is_empty() && redis.redis_cluster_nodes.is_empty() {
        return Ok(None);
    }
    let exposed = |secret: Option<Secret>| secret.map(|secret| secret.expose().to_owned());
    let mut settings = RedisSettings::new(RedisReach {
        url: redis_url.as_ref().map(|url| url.expose().to_owned()).unwrap_or_default(),
        username: redis.redis_username,
        password: exposed(redis.redis_password),
        password_file: redis.redis_password_file,
        tls_ca: redis.redis_tls_ca,
        tls_cert: redis.redis_tls_cert,
        tls_key: redis.redis_tls_key,
        cluster_nodes: redis.redis_cluster_nodes,
        sentinels: redis.redis_sentinels,
        sentinel_master: redis.redis_sentinel_master,
        sentinel_username: redis.redis_sentinel_username,
        sentinel_password: exposed(redis.redis_sentinel_password),
        sentinel_password_file: redis.redis_sentinel_password_file,
    })?;
    settings.event_bytes_max = config.limits.event_bytes_max;
    settings.log_events_max = config.logs.log_events_max;
    settings.publishers_trusted = config.feed.redis_publishers_trusted;
    settings.log = redis_log.then(|| retention(&config.feed));
    settings.log_lanes = lanes(&config.feed);
    Ok(Some(settings))
}

fn retention(feed: &Feed) -> LogRetention {
    LogRetention { events_max: feed.redis_log_events_max as u64, age_max: feed.redis_log_age_max }
}

fn lanes(feed: &Feed) -> Lanes {
    Lanes::named(feed.redis_log_lanes.iter().cloned()).expect("the form of the setting has counted them")
}
