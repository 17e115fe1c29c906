//! What strangers send, read by the code that reads it in the program: nothing may panic, and what is promised must hold.
//!
//! Each target is a function of bytes. `cargo fuzz` drives them by coverage, and [`driver`] by plain mutations of the kept
//! corpus, for which the stable compiler is enough. Files of the program are part of this crate by their path: what is fuzzed
//! is the program's own text, and nothing of it is public for that.

pub mod driver;
pub mod targets;

#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/fantail/src/access/credentials.rs"]
mod credentials;
#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/feed/src/redis/envelope.rs"]
mod envelope;
#[allow(dead_code)]
#[path = "../../crates/fantail/src/problem.rs"]
mod problem;
#[allow(dead_code)]
#[path = "../../crates/fantail/src/publish_body.rs"]
mod publish_body;
#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/feed/src/random.rs"]
mod random;
#[allow(dead_code)]
#[path = "../../crates/fantail/src/request_host.rs"]
mod request_host;
#[allow(dead_code)]
#[path = "../../crates/fantail/src/subscribe_request.rs"]
mod subscribe_request;
#[path = "../../crates/fantail/src/web_page.rs"]
mod web_page;

/// Under the name by which the feed's own files know it.
mod event_json {
    pub(crate) use fantail_feed::{EventJson, EventJsonError, ReadEvent};
}
