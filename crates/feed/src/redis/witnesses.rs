//! Those who are asked where Redis is: Sentinels, or the nodes of a Cluster.
//!
//! They are asked all at once, so that one that is gone delays nobody, and the answer with the newest configuration
//! counts: one that was cut off from the others still names the old master. As soon as more than half have answered, the
//! rest is not waited for.

use std::time::Duration;

use redis::RedisError;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::Address;
use super::link_error::Advised;

/// How long one of them may take, connection included. Shorter than the deadline of the whole connect, which has to
/// reach the master as well.
const ASK_DEADLINE: Duration = Duration::from_secs(2);

/// What one of them says.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// Where the master is reached.
    pub(super) address: Address,
    /// By what it is told apart from another one.
    pub(super) name: String,
    /// That of the configuration, which every failover raises.
    pub(super) epoch: u64,
}

/// Why one of them is of no help.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("{}", Advised(.0))]
    Redis(#[from] RedisError),
    #[error("knows no such master")]
    NoSuchMaster,
    #[error("may not be asked by this user; allow it +cluster|nodes")]
    Forbidden,
    #[error("knows no master for the slot {0} of the log")]
    NoOwner(u16),
    #[error("says that {0}, the master for the slot of the log, has failed")]
    OwnerFailed(Address),
    #[error("did not answer within {ASK_DEADLINE:?}")]
    Late,
}

impl Answer {
    /// Whether both tell the same.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        self.name == other.name && self.epoch == other.epoch
    }
}

/// Asks all, and returns the newest answer, or why there is none.
pub(super) async fn ask_all<F>(witnesses: &[Address], ask: impl Fn(Address) -> F) -> Result<Answer, Vec<String>>
where
    F: Future<Output = Result<Answer, Unanswered>> + Send + 'static,
{
    let mut asked = JoinSet::new();
    for witness in witnesses {
        let answer = timeout(ASK_DEADLINE, ask(witness.clone()));
        let witness = witness.to_string();
        asked.spawn(async move {
            let answer = answer.await.unwrap_or(Err(Unanswered::Late));
            answer.map_err(|error| format!("{witness}: {error}"))
        });
    }
    let (mut answers, mut reasons) = (Vec::new(), Vec::new());
    while let Some(Ok(answer)) = asked.join_next().await {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(reason) => reasons.push(reason),
        }
        if answers.len() > witnesses.len() / 2 {
            break;
        }
    }
    newest(answers).ok_or(reasons)
}

/// The first of those with the highest epoch.
fn newest(answers: Vec<Answer>) -> Option<Answer> {
    answers.into_iter().reduce(|one, other| if other.epoch > one.epoch { other } else { one })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that was cut off from the others names the old master for as long as it is.
    #[test]
    fn the_newest_configuration_counts_whoever_answers_first() {
        let answer = |port, epoch| Answer { address: Address { host: "h".into(), port }, name: String::new(), epoch };
        let port_of = |answers| newest(answers).map(|answer| answer.address.port);
        assert_eq!(port_of(vec![answer(1, 3), answer(2, 4)]), Some(2));
        assert_eq!(port_of(vec![answer(2, 4), answer(1, 3)]), Some(2));
        assert_eq!(port_of(vec![answer(1, 0), answer(2, 0)]), Some(1));
        assert_eq!(port_of(vec![]), None);
    }
}
