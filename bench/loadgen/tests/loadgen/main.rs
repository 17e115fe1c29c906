//! The load generator from outside: against the floor, and against a toy server that breaks its promise on demand.
#![allow(clippy::unwrap_used, reason = "a failed setup step is a failed test")]

mod faults;
mod floor;
mod hold;
mod http2;
mod http2_front;
mod layouts;
mod program;
mod tls;
mod tls_front;
mod toy_server;
mod unicast;
