//! The role of a Redis server: asked by `HELLO`, the one command that no ACL rule can forbid.
//!
//! `ROLE` would tell the same, but is dangerous in the eyes of Redis (`@dangerous`), and so is often forbidden.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value, cmd, from_redis_value};

/// A server's role, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerRole {
    /// It takes publications, or is not known to be anything else: an imitation of Redis need not know all its words.
    Master,
    /// It copies a master. Its subscribers miss what is published while it is cut off from there.
    Replica,
    /// A node of a Cluster. Messages travel between its nodes directly, whatever their roles.
    ClusterNode,
    /// No server of data at all.
    Sentinel,
}

/// Asks over a connection that is logged in and speaks RESP3, as it goes on to do.
pub(crate) async fn ask(connection: &mut MultiplexedConnection) -> RedisResult<ServerRole> {
    let told: HashMap<String, Value> = cmd("HELLO").arg(3).query_async(connection).await?;
    let word = |key: &str| told.get(key).cloned().and_then(|value| from_redis_value::<String>(value).ok());
    Ok(role(word("mode").as_deref(), word("role").as_deref()))
}

fn role(mode: Option<&str>, role: Option<&str>) -> ServerRole {
    match (mode, role) {
        (Some("cluster"), _) => ServerRole::ClusterNode,
        (Some("sentinel"), _) => ServerRole::Sentinel,
        (_, Some("replica" | "slave")) => ServerRole::Replica,
        _ => ServerRole::Master,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_no_master_is_taken_for_none() {
        assert_eq!(role(Some("standalone"), Some("master")), ServerRole::Master);
        assert_eq!(role(Some("standalone"), Some("replica")), ServerRole::Replica);
        assert_eq!(role(Some("cluster"), Some("replica")), ServerRole::ClusterNode);
        assert_eq!(role(Some("sentinel"), Some("master")), ServerRole::Sentinel);
        assert_eq!(role(None, None), ServerRole::Master);
    }
}
