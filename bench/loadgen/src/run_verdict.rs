//! Whether the server kept its promise: every stream got every event once, in order and whole.

use std::process::ExitCode;

use crate::round::RoundReport;

/// The exit code of a broken promise; 1 is an error of the run itself, 2 a wrong command line.
const BROKEN_EXIT_CODE: u8 = 3;

/// The outcome that the exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunVerdict {
    Kept,
    Broken {
        faults: u64,
    },
    /// Some scenarios of a suite found broken promises or did not run; each was reported.
    Failed {
        scenarios: u64,
    },
}

impl RunVerdict {
    pub(crate) fn of<'a>(rounds: impl IntoIterator<Item = &'a RoundReport>) -> Self {
        match rounds.into_iter().map(|round| round.faults.total()).sum() {
            0 => Self::Kept,
            faults => Self::Broken { faults },
        }
    }
}

impl From<RunVerdict> for ExitCode {
    fn from(verdict: RunVerdict) -> Self {
        match verdict {
            RunVerdict::Kept => Self::SUCCESS,
            RunVerdict::Broken { .. } | RunVerdict::Failed { .. } => Self::from(BROKEN_EXIT_CODE),
        }
    }
}
