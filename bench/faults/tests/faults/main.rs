//! The tool from outside: short checks, and trials of the judge.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod checks;
mod judge;
mod program;
