//! Rules between the settings for reading and publishing.

use crate::choices::AccessMode;
use crate::layers::Rule;
use crate::settings::{Access, Config};

pub(crate) const RULES: [Rule; 13] = [
    Rule {
        keys: &["access", "token_keys", "token_secret", "token_jwks"],
        must: "needs token_secret, token_jwks or",
        holds: |config| !mode(config).is_some_and(AccessMode::checks_tokens) || has_keys(&config.access),
    },
    Rule {
        keys: &["access", "origin_url"],
        must: "needs",
        holds: |config| !mode(config).is_some_and(AccessMode::asks_origin) || config.access.origin_url.is_some(),
    },
    Rule {
        keys: &["access", "trusted_proxies"],
        must: "needs",
        holds: |config| mode(config) != Some(AccessMode::Proxy) || !config.public.trusted_proxies.is_empty(),
    },
    Rule {
        keys: &["access", "tls_client_ca"],
        must: "needs the authorities of the clients' certificates in",
        holds: |config| !reads_certificates(config) || config.tls.tls_client_ca.is_some(),
    },
    Rule {
        keys: &["access", "channel_templates"],
        must: "needs the channels of a certificate in",
        holds: |config| !reads_certificates(config) || !config.access.channel_templates.is_empty(),
    },
    Rule {
        keys: &["proxy_protocol", "trusted_proxies"],
        must: "needs the addresses of those who may write its header in",
        holds: |config| !config.public.proxy_protocol || !config.public.trusted_proxies.is_empty(),
    },
    Rule {
        keys: &["token_secret", "access"],
        must: "is of no use without a token in",
        holds: |config| config.access.token_secret.is_none() || uses_tokens(config),
    },
    Rule {
        keys: &["token_keys", "access"],
        must: "is of no use without a token in",
        holds: |config| config.access.token_keys.is_empty() || uses_tokens(config),
    },
    Rule {
        keys: &["token_jwks", "access"],
        must: "is of no use without a token in",
        holds: |config| config.access.token_jwks.is_none() || uses_tokens(config),
    },
    Rule {
        keys: &["token_cookie", "access"],
        must: "is of no use without a token in",
        holds: |config| config.access.token_cookie.is_none() || uses_tokens(config),
    },
    Rule {
        keys: &["token_query", "access"],
        must: "is of no use without a token in",
        holds: |config| config.access.token_query.is_none() || uses_tokens(config),
    },
    Rule {
        keys: &["channel_templates", "access"],
        must: "is of no use without a token or certificate in",
        holds: |config| config.access.channel_templates.is_empty() || uses_tokens(config) || reads_certificates(config),
    },
    Rule {
        keys: &["origin_url", "access"],
        must: "is of no use without origin in",
        holds: |config| config.access.origin_url.is_none() || mode(config).is_some_and(AccessMode::asks_origin),
    },
];

pub(crate) fn mode(config: &Config) -> Option<AccessMode> {
    config.access.access
}

fn uses_tokens(config: &Config) -> bool {
    mode(config).is_some_and(AccessMode::checks_tokens)
}

fn reads_certificates(config: &Config) -> bool {
    mode(config) == Some(AccessMode::Certificate)
}

fn has_keys(access: &Access) -> bool {
    access.token_secret.is_some() || !access.token_keys.is_empty() || access.token_jwks.is_some()
}
