//! The load generator from outside: against the floor, and against a toy server that can be told to break its promise.
#![allow(clippy::unwrap_used, reason = "a failed setup step is a failed test")]

mod faults;
mod floor;
mod hold;
mod layouts;
mod program;
mod toy_server;
