//! The certificate that a client has shown in its TLS handshake. Its signature was checked there.

use serde_json::{Map, Value};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::claims::Claims;

/// The names in a certificate, as claims that channel templates read: `cn`, `uri`, `email` and `dns`, each the first of its
/// kind, and `sub`, the first of these four that there is.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCertificate {
    pub(crate) names: Claims,
    /// The beginning of its validity, in seconds since 1970.
    pub(crate) begins_at: u64,
    /// The end of its validity, in seconds since 1970.
    pub(crate) ends_at: u64,
    /// The fingerprint of the authorities that vouch for it.
    pub(crate) authorities: u64,
}

impl ClientCertificate {
    /// Reads a certificate in DER form (RFC 5280), for which these authorities vouch. `None` if it cannot be read. Names with control
    /// characters are passed over.
    pub fn of_der(der: &[u8], authorities: u64) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut names = Map::new();
        let common_name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
        let mut add = |kind: &str, name: &str| {
            if !name.is_empty() && !name.contains(char::is_control) && !names.contains_key(kind) {
                names.insert(kind.to_owned(), Value::from(name));
            }
        };
        add("cn", common_name.unwrap_or_default());
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => add("uri", uri),
                GeneralName::RFC822Name(email) => add("email", email),
                GeneralName::DNSName(dns) => add("dns", dns),
                _ => {}
            }
        }
        if let Some(subject) = ["cn", "uri", "email", "dns"].iter().find_map(|kind| names.get(*kind)).cloned() {
            names.insert("sub".to_owned(), subject);
        }
        let second = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        let validity = certificate.validity();
        Some(Self {
            names: Claims::new(names),
            begins_at: second(validity.not_before),
            ends_at: second(validity.not_after),
            authorities,
        })
    }

    /// Whether it is valid at a second since 1970.
    pub fn holds_at(&self, now: u64) -> bool {
        (self.begins_at..=self.ends_at).contains(&now)
    }

    /// The fingerprint of the authorities that vouch for it.
    pub fn authorities(&self) -> u64 {
        self.authorities
    }

    /// The client, by the first name of its certificate.
    pub fn subject(&self) -> Option<&str> {
        self.names.text("sub")
    }
}
