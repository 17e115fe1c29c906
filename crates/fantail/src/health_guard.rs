//! The pages of the health listener that ask for a token.

use fantail_config::{Config, Secret};
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;

use crate::bearer::{TokenComparison, only_bearer};
use crate::health::only_read;
use crate::json_answer::json_answer;
use crate::problem::{Answer, Problem};
use crate::settings_json::settings_json;

/// `health_token`, and the settings, which only its bearer may see.
pub(crate) struct HealthGuard {
    token: Option<Secret>,
    settings: Value,
    comparison: TokenComparison,
}

impl HealthGuard {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            token: config.internal.health_token.clone(),
            settings: settings_json(config),
            comparison: TokenComparison::default(),
        }
    }

    /// Refuses a request without the token, if there is one.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else { return Ok(()) };
        if self.comparison.is_same(only_bearer(headers), token.expose().as_bytes()) {
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
