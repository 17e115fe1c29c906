//! Rules between the settings for the way to NATS.
//!
//! Each of these mistakes would otherwise have no effect, silently, or be reported only by a NATS that refuses.

use crate::choices::NatsEvents;
use crate::layers::Rule;
use crate::settings::Config;

const BESIDE: &str = "must not be given beside";
const WITHOUT: &str = "is of no use without";

pub(crate) const RULES: [Rule; 25] = [
    Rule {
        keys: &["nats_events", "nats_stream"],
        must: "needs",
        holds: |config| config.nats.nats_events == NatsEvents::Fantail || config.nats.nats_stream.is_some(),
    },
    Rule {
        keys: &["nats_url", "redis_url"],
        must: BESIDE,
        holds: |config| !is_nats(config) || config.feed.redis_url.is_none(),
    },
    Rule {
        keys: &["nats_url", "redis_sentinels"],
        must: BESIDE,
        holds: |config| !is_nats(config) || config.redis.redis_sentinels.is_empty(),
    },
    Rule {
        keys: &["nats_url", "redis_cluster_nodes"],
        must: BESIDE,
        holds: |config| !is_nats(config) || config.redis.redis_cluster_nodes.is_empty(),
    },
    Rule {
        keys: &["nats_stream", "nats_url"],
        must: WITHOUT,
        holds: |config| is_nats(config) || config.nats.nats_stream.is_none(),
    },
    Rule {
        keys: &["nats_username", "nats_url"],
        must: WITHOUT,
        holds: |config| is_nats(config) || config.nats.nats_username.is_none(),
    },
    Rule {
        keys: &["nats_token_file", "nats_url"],
        must: WITHOUT,
        holds: |config| is_nats(config) || config.nats.nats_token_file.is_none(),
    },
    Rule {
        keys: &["nats_nkey_file", "nats_url"],
        must: WITHOUT,
        holds: |config| is_nats(config) || config.nats.nats_nkey_file.is_none(),
    },
    Rule {
        keys: &["nats_credentials_file", "nats_url"],
        must: WITHOUT,
        holds: |config| is_nats(config) || config.nats.nats_credentials_file.is_none(),
    },
    Rule {
        keys: &["nats_tls_ca", "nats_url"],
        must: WITHOUT,
        holds: |config| is_nats(config) || config.nats.nats_tls_ca.is_none(),
    },
    Rule {
        keys: &["nats_tls_insecure", "nats_url"],
        must: WITHOUT,
        holds: |config| is_nats(config) || !config.nats.nats_tls_insecure,
    },
    Rule {
        keys: &["nats_tls_insecure", "nats_tls_ca"],
        must: BESIDE,
        holds: |config| !config.nats.nats_tls_insecure || config.nats.nats_tls_ca.is_none(),
    },
    Rule {
        keys: &["nats_tls_insecure", "nats_tls_cert"],
        must: BESIDE,
        holds: |config| !config.nats.nats_tls_insecure || config.nats.nats_tls_cert.is_none(),
    },
    Rule {
        keys: &["nats_tls_cert", "nats_url"],
        must: WITHOUT,
        holds: |config| is_nats(config) || config.nats.nats_tls_cert.is_none(),
    },
    Rule {
        keys: &["nats_tls_cert", "nats_tls_key"],
        must: "must be given together with",
        holds: |config| config.nats.nats_tls_cert.is_none() == config.nats.nats_tls_key.is_none(),
    },
    Rule {
        keys: &["nats_username", "nats_password_file", "nats_password"],
        must: "needs a password; give",
        holds: |config| config.nats.nats_username.is_none() || has_password(config),
    },
    Rule {
        keys: &["nats_password", "nats_password_file"],
        must: BESIDE,
        holds: |config| config.nats.nats_password.is_none() || config.nats.nats_password_file.is_none(),
    },
    Rule {
        keys: &["nats_password", "nats_username"],
        must: WITHOUT,
        holds: |config| config.nats.nats_password.is_none() || config.nats.nats_username.is_some(),
    },
    Rule {
        keys: &["nats_password_file", "nats_username"],
        must: WITHOUT,
        holds: |config| config.nats.nats_password_file.is_none() || config.nats.nats_username.is_some(),
    },
    Rule {
        keys: &["nats_username", "nats_token_file"],
        must: BESIDE,
        holds: |config| config.nats.nats_username.is_none() || config.nats.nats_token_file.is_none(),
    },
    Rule {
        keys: &["nats_username", "nats_nkey_file"],
        must: BESIDE,
        holds: |config| config.nats.nats_username.is_none() || config.nats.nats_nkey_file.is_none(),
    },
    Rule {
        keys: &["nats_username", "nats_credentials_file"],
        must: BESIDE,
        holds: |config| config.nats.nats_username.is_none() || config.nats.nats_credentials_file.is_none(),
    },
    Rule {
        keys: &["nats_token_file", "nats_nkey_file"],
        must: BESIDE,
        holds: |config| config.nats.nats_token_file.is_none() || config.nats.nats_nkey_file.is_none(),
    },
    Rule {
        keys: &["nats_token_file", "nats_credentials_file"],
        must: BESIDE,
        holds: |config| config.nats.nats_token_file.is_none() || config.nats.nats_credentials_file.is_none(),
    },
    Rule {
        keys: &["nats_nkey_file", "nats_credentials_file"],
        must: BESIDE,
        holds: |config| config.nats.nats_nkey_file.is_none() || config.nats.nats_credentials_file.is_none(),
    },
];

fn is_nats(config: &Config) -> bool {
    !config.nats.nats_url.is_empty()
}

fn has_password(config: &Config) -> bool {
    config.nats.nats_password.is_some() || config.nats.nats_password_file.is_some()
}
