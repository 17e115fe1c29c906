//! Rules between the settings for the way to Redis.
//!
//! Each of these mistakes would otherwise have no effect, silently, or be reported only by a Redis that refuses.

use crate::layers::Rule;
use crate::redis_url::RedisUrl;
use crate::settings::Config;

pub(crate) const RULES: [Rule; 19] = [
    Rule {
        keys: &["redis_url", "redis_sentinels", "redis_cluster_nodes"],
        must: "has no host; name one there, or redis_cluster_nodes, or",
        holds: |config| is_found_by_others(config) || url_is(config, RedisUrl::names_server, true),
    },
    Rule {
        keys: &["redis_cluster_nodes", "redis_url"],
        must: "tells where redis is; take the host out of",
        holds: |config| config.redis.redis_cluster_nodes.is_empty() || url_is(config, |url| !url.names_server(), true),
    },
    Rule {
        keys: &["redis_cluster_nodes", "redis_sentinels"],
        must: "must not be given beside",
        holds: |config| config.redis.redis_cluster_nodes.is_empty() || config.redis.redis_sentinels.is_empty(),
    },
    Rule {
        keys: &["redis_sentinels", "redis_url"],
        must: "tells where redis is; take the host out of",
        holds: |config| config.redis.redis_sentinels.is_empty() || url_is(config, |url| !url.names_server(), true),
    },
    Rule {
        keys: &["redis_sentinels", "redis_sentinel_master"],
        must: "must be given together with",
        holds: |config| config.redis.redis_sentinels.is_empty() == config.redis.redis_sentinel_master.is_none(),
    },
    Rule {
        keys: &["redis_username", "redis_password", "redis_password_file", "redis_url"],
        must: "needs a password; give redis_password_file or",
        holds: |config| config.redis.redis_username.is_none() || has_password(config),
    },
    Rule {
        keys: &["redis_username", "redis_url"],
        must: "must not be given beside a user in",
        holds: |config| config.redis.redis_username.is_none() || url_is(config, |url| !url.names_user(), true),
    },
    Rule {
        keys: &["redis_password", "redis_password_file"],
        must: "must not be given beside",
        holds: |config| config.redis.redis_password.is_none() || config.redis.redis_password_file.is_none(),
    },
    Rule {
        keys: &["redis_password", "redis_url"],
        must: "must not be given beside a password in",
        holds: |config| config.redis.redis_password.is_none() || url_is(config, |url| !url.holds_password(), true),
    },
    Rule {
        keys: &["redis_password_file", "redis_url"],
        must: "must not be given beside a password in",
        holds: |config| config.redis.redis_password_file.is_none() || url_is(config, |url| !url.holds_password(), true),
    },
    Rule {
        keys: &["redis_password", "redis_url", "redis_sentinels", "redis_cluster_nodes"],
        must: "is of no use without",
        holds: |config| config.redis.redis_password.is_none() || is_redis(config),
    },
    Rule {
        keys: &["redis_password_file", "redis_url", "redis_sentinels", "redis_cluster_nodes"],
        must: "is of no use without",
        holds: |config| config.redis.redis_password_file.is_none() || is_redis(config),
    },
    Rule {
        keys: &["redis_tls_ca", "redis_url"],
        must: "is of no use without rediss:// in",
        holds: |config| config.redis.redis_tls_ca.is_none() || url_is(config, RedisUrl::is_tls, false),
    },
    Rule {
        keys: &["redis_tls_cert", "redis_url"],
        must: "is of no use without rediss:// in",
        holds: |config| config.redis.redis_tls_cert.is_none() || url_is(config, RedisUrl::is_tls, false),
    },
    Rule {
        keys: &["redis_tls_cert", "redis_tls_key"],
        must: "must be given together with",
        holds: |config| config.redis.redis_tls_cert.is_none() == config.redis.redis_tls_key.is_none(),
    },
    Rule {
        keys: &["redis_sentinel_password", "redis_sentinel_password_file"],
        must: "must not be given beside",
        holds: |config| {
            config.redis.redis_sentinel_password.is_none() || config.redis.redis_sentinel_password_file.is_none()
        },
    },
    Rule {
        keys: &["redis_sentinel_username", "redis_sentinel_password", "redis_sentinel_password_file"],
        must: "needs a password; give redis_sentinel_password_file or",
        holds: |config| config.redis.redis_sentinel_username.is_none() || has_sentinel_password(config),
    },
    Rule {
        keys: &["redis_sentinel_password", "redis_sentinels"],
        must: "is of no use without",
        holds: |config| config.redis.redis_sentinel_password.is_none() || !config.redis.redis_sentinels.is_empty(),
    },
    Rule {
        keys: &["redis_sentinel_password_file", "redis_sentinels"],
        must: "is of no use without",
        holds: |config| config.redis.redis_sentinel_password_file.is_none() || !config.redis.redis_sentinels.is_empty(),
    },
];

/// Whether this holds of the URL, or `without` one.
fn url_is(config: &Config, holds: fn(&RedisUrl) -> bool, without: bool) -> bool {
    config.feed.redis_url.as_ref().map_or(without, holds)
}

/// Whether events come from a Redis.
pub(crate) fn is_redis(config: &Config) -> bool {
    config.feed.redis_url.is_some() || is_found_by_others(config)
}

/// Whether Sentinels or a Cluster know where it is.
fn is_found_by_others(config: &Config) -> bool {
    !config.redis.redis_sentinels.is_empty() || !config.redis.redis_cluster_nodes.is_empty()
}

fn has_password(config: &Config) -> bool {
    let redis = &config.redis;
    redis.redis_password.is_some()
        || redis.redis_password_file.is_some()
        || url_is(config, RedisUrl::holds_password, false)
}

fn has_sentinel_password(config: &Config) -> bool {
    config.redis.redis_sentinel_password.is_some() || config.redis.redis_sentinel_password_file.is_some()
}
