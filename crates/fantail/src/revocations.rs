//! Rights that are revoked while streams are open: by an operator, or because a key is gone.

use std::sync::Arc;

use fantail_access::RevokedName;
use fantail_shard::{Revoked, ShardCommand};
use serde_json::Value;
use tokio::sync::oneshot;
use tracing::info;

use crate::access::{fingerprint, key_fingerprint, unix_second};
use crate::problem::Problem;
use crate::running_node::RunningNode;

/// How long a revocation is remembered unless the request says otherwise: a day, in seconds.
const SECONDS_DEFAULT: u64 = 86_400;
/// How long it may be remembered at most: a year.
const SECONDS_MAX: u64 = 31_536_000;

/// A request to revoke rights.
pub(crate) struct Revocation {
    name: RevokedName,
    seconds: u64,
}

impl Revocation {
    /// Reads `{"sub":"u1"}`, with `sub`, `jti` or `sid`, and perhaps `seconds`.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Problem> {
        const FORM: &str = r#"the body is a JSON object with one of sub, jti and sid, such as {"sub":"u1"}"#;
        let body: Value = serde_json::from_slice(body).map_err(|_| Problem::field("body", FORM))?;
        let members = body.as_object().ok_or_else(|| Problem::field("body", FORM))?;
        let (mut name, mut seconds) = (None, SECONDS_DEFAULT);
        for (member, value) in members {
            let text = || {
                let text = value.as_str().filter(|text| !text.is_empty());
                text.map(Into::into).ok_or_else(|| Problem::field("body", format!("{member} is a text")))
            };
            let named = match member.as_str() {
                "sub" => RevokedName::Subject(text()?),
                "jti" => RevokedName::Token(text()?),
                "sid" => RevokedName::Session(text()?),
                "seconds" => {
                    let given = value.as_u64().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
                    let detail = format!("seconds is a number from 1 to {SECONDS_MAX}");
                    seconds = given.ok_or_else(|| Problem::field("body", detail))?;
                    continue;
                }
                _ => return Err(Problem::field("body", FORM)),
            };
            if name.replace(named).is_some() {
                return Err(Problem::field("body", FORM));
            }
        }
        let name = name.ok_or_else(|| Problem::field("body", FORM))?;
        Ok(Self { name, seconds })
    }

    /// Revokes the rights on this node. Returns the number of streams that were ended.
    pub(crate) async fn carry_out(self, node: &RunningNode) -> Result<u64, Problem> {
        let now = u64::from(unix_second());
        let revoked = match &self.name {
            RevokedName::Subject(name) => Revoked::Subject(fingerprint(name)),
            RevokedName::Token(name) => Revoked::Token(fingerprint(name)),
            RevokedName::Session(name) => Revoked::Session(fingerprint(name)),
        };
        // New streams are refused first and open ones end then, so that none slips through in between.
        let added = node.access.revoke(self.name, now, now.saturating_add(self.seconds));
        added.map_err(|error| Problem::new(http::StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
        Ok(end_streams(node, revoked).await)
    }
}

/// Keeps the keys of tokens up to date for ever, and ends the streams of keys that are gone.
pub(crate) async fn keep_keys(node: Arc<RunningNode>) {
    loop {
        for key in node.access.keys().bring_up_to_date().await {
            end_streams_of_key(&node, key).await;
        }
    }
}

/// Ends the streams of a key of tokens, or of authorities of certificates, that is gone.
pub(crate) async fn end_streams_of_key(node: &RunningNode, key: u64) {
    let ended = end_streams(node, Revoked::Key(key_fingerprint(key))).await;
    info!(ended, "streams of a key that is gone were ended");
}

async fn end_streams(node: &RunningNode, revoked: Revoked) -> u64 {
    let mut answers = Vec::new();
    for shard in &node.shards {
        let (reply, answer) = oneshot::channel();
        if shard.send(ShardCommand::Revoke { revoked, reply }).await.is_ok() {
            answers.push(answer);
        }
    }
    let mut ended = 0;
    for answer in answers {
        ended += answer.await.unwrap_or(0);
    }
    ended
}
