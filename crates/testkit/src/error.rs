//! The kit's one error type: the fault, its place, and the remedy.
//!
//! Tests match on `Timeout` and `Ended`; everything else is for people to read.

use std::{io, time::Duration};

use crate::response::End;

/// Short for a result with the kit's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why the kit could not do its task.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not installed, or cannot be run.
    #[error("cannot run {program}: {source}; tests need it, install it and put it on PATH")]
    Missing {
        /// The program as it was called.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// A program ended, or did not become ready in time.
    #[error("{program} {what}; its output was:\n{output}")]
    Program {
        /// The program.
        program: String,
        /// Its failure.
        what: String,
        /// The tail of its output.
        output: String,
    },
    /// Something that must happen did not, within the failure guard.
    #[error("{what} did not happen within {limit:?}")]
    Timeout {
        /// The awaited event.
        what: String,
        /// The time that was waited.
        limit: Duration,
    },
    /// The response ended while more was expected.
    #[error("the stream ended ({0})")]
    Ended(End),
    /// A system call failed.
    #[error("{doing}: {source}")]
    Io {
        /// The attempted action.
        doing: String,
        /// The system's error.
        source: io::Error,
    },
    /// The other side sent something that its protocol does not allow.
    #[error("protocol violation: {0}")]
    Protocol(String),
}

/// Names the attempted action in the error of a system call.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl Into<String>) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Io { doing: what.into(), source })
    }
}

/// Runs `work` under a failure guard; `what` names it in the error.
pub(crate) async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Timeout { what: what.into(), limit }),
    }
}
