//! From the operator's words about Redis to what the feed takes.

use fantail_config::{Redis, RedisUrl, Secret};
use fantail_feed::{RedisReach, RedisSettings, SettingsError};

/// The feed's settings, if events come from Redis. Looks at no file.
pub(crate) fn redis_settings(
    redis_url: Option<&RedisUrl>,
    redis: Redis,
    event_bytes_max: usize,
) -> Result<Option<RedisSettings>, SettingsError> {
    if redis_url.is_none() && redis.redis_sentinels.is_empty() && redis.redis_cluster_nodes.is_empty() {
        return Ok(None);
    }
    let Redis {
        redis_username,
        redis_password,
        redis_password_file,
        redis_tls_ca,
        redis_tls_cert,
        redis_tls_key,
        redis_cluster_nodes,
        redis_sentinels,
        redis_sentinel_master,
        redis_sentinel_username,
        redis_sentinel_password,
        redis_sentinel_password_file,
    } = redis;
    let exposed = |secret: Option<Secret>| secret.map(|secret| secret.expose().to_owned());
    let mut settings = RedisSettings::new(RedisReach {
        url: redis_url.map(|url| url.expose().to_owned()).unwrap_or_default(),
        username: redis_username,
        password: exposed(redis_password),
        password_file: redis_password_file,
        tls_ca: redis_tls_ca,
        tls_cert: redis_tls_cert,
        tls_key: redis_tls_key,
        cluster_nodes: redis_cluster_nodes,
        sentinels: redis_sentinels,
        sentinel_master: redis_sentinel_master,
        sentinel_username: redis_sentinel_username,
        sentinel_password: exposed(redis_sentinel_password),
        sentinel_password_file: redis_sentinel_password_file,
    })?;
    settings.event_bytes_max = event_bytes_max;
    Ok(Some(settings))
}
