//! The table: each case is named by the file of web-platform-tests whose promise it holds, and says how a page must read
//! what was published. docs/conformance.md lists all of those files.

use serde_json::{Value, json};

/// A case. Each has a channel of its own, on which everything was published before a page opens it.
pub(crate) struct Case {
    /// The name of the file in `eventsource/`, without its ending, and more where one file has several cases.
    pub(crate) name: &'static str,
    pub(crate) published: Vec<Published>,
    /// The target that the page opens.
    pub(crate) address: Address,
    /// Each reconnect takes at least this time, in ms.
    pub(crate) pause_ms_min: u64,
}

/// The kinds of targets.
pub(crate) enum Address {
    /// All events in one connection.
    Channel,
    /// The stream ends behind each event, so the page comes back with each id.
    ChannelOneByOne,
    /// The channel's, but the page sends credentials.
    ChannelWithCredentials,
    /// A path that is no stream: the page gives up at once.
    NoStream(&'static str),
}

/// An event, and its answer.
#[derive(Clone)]
pub(crate) struct Published {
    /// The request's body, or raw bytes of data.
    pub(crate) body: Body,
    /// The page's event, or the field for which the publisher is refused.
    pub(crate) outcome: Result<Read, &'static str>,
}

#[derive(Clone)]
pub(crate) enum Body {
    Json(Value),
    Bytes(&'static [u8]),
}

/// An event as the page gets it. Without an id of the publisher it has one of Fantail's.
#[derive(Clone)]
pub(crate) struct Read {
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) id: Option<String>,
}

/// An event that comes as it was published.
fn data(text: impl Into<String>) -> Published {
    let data = text.into();
    let read = Read { kind: "message".into(), data: data.clone(), id: None };
    Published { body: Body::Json(json!({ "data": data })), outcome: Ok(read) }
}

/// Fields that are refused for one of them.
fn refused(field: &'static str, body: Value) -> Published {
    Published { body: Body::Json(body), outcome: Err(field) }
}

impl Published {
    /// The page gets another text than the published one.
    fn becomes(self, text: &str) -> Self {
        self.with(None, |read| read.data = text.into())
    }

    fn kind(self, kind: &str) -> Self {
        let read = if kind.is_empty() { "message" } else { kind };
        self.with(Some(("event", kind.into())), |event| event.kind = read.into())
    }

    fn id(self, id: &str) -> Self {
        self.with(Some(("id", id.into())), |read| read.id = Some(id.into()))
    }

    fn retry(self, ms: u32) -> Self {
        self.with(Some(("retry", ms.into())), |_| ())
    }

    fn with(mut self, field: Option<(&str, Value)>, change: impl FnOnce(&mut Read)) -> Self {
        if let (Some((name, value)), Body::Json(body)) = (field, &mut self.body) {
            body[name] = value;
        }
        if let Ok(read) = &mut self.outcome {
            change(read);
        }
        self
    }
}

fn case(name: &'static str, published: impl Into<Vec<Published>>) -> Case {
    Case { name, published: published.into(), address: Address::Channel, pause_ms_min: 0 }
}

impl Case {
    fn at(self, address: Address) -> Self {
        Self { address, ..self }
    }

    fn pausing(self, pause_ms_min: u64) -> Self {
        Self { pause_ms_min, ..self }
    }
}

/// Every case.
pub(crate) fn cases() -> Vec<Case> {
    [data_cases(), type_cases(), id_cases(), request_cases()].into_iter().flatten().collect()
}

fn data_cases() -> Vec<Case> {
    let fields = "\0\n 2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n";
    let invalid = Published { body: Body::Bytes(b"ok\xe2\x80"), outcome: Err("data") };
    vec![
        case("event-data", [data("msg\nmsg"), data(""), data("end")]),
        case("format-bom", [data("\u{feff}data:1"), data("1"), data("2\u{feff}")]),
        case("format-bom-2", [data("\u{feff}\u{feff}data:1"), data("\u{feff}")]),
        case(
            "format-comments",
            [data(":\0\ndata:2\n:").becomes(":\0\ndata:2\n:"), data(format!(":{}", "x".repeat(2048)))],
        ),
        case("format-field-data", [data(""), data("\n"), data("test"), data("data"), data("data:")]),
        case("format-field-parsing", [data(fields).becomes(&fields.replace("\r\n", "\n").replace('\r', "\n"))]),
        case(
            "format-field-unknown",
            [data("data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacomment\ndata:test")],
        ),
        case(
            "format-leading-space",
            [data("\ttest\n \ntest"), data(" "), data("  two"), data(" one\n  two\n"), data("end ")],
        ),
        case(
            "format-newlines",
            [
                data("test\r\n\ntest\r\n\r").becomes("test\n\ntest\n\n"),
                data("a\rb\nc\r\nd\n\re").becomes("a\nb\nc\nd\n\ne"),
                data("\r").becomes("\n"),
                data("id: 1\n\nevent: forged\ndata: x\n\n"),
                data("no\u{85}break\u{2028}in\u{2029}here\u{b}or\u{c}here"),
            ],
        ),
        case("format-null-character", [data("\0\n\n\n\n\0"), data("a\0b")]),
        case("format-utf-8", [data("ok…"), data("日本語 🎉 \u{10ffff} e\u{301}\u{fffd}"), invalid]),
        case("format-utf-8, long", [data("…".repeat(60_000)), data("x".repeat(200_000)), data("x\n".repeat(20_000))]),
    ]
}

fn type_cases() -> Vec<Case> {
    let named = |kind: &str| data("x").kind(kind);
    vec![
        case("format-field-event", [named("test"), data("x")]),
        case("format-field-event-empty", [named(""), data("y")]),
        case(
            "eventsource-eventtarget",
            [
                named("message"),
                named("Message"),
                named("open"),
                named("error"),
                named("__proto__"),
                named("a b: c"),
                named(" lead"),
                named("trail "),
                named(":"),
                named("\u{feff}type"),
                named("ereignis…🎉"),
                named(&"t".repeat(255)),
                refused("event", json!({ "data": "x", "event": "a\nb" })),
                refused("event", json!({ "data": "x", "event": "a\rb" })),
                refused("event", json!({ "data": "x", "event": "a\0b" })),
                refused("event", json!({ "data": "x", "event": "fantail.gap" })),
            ],
        ),
    ]
}

fn id_cases() -> Vec<Case> {
    let with = |id: &str| data(format!("behind {id}")).id(id);
    let with_id = |id: &str| refused("id", json!({ "data": "x", "id": id }));
    let with_retry = |retry: Value| refused("retry", json!({ "data": "x", "retry": retry }));
    vec![
        case("format-field-id", [with("…"), data("hello")]).at(Address::ChannelOneByOne),
        case("format-field-id-2", [with("1"), with("…"), data("ours"), with("2")]).at(Address::ChannelOneByOne),
        // An id cannot be reset: the client would lose its place.
        case("format-field-id-3", [with("a"), with_id(""), data("ours")]).at(Address::ChannelOneByOne),
        case(
            "format-field-id-null",
            ["\0\0", "x\0", "\0x", "x\0x", " \0"].map(with_id).into_iter().chain([data("x")]).collect::<Vec<_>>(),
        ),
        // A browser asks before it sends such an id to another origin.
        case("eventsource-cross-origin-preflight", [with("<(unsafe)>"), with("@[x]"), with(&"i".repeat(128))])
            .at(Address::ChannelOneByOne),
        case(
            "format-field-id, more",
            [with("a b"), with("id: 1"), with(":"), with("0"), with("日本語 🎉"), with("\"'\\,;%00"), with("\u{feff}")],
        )
        .at(Address::ChannelOneByOne),
        case("format-field-retry", [data("x").retry(700), data("y")]).at(Address::ChannelOneByOne).pausing(650),
        case("format-field-retry, bounds", [data("x").retry(0), data("y").retry(86_400_000)]),
        case(
            "format-field-retry-bogus",
            [
                data("x").retry(700),
                with_retry("1000x".into()),
                with_retry(json!(-1)),
                with_retry(json!(1.5)),
                data("y"),
            ],
        )
        .at(Address::ChannelOneByOne)
        .pausing(650),
        case("format-field-retry-empty", [data("x").retry(700), with_retry("".into()), data("y")])
            .at(Address::ChannelOneByOne)
            .pausing(650),
    ]
}

fn request_cases() -> Vec<Case> {
    vec![
        case("eventsource-onmessage", [data("data")]),
        case("eventsource-reconnect", [data("1"), data("2"), data("3")]).at(Address::ChannelOneByOne),
        case("request-credentials", [data("x")]).at(Address::ChannelWithCredentials),
        case("request-status-error", []).at(Address::NoStream("/elsewhere")),
        case("format-mime-bogus", []).at(Address::NoStream("/sse/a*")),
    ]
}
