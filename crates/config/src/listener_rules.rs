//! Rules between the settings of listeners.

use crate::access_rules::mode;
use crate::forms::networks::ListenAddress;
use crate::layers::Rule;
use crate::settings::Config;

const APART: &str = "must not take the same address and port as";
const CHOOSE_ACCESS: &str = "must be chosen (open if everyone may read every channel; token, origin, certificate or proxy if not: docs/access.md), since others than this machine reach";

pub(crate) const RULES: [Rule; 21] = [
    Rule {
        keys: &["health_token", "health_listen"],
        must: "is of no use without",
        holds: |config| config.internal.health_token.is_none() || config.internal.health_listen.is_some(),
    },
    Rule {
        keys: &["listen", "tls_listen"],
        must: "must have an address, or else",
        holds: |config| !config.public.listen.is_empty() || !config.tls.tls_listen.is_empty(),
    },
    Rule {
        keys: &["listen", "listen_shared"],
        must: "must not name an address twice, whatever is in",
        holds: |config| is_each_once(&config.public.listen),
    },
    Rule {
        keys: &["tls_listen", "listen_shared"],
        must: "must not name an address twice, whatever is in",
        holds: |config| is_each_once(&config.tls.tls_listen),
    },
    Rule {
        keys: &["tls_listen", "listen"],
        must: APART,
        holds: |config| apart(&config.tls.tls_listen, &config.public.listen),
    },
    Rule {
        keys: &["internal_listen", "listen"],
        must: APART,
        holds: |config| apart(internal(config), &config.public.listen),
    },
    Rule {
        keys: &["internal_listen", "tls_listen"],
        must: APART,
        holds: |config| apart(internal(config), &config.tls.tls_listen),
    },
    Rule {
        keys: &["health_listen", "listen"],
        must: APART,
        holds: |config| apart(health(config), &config.public.listen),
    },
    Rule {
        keys: &["health_listen", "tls_listen"],
        must: APART,
        holds: |config| apart(health(config), &config.tls.tls_listen),
    },
    Rule {
        keys: &["health_listen", "internal_listen"],
        must: APART,
        holds: |config| apart(health(config), internal(config)),
    },
    Rule {
        keys: &["access", "listen"],
        must: CHOOSE_ACCESS,
        holds: |config| mode(config).is_some() || are_local(&config.public.listen),
    },
    Rule {
        keys: &["access", "tls_listen"],
        must: CHOOSE_ACCESS,
        holds: |config| mode(config).is_some() || are_local(&config.tls.tls_listen),
    },
    Rule {
        keys: &["tls_listen", "tls_cert", "tls_directory"],
        must: "needs certificates in tls_directory or",
        holds: |Config { tls, .. }| {
            tls.tls_listen.is_empty() || !tls.tls_cert.is_empty() || tls.tls_directory.is_some()
        },
    },
    Rule {
        keys: &["tls_cert", "tls_listen"],
        must: "is of no use without",
        holds: |Config { tls, .. }| tls.tls_cert.is_empty() || !tls.tls_listen.is_empty(),
    },
    Rule {
        keys: &["tls_directory", "tls_listen"],
        must: "is of no use without",
        holds: |Config { tls, .. }| tls.tls_directory.is_none() || !tls.tls_listen.is_empty(),
    },
    Rule {
        keys: &["tls_client_ca", "tls_listen"],
        must: "is of no use without",
        holds: |Config { tls, .. }| tls.tls_client_ca.is_none() || !tls.tls_listen.is_empty(),
    },
    Rule {
        keys: &["tls_ticket_keys", "tls_listen"],
        must: "are of no use without",
        holds: |Config { tls, .. }| tls.tls_ticket_keys.is_empty() || !tls.tls_listen.is_empty(),
    },
    Rule {
        keys: &["tls_cert", "tls_key"],
        must: "must be given with as many files as",
        holds: |Config { tls, .. }| tls.tls_cert.len() == tls.tls_key.len(),
    },
    Rule {
        keys: &["internal_tls_cert", "internal_tls_key"],
        must: "must be given together with",
        holds: |Config { internal, .. }| internal.internal_tls_cert.is_some() == internal.internal_tls_key.is_some(),
    },
    Rule {
        keys: &["internal_tls_client_ca", "internal_tls_cert"],
        must: "is of no use without",
        holds: |Config { internal, .. }| {
            internal.internal_tls_client_ca.is_none() || internal.internal_tls_cert.is_some()
        },
    },
    Rule {
        keys: &["internal_tokens", "internal_listen"],
        must: "must be given (path=publish+read+operate; /run/secrets/internal=publish for publishers alone), since others than this machine reach",
        holds: |config| !config.internal.internal_tokens.is_empty() || are_local(internal(config)),
    },
];

fn apart(some: &[ListenAddress], others: &[ListenAddress]) -> bool {
    !some.iter().any(|one| others.iter().any(|other| one.collides(other)))
}

fn is_each_once(addresses: &[ListenAddress]) -> bool {
    addresses.iter().enumerate().all(|(at, one)| !addresses[..at].iter().any(|other| one.collides(other)))
}

fn are_local(addresses: &[ListenAddress]) -> bool {
    addresses.iter().all(ListenAddress::is_local)
}

fn internal(config: &Config) -> &[ListenAddress] {
    std::slice::from_ref(&config.internal.internal_listen)
}

fn health(config: &Config) -> &[ListenAddress] {
    config.internal.health_listen.as_slice()
}
