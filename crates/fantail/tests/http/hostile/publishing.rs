//! Bodies and targets of publishes and revocations: nothing of them is published but two events, and no stream is ended.

use super::case::{Case, Must, case, post};

/// Cases that publish: their oddity has no meaning.
pub(super) const PUBLISHED: u64 = 2;

pub(super) fn cases() -> Vec<Case> {
    bodies().into_iter().chain(targets()).chain(batches()).chain(revocations()).collect()
}

fn bodies() -> Vec<Case> {
    let event = |more: &str| format!("{{\"channel\":\"a\",\"data\":\"x\"{more}}}");
    let channels = |count: usize| (0..count).map(|n| format!("\"c{n}\"")).collect::<Vec<_>>().join(",");
    let json = [
        ("nothing", String::new()),
        ("blanks alone", " \r\n\t ".into()),
        ("no JSON", "hello".into()),
        ("a form's values", "channel=a&data=x".into()),
        ("XML with an entity from a file", "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>".into()),
        ("YAML", "channel: a\ndata: x".into()),
        ("JSON in single quotes", "{'channel':'a','data':'x'}".into()),
        ("JSON with names that are not quoted", "{channel:\"a\",data:\"x\"}".into()),
        ("JSON with a comment", "{\"channel\":\"a\",/**/\"data\":\"x\"}".into()),
        ("JSON with a comma too many", "{\"channel\":\"a\",\"data\":\"x\",}".into()),
        ("JSON that ends too early", "{\"channel\":\"a\",\"data\":\"x".into()),
        ("JSON with a word behind it", event("") + "x"),
        ("JSON behind a byte order mark", format!("\u{feff}{}", event(""))),
        ("JSON behind the guard of some servers", format!(")]}}',\n{}", event(""))),
        ("half a character as a type", event(",\"event\":\"\\ud800\"")),
        ("half a character as data", "{\"channel\":\"a\",\"data\":\"\\udc00\"}".into()),
        ("a control character in a text", "{\"channel\":\"a\",\"data\":\"\u{1}\"}".into()),
        ("an escape that is none", "{\"channel\":\"a\",\"data\":\"\\x41\"}".into()),
        ("a number that is none", event(",\"retry\":01")),
        ("a number without end", event(",\"retry\":Infinity")),
        ("a number beyond floats", event(",\"retry\":1e999")),
        ("lists nested deep", event(&format!(",\"x\":{}", "[".repeat(20_000)))),
        ("objects nested deep", event(&format!(",\"x\":{}", "{\"a\":".repeat(20_000)))),
        ("null", "null".into()),
        ("true", "true".into()),
        ("a number", "7".into()),
        ("a text", "\"x\"".into()),
        ("an event without a channel", "{\"data\":\"x\"}".into()),
        ("an event without data", "{\"channel\":\"a\"}".into()),
        ("an event of no members", "{}".into()),
        ("data that is null", "{\"channel\":\"a\",\"data\":null}".into()),
        ("data that is an object", "{\"channel\":\"a\",\"data\":{\"a\":1}}".into()),
        ("data that is a list", "{\"channel\":\"a\",\"data\":[\"x\"]}".into()),
        ("data that is a number", "{\"channel\":\"a\",\"data\":7}".into()),
        ("data that is true", "{\"channel\":\"a\",\"data\":true}".into()),
        ("members in other letters", "{\"Channel\":\"a\",\"DATA\":\"x\"}".into()),
        ("data given twice", event(",\"data\":\"y\"")),
        ("a channel given twice", event(",\"channel\":\"b\"")),
        ("a channel given twice by an escape", event(",\"\\u0063hannel\":\"b\"")),
        ("one channel and several", event(",\"channels\":[\"b\"]")),
        ("a channel that is a number", "{\"channel\":1,\"data\":\"x\"}".into()),
        ("a channel that is a list", "{\"channel\":[\"a\"],\"data\":\"x\"}".into()),
        ("a channel that is an object", "{\"channel\":{\"$ne\":null},\"data\":\"x\"}".into()),
        ("a channel without a name", "{\"channel\":\"\",\"data\":\"x\"}".into()),
        ("a channel that is a star", "{\"channel\":\"*\",\"data\":\"x\"}".into()),
        ("a channel with a hash tag", "{\"channel\":\"{a}\",\"data\":\"x\"}".into()),
        ("a channel with a line break", "{\"channel\":\"a\\r\\nb\",\"data\":\"x\"}".into()),
        ("a channel with a NUL", "{\"channel\":\"a\\u0000\",\"data\":\"x\"}".into()),
        ("a channel that is a way up", "{\"channel\":\"a/../b\",\"data\":\"x\"}".into()),
        ("a channel beyond ASCII", "{\"channel\":\"caf\u{e9}\",\"data\":\"x\"}".into()),
        ("a channel that is too long", format!("{{\"channel\":\"{}\",\"data\":\"x\"}}", "c".repeat(256))),
        ("channels that are a text", "{\"channels\":\"a\",\"data\":\"x\"}".into()),
        ("channels that are an object", "{\"channels\":{\"a\":1},\"data\":\"x\"}".into()),
        ("channels with a number", "{\"channels\":[\"a\",1],\"data\":\"x\"}".into()),
        ("channels in a list of lists", "{\"channels\":[[\"a\"]],\"data\":\"x\"}".into()),
        ("a list of no channels", "{\"channels\":[],\"data\":\"x\"}".into()),
        ("one bad channel among good ones", "{\"channels\":[\"a\",\"b*\"],\"data\":\"x\"}".into()),
        ("more channels than an event may have", format!("{{\"channels\":[{}],\"data\":\"x\"}}", channels(129))),
        ("ten thousand channels", format!("{{\"channels\":[{}],\"data\":\"x\"}}", channels(10_000))),
        ("a type with a line feed", event(",\"event\":\"a\\ndata: forged\"")),
        ("a type with a carriage return", event(",\"event\":\"a\\rb\"")),
        ("a type with a NUL", event(",\"event\":\"a\\u0000\"")),
        ("a type with an escape of terminals", event(",\"event\":\"\\u001b[31m\"")),
        ("a type with a control of the upper half", event(",\"event\":\"\\u0085\"")),
        ("a type that is ours", event(",\"event\":\"fantail.close\"")),
        ("a type of ours that nobody knows", event(",\"event\":\"fantail.\"")),
        ("a type that is a number", event(",\"event\":1")),
        ("a type that is a list", event(",\"event\":[\"a\"]")),
        ("a type that is too long", event(&format!(",\"event\":\"{}\"", "e".repeat(256)))),
        ("an id with a line break", event(",\"id\":\"1\\n\\ndata: forged\"")),
        ("an id with a NUL, which browsers pass over", event(",\"id\":\"a\\u0000\"")),
        ("an id without letters, which resets clients", event(",\"id\":\"\"")),
        ("an id that begins with a blank", event(",\"id\":\" a\"")),
        ("an id in our form, to send clients elsewhere", event(",\"id\":\"abcdefghijkl.1.2\"")),
        ("an id in our form with a part more", event(",\"id\":\"abcdefghijkl.1.2.3\"")),
        ("an id that is a number", event(",\"id\":1")),
        ("an id that is too long", event(&format!(",\"id\":\"{}\"", "i".repeat(129)))),
        ("a negative time to wait", event(",\"retry\":-1")),
        ("a time to wait with a fraction", event(",\"retry\":0.5")),
        ("a time to wait that is a text", event(",\"retry\":\"1\"")),
        ("a time to wait of more than a day", event(",\"retry\":86400001")),
        ("a time to wait of 2^64-1", event(",\"retry\":18446744073709551615")),
        ("a time to wait of 2^64", event(",\"retry\":18446744073709551616")),
        ("a time to wait that is true", event(",\"retry\":true")),
        ("a name among copies that is a number", event(",\"uid\":1")),
    ];
    let mut cases: Vec<_> = json
        .into_iter()
        .map(|(attack, body)| case(format!("a publish of {attack}"), post("/publish", "", body), Must::Be(400)))
        .collect();
    for (attack, body) in [
        ("half a character in a member of no meaning", event(",\"x\":\"\\ud800\"")),
        (
            "lists nested 1,000 deep in a member of no meaning",
            event(&format!(",\"x\":{}{}", "[".repeat(1_000), "]".repeat(1_000))),
        ),
    ] {
        cases.push(case(format!("a publish of {attack}"), post("/publish", "", body), Must::Be(202)));
    }
    let bytes = b"{\"channel\":\"a\",\"data\":\"\xff\xfe\"}";
    cases.push(case("a publish of JSON in bytes that are no text", post("/publish", "", bytes), Must::Be(400)));
    cases.push(case("a publish of raw bytes that are no text", post("/publish/a", "", b"\xff\xfe"), Must::Be(400)));
    cases.push(case(
        "a publish of a character cut in the middle",
        post("/publish/a", "", &"\u{1f600}".as_bytes()[..3]),
        Must::Be(400),
    ));
    cases.push(case("a publish of an overlong slash", post("/publish/a", "", b"\xc0\xaf"), Must::Be(400)));
    cases.push(case("a publish of half a pair of surrogates", post("/publish/a", "", b"\xed\xa0\x80"), Must::Be(400)));
    cases.push(case("a publish of two megabytes", post("/publish/a", "", vec![b'x'; 2 << 20]), Must::Be(413)));
    cases.push(case(
        "a publish of line breaks that grow sevenfold",
        post("/publish/a", "", vec![b'\n'; 200 << 10]),
        Must::Be(413),
    ));
    cases.push(case(
        "a publish whose length is a lie of a gigabyte",
        "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1000000000\r\n\r\nx",
        Must::Be(413),
    ));
    cases.push(case(
        "a publish whose body ends before its length",
        "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\nx",
        Must::Refuse,
    ));
    cases
}

fn targets() -> Vec<Case> {
    let long = "e".repeat(256);
    let mut cases: Vec<_> = [
        ("a channel without a name in the path", "/publish/"),
        ("a channel that is a star in the path", "/publish/*"),
        ("a channel with a blank in the path", "/publish/a%20b"),
        ("a channel with a line break in the path", "/publish/a%0d%0ab"),
        ("a channel with a NUL in the path", "/publish/a%00"),
        ("a channel that is a way up in the path", "/publish/.."),
        ("a channel with an empty segment in the path", "/publish/a//b"),
        ("a channel of no text in the path", "/publish/%ff"),
        ("a channel encoded twice in the path", "/publish/%2561"),
        ("a channel with a hash tag in the path", "/publish/%7Ba%7D"),
        ("a type with a line break in the query", "/publish/a?event=a%0adata:%20forged"),
        ("a type that is ours in the query", "/publish/a?event=fantail.gap"),
        ("a type that is too long in the query", &format!("/publish/a?event={long}")),
        ("a type of no text in the query, with a control", "/publish/a?event=%ff%00"),
        ("an id with a NUL in the query", "/publish/a?id=a%00"),
        ("an id without letters in the query", "/publish/a?id="),
        ("an id in our form in the query", "/publish/a?id=abcdefghijkl.1.2"),
        ("a negative time to wait in the query", "/publish/a?retry=-1"),
        ("a time to wait beyond numbers in the query", "/publish/a?retry=99999999999999999999"),
        ("a time to wait without digits in the query", "/publish/a?retry="),
        ("data in the query", "/publish/a?data=x"),
        ("an unknown option in the query", "/publish/a?admin=true"),
        ("a token in the query", "/publish/a?access_token=x"),
    ]
    .map(|(attack, target)| case(format!("a publish with {attack}"), post(target, "", "x"), Must::Be(400)))
    .into();
    for (attack, method, target, status) in [
        ("a publish by a link", "GET", "/publish/a", 405),
        ("a publish by an image with a query", "GET", "/publish/a?data=x", 405),
        ("a publish by another method", "PUT", "/publish/a", 405),
        ("a deletion by a method in a header", "GET", "/channels/none", 404),
        ("an end of a connection by a link", "GET", "/connections/0-0-0", 405),
        ("an end of a connection that is none", "DELETE", "/connections/-1", 404),
        ("an end of a connection beyond numbers", "DELETE", "/connections/99999999999999999999-0-0", 404),
        ("an end of a connection by a star", "DELETE", "/connections/*", 404),
        ("a deletion of all channels by a star", "DELETE", "/channels/*", 400),
        ("a deletion of a channel that is a way up", "DELETE", "/channels/..", 400),
        ("a deletion of the list of channels", "DELETE", "/channels", 405),
        ("a listing of more than there may be", "GET", "/channels?limit=99999999", 400),
        ("a listing of nothing", "GET", "/channels?limit=0", 400),
        ("a listing of a negative number", "GET", "/connections?limit=-1", 400),
        ("a listing with an unknown option", "GET", "/connections?sort=age", 400),
        ("a stream at the internal listener", "GET", "/sse/a", 404),
        ("a revocation by a link", "GET", "/revoke", 405),
        ("a way through to another host", "CONNECT", "evil.example:443", 421),
        ("an echo of the request, cookies included", "TRACE", "/config", 405),
        ("a change of the settings", "PUT", "/config", 405),
    ] {
        let bytes = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-HTTP-Method-Override: DELETE\r\n\r\n"
        );
        cases.push(case(attack, bytes, Must::Be(status)));
    }
    cases
}

/// Batches of which nothing is good, or of which nothing may be taken.
fn batches() -> Vec<Case> {
    let event = "{\"channel\":\"a\",\"data\":\"x\"}";
    let many = |count: usize, item: &str| vec![item; count].join(",");
    [
        ("a list that ends too early", format!("[{event},"), 400),
        ("a list with a comma too many", format!("[{event},]"), 400),
        ("a list with a word behind it", format!("[{event}]x"), 400),
        ("a second list behind the first", format!("[{event}][{event}]"), 400),
        ("a list of 10,001 events", format!("[{}]", many(10_001, event)), 413),
        ("a list of 200,000 nothings", format!("[{}]", many(200_000, "0")), 413),
        ("lines of 10,001 events", vec![event; 10_001].join("\n"), 413),
        ("lines of which the last is broken", format!("{event}\n{event}\n{{\"channel\":"), 400),
        ("lines of which the first is broken", format!("{{\"channel\":\n{event}"), 400),
        ("lines with a NUL between", format!("{event}\0{event}"), 400),
    ]
    .map(|(attack, body, status)| case(format!("a batch of {attack}"), post("/publish", "", body), Must::Be(status)))
    .into()
}

fn revocations() -> Vec<Case> {
    let json = [
        ("nothing", ""),
        ("no JSON", "sub=u"),
        ("a list", "[{\"sub\":\"u\"}]"),
        ("a text", "\"u\""),
        ("null", "null"),
        ("an object of no members", "{}"),
        ("nobody by an empty name", "{\"sub\":\"\"}"),
        ("nobody by null", "{\"sub\":null}"),
        ("a number in the place of a name", "{\"sub\":7}"),
        ("several names in a list", "{\"sub\":[\"u\",\"v\"]}"),
        ("everybody by a star in a list", "{\"sub\":[\"*\"]}"),
        ("an object in the place of a name", "{\"sub\":{\"$ne\":\"\"}}"),
        ("two kinds of name", "{\"sub\":\"u\",\"jti\":\"t\"}"),
        ("an unknown kind of name", "{\"email\":\"u\"}"),
        ("an unknown member beside a name", "{\"sub\":\"u\",\"all\":true}"),
        ("a name in other letters", "{\"SUB\":\"u\"}"),
        ("seconds alone", "{\"seconds\":1}"),
        ("no seconds", "{\"sub\":\"u\",\"seconds\":0}"),
        ("negative seconds", "{\"sub\":\"u\",\"seconds\":-1}"),
        ("seconds of a century", "{\"sub\":\"u\",\"seconds\":3153600000}"),
        ("seconds that are a text", "{\"sub\":\"u\",\"seconds\":\"1\"}"),
        ("seconds with a fraction", "{\"sub\":\"u\",\"seconds\":1.5}"),
        ("seconds beyond floats", "{\"sub\":\"u\",\"seconds\":1e400}"),
        ("half a character", "{\"sub\":\"\\ud800\"}"),
        ("JSON with something behind it", "{\"sub\":\"u\"}{\"sub\":\"v\"}"),
    ];
    let mut cases: Vec<_> = json
        .into_iter()
        .map(|(attack, body)| case(format!("a revocation of {attack}"), post("/revoke", "", body), Must::Be(400)))
        .collect();
    let deep = format!("{{\"sub\":{}", "[".repeat(20_000));
    cases.push(case("a revocation nested deep", post("/revoke", "", deep), Must::Be(400)));
    cases.push(case("a revocation of two megabytes", post("/revoke", "", vec![b' '; 2 << 20]), Must::Be(413)));
    cases
}
