//! The decisions about access, without IO: from the parts of a request to its answer.
//!
//! This crate owns the CORS decision, tokens and their grants, the hosts that a listener answers to, the client's address
//! behind proxies, and how often something may happen. It never reads a clock, a socket or a setting: callers pass everything in. It names no HTTP library.

mod channel_template;
mod claims;
mod client_certificate;
mod cors;
mod forwarded;
mod grant;
mod grant_fields;
mod host;
mod internal_rights;
mod mint;
mod origin;
mod proxy_protocol;
mod rate_limit;
mod required_claim;
mod revocations;
mod signing_key;
mod token;

pub use channel_template::{CHANNELS_PER_TEMPLATE_MAX, ChannelTemplate, FillError, TemplateError};
pub use claims::Claims;
pub use client_certificate::ClientCertificate;
pub use cors::{CorsDecision, CorsPolicy, CorsPolicyError, PREFLIGHT_MAX_AGE_SECONDS};
pub use forwarded::{ForwardedField, TrustedProxies};
pub use grant::{ChannelRules, Denied, Grant, GrantError, LISTED_CHANNELS_MAX};
pub use grant_fields::{CHANNELS_FIELD, EXPIRES_IN_FIELD, FieldsError, GrantFields, SESSION_FIELD, SUBJECT_FIELD};
pub use host::HostPolicy;
pub use internal_rights::{InternalRights, InternalRightsError, NeededRight};
pub use mint::{MintError, mint_token};
pub use origin::{Origin, OriginError, OriginPattern};
pub use proxy_protocol::{PROXY_HEADER_BYTES_MAX, ProxyHeader, ProxyHeaderError, read_proxy_header};
pub use rate_limit::{RateLimit, TooOften};
pub use required_claim::{RequiredClaim, RequiredClaimError};
pub use revocations::{REVOCATIONS_MAX, RevocationList, RevokedName, TooManyRevocations};
pub use signing_key::{KEYS_MAX, KeyAlgorithm, KeyError, KeySet, SECRET_BYTES_MIN, SigningKey};
pub use token::{CheckedToken, TOKEN_BYTES_MAX, TokenError, TokenRules, check_token, peek_token};
