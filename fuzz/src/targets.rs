//! The targets, each with what must hold for every input.

mod access;
mod http;
mod http2;
mod text;

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 19] = [
    ("token", access::token),
    ("claims", access::claims),
    ("template", access::template),
    ("key_set", access::key_set),
    ("grant_fields", access::grant_fields),
    ("credentials", http::credentials),
    ("host", http::host),
    ("origin", http::origin),
    ("forwarded", http::forwarded),
    ("proxy_header", http::proxy_header),
    ("http2", http2::http2),
    ("header_block", http2::header_block),
    ("subscribe", http::subscribe),
    ("publish", http::publish),
    ("channel", text::channel),
    ("cursor", text::cursor),
    ("event_json", text::event_json),
    ("envelope", text::envelope),
    ("sse", text::sse),
];

/// The target of this name.
pub fn named(name: &str) -> fn(&[u8]) {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run).unwrap_or_else(|| panic!("no target {name}"))
}
