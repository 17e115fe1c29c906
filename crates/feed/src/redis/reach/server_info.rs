//! Facts that a Redis server tells by `INFO`. The user may be forbidden to ask, and an imitation of Redis need not know
//! all words: then nothing is told.

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd};

/// One section of the answer.
struct Section(String);

/// That Redis may evict any key, the log's numbering among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Eviction {
    pub(crate) maxmemory: u64,
    pub(crate) policy: String,
}

/// The id of the history that this server writes as a master. It is another one each time a replica becomes a master,
/// so a server that was a replica for however short a time has not the same before and after. It may be another one
/// without that: when the first replica comes, or the last one was gone for an hour (`repl-backlog-ttl`).
pub(crate) async fn replication_id(connection: &mut MultiplexedConnection) -> RedisResult<Option<String>> {
    let section = ask(connection, "replication").await?;
    Ok(section.and_then(|section| section.word("master_replid").map(str::to_owned)))
}

/// Whether and how it evicts keys that have no time to live.
pub(crate) async fn eviction(connection: &mut MultiplexedConnection) -> RedisResult<Option<Eviction>> {
    Ok(ask(connection, "memory").await?.and_then(|section| section.eviction()))
}

async fn ask(connection: &mut MultiplexedConnection, section: &str) -> RedisResult<Option<Section>> {
    match cmd("INFO").arg(section).query_async(connection).await {
        Ok(text) => Ok(Some(Section(text))),
        Err(error) if error.is_io_error() || error.is_timeout() => Err(error),
        Err(_) => Ok(None),
    }
}

impl Section {
    fn word(&self, name: &str) -> Option<&str> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim_end()).filter(|word| !word.is_empty())
    }

    fn eviction(&self) -> Option<Eviction> {
        let maxmemory = self.word("maxmemory")?.parse().ok().filter(|bytes| *bytes > 0)?;
        let policy = self.word("maxmemory_policy").filter(|policy| policy.starts_with("allkeys-"))?;
        Some(Eviction { maxmemory, policy: policy.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_by_its_whole_name_and_may_be_missing() {
        let section = Section("# Replication\r\nrole:master\r\nmaster_replid:abc\r\nmaster_replid2:000\r\n".into());
        assert_eq!(section.word("master_replid"), Some("abc"));
        assert_eq!(section.word("master"), None);
        assert_eq!(section.word("master_repl_offset"), None);
    }

    #[test]
    fn keys_without_a_time_to_live_are_evicted_by_policies_for_all_keys_and_only_under_a_bound() {
        let eviction = |maxmemory: &str, policy: &str| {
            Section(format!("maxmemory:{maxmemory}\r\nmaxmemory_policy:{policy}\r\n")).eviction()
        };
        let evicting = Eviction { maxmemory: 1_000, policy: "allkeys-lru".into() };
        assert_eq!(eviction("1000", "allkeys-lru"), Some(evicting));
        for (maxmemory, policy) in [("0", "allkeys-lru"), ("1000", "volatile-ttl"), ("1000", "noeviction"), ("", "")] {
            assert_eq!(eviction(maxmemory, policy), None, "{maxmemory} {policy}");
        }
    }
}
