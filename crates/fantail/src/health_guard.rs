//! The pages of the health listener that ask for a token.

use std::hash::{BuildHasher, RandomState};

use fantail_config::{Config, Secret};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;

use crate::health::only_read;
use crate::json_answer::json_answer;
use crate::problem::{Answer, Problem};
use crate::settings_json::settings_json;

/// `health_token`, and the settings, which only its bearer may see.
pub(crate) struct HealthGuard {
    token: Option<Secret>,
    settings: Value,
    hasher: RandomState,
}

impl HealthGuard {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            token: config.internal.health_token.clone(),
            settings: settings_json(config),
            hasher: RandomState::new(),
        }
    }

    /// Refuses a request without the token, if there is one.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else { return Ok(()) };
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let shown = match (shown.next(), shown.next()) {
            (Some(value), None) => value.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default(),
            _ => b"",
        };
        let token = token.expose().as_bytes();
        // A comparison byte by byte would tell by its time how much of a guess is right.
        if self.hasher.hash_one(shown) == self.hasher.hash_one(token) && shown == token {
            return Ok(());
        }
        let detail = "show health_token as Authorization: Bearer";
        Err(Problem::new(StatusCode::UNAUTHORIZED, detail).of("token"))
    }

    /// All settings, without their secrets. Nobody sees them where there is no token.
    pub(crate) fn config<B>(&self, request: &Request<B>) -> Result<Answer, Problem> {
        if self.token.is_none() {
            return Err(Problem::not_found("the settings are shown only with health_token"));
        }
        only_read(request)?;
        self.check(request.headers())?;
        Ok(json_answer(StatusCode::OK, &self.settings))
    }
}
