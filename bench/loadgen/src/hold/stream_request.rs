//! The request for a stream, which HTTP/1.1 and HTTP/2 write in their own forms.

/// A request for a stream, behind an id if it has one.
#[derive(Debug)]
pub(crate) struct StreamRequest<'a> {
    pub(crate) is_encrypted: bool,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) last_id: Option<&'a [u8]>,
}

impl StreamRequest<'_> {
    pub(crate) const ACCEPT: &'static str = "text/event-stream";
    pub(crate) const USER_AGENT: &'static str = "fantail-loadgen";

    /// The whole request over HTTP/1.1.
    pub(crate) fn http1_head(&self) -> String {
        let Self { host, path, last_id, .. } = self;
        let resume = last_id.map(|id| format!("Last-Event-ID: {}\r\n", String::from_utf8_lossy(id)));
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {}\r\nUser-Agent: {}\r\n{}\r\n",
            Self::ACCEPT,
            Self::USER_AGENT,
            resume.unwrap_or_default()
        )
    }
}
