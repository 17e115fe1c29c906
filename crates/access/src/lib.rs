//! Who may read what, decided without IO: given what a request said, which answer does it get.
//!
//! Owns the CORS decision, which hosts a listener answers to, and which address a request comes from behind proxies. It
//! never reads a clock, a socket or a setting: everything it needs is
//! passed in, and what it decides comes back as plain (name, value) pairs, so that no HTTP library
//! is named here.

mod cors;
mod forwarded;
mod host;
mod origin;

pub use cors::{CorsDecision, CorsPolicy, CorsPolicyError, PREFLIGHT_MAX_AGE_SECONDS};
pub use forwarded::TrustedProxies;
pub use host::HostPolicy;
pub use origin::{Origin, OriginError};
