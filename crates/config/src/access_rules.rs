//! Rules between the settings for reading and publishing.

use crate::choices::AccessMode;
use crate::layers::Rule;
use crate::settings::{Access, Config};

pub(crate) const RULES: [Rule; 17] = [
    Rule {
        keys: &["access", "tls_listen"],
        must: "must be chosen (open if everyone may read every channel; token, origin or proxy if not: docs/access.md), since others than this machine reach",
        holds: |config| {
            mode(config).is_some()
                || config.tls.tls_listen.is_none_or(|listen| listen.ip().to_canonical().is_loopback())
        },
    },
    Rule {
        keys: &["tls_listen", "tls_cert"],
        must: "must be given together with",
        holds: |config| config.tls.tls_listen.is_some() != config.tls.tls_cert.is_empty(),
    },
    Rule {
        keys: &["tls_cert", "tls_key"],
        must: "must be given with as many files as",
        holds: |config| config.tls.tls_cert.len() == config.tls.tls_key.len(),
    },
    Rule {
        keys: &["tls_listen", "listen"],
        must: "must not take the same address and port as",
        holds: |config| config.tls.tls_listen.is_none_or(|tls| tls.port() == 0 || tls != config.public.listen),
    },
    Rule {
        keys: &["access", "listen"],
        must: "must be chosen (open if everyone may read every channel; token, origin or proxy if not: docs/access.md), since others than this machine reach",
        holds: |config| mode(config).is_some() || config.public.listen.ip().to_canonical().is_loopback(),
    },
    Rule {
        keys: &["internal_tokens", "internal_listen"],
        must: "must be given (path=publish+read+operate; /run/secrets/internal=publish for publishers alone), since others than this machine reach",
        holds: |config| {
            !config.internal.internal_tokens.is_empty()
                || config.internal.internal_listen.ip().to_canonical().is_loopback()
        },
    },
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
        must: "is of no use without a token in",
        holds: |config| config.access.channel_templates.is_empty() || uses_tokens(config),
    },
    Rule {
        keys: &["origin_url", "access"],
        must: "is of no use without origin in",
        holds: |config| config.access.origin_url.is_none() || mode(config).is_some_and(AccessMode::asks_origin),
    },
];

fn mode(config: &Config) -> Option<AccessMode> {
    config.access.access
}

fn uses_tokens(config: &Config) -> bool {
    mode(config).is_some_and(AccessMode::checks_tokens)
}

fn has_keys(access: &Access) -> bool {
    access.token_secret.is_some() || !access.token_keys.is_empty() || access.token_jwks.is_some()
}
