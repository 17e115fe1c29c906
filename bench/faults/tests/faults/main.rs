//! The tool from outside: its checks in short, and that it finds what it is there to find.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod checks;
mod judge;
mod program;
