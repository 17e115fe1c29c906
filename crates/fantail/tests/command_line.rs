//! The command line as people meet it: faults, help, and the two clients against real servers.
//!
//! Runs the built program only. What its clients send is checked against a server that says just what it is told to.

#[path = "command_line/canned.rs"]
mod canned;
#[path = "common/node.rs"]
mod node;
#[path = "command_line/publish.rs"]
mod publish;
#[path = "command_line/running.rs"]
mod running;
#[path = "command_line/serve.rs"]
mod serve;
#[path = "command_line/subscribe.rs"]
mod subscribe;
#[path = "command_line/tls.rs"]
mod tls;
