//! Faulty answers of the operator's own service: they let no client in.

use std::fmt::Write as _;

use super::case::{Case, Must, case, subscribe};

/// An answer: its fault, its bytes, the target that was asked for, and the status that the client gets.
pub(super) type Answer = (String, String, &'static str, Must);

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn json(body: &str) -> String {
    answer("200 OK", "Content-Type: application/json\r\n", body)
}

fn headers(lines: &str) -> String {
    answer("200 OK", lines, "")
}

/// The case for each answer. The service tells them apart by their number in a header that is passed on to it.
pub(super) fn cases(answers: &[Answer]) -> Vec<Case> {
    let cases = answers.iter().enumerate().map(|(number, (attack, _, target, must))| {
        let lines = format!("X-Case: {number}\r\nConnection: close\r\n");
        case(format!("an answer with {attack}"), subscribe(target, &lines), *must)
    });
    cases.collect()
}

const AWAY: Must = Must::Be(503);
const DENIED: Must = Must::Be(403);
/// The service allows something that no channel can be; it has a fault.
const FAULTY: Must = Must::Be(503);

pub(super) fn answers() -> Vec<Answer> {
    let mut answers = statuses();
    answers.extend(framing());
    answers.extend(bodies());
    answers.extend(fields());
    answers
}

fn owned<const N: usize>(answers: [(&str, String, Must); N]) -> Vec<Answer> {
    answers.map(|(attack, bytes, must)| (attack.to_owned(), bytes, "/sse/a", must)).into()
}

/// Only 2xx allows, and only 401 and 403 deny; all else decides nothing.
fn statuses() -> Vec<Answer> {
    let mut answers = Vec::new();
    for status in [
        "300 Multiple Choices",
        "304 Not Modified",
        "400 Bad Request",
        "404 Not Found",
        "407 Proxy Authentication Required",
        "418 A Teapot",
        "429 Too Many Requests",
        "451 Unavailable",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "599 Strange",
        "600 Stranger",
        "999 Strangest",
    ] {
        answers.push((format!("the status {status}"), answer(status, "Fantail-Channels: a\r\n", ""), "/sse/a", AWAY));
    }
    for (what, place) in [
        ("301 Moved", "http://127.0.0.1:1/"),
        ("302 Found", "/login"),
        ("303 See Other", "file:///etc/passwd"),
        ("307 Temporary Redirect", "http://169.254.169.254/latest/meta-data/"),
        ("308 Permanent Redirect", "//evil.example/"),
    ] {
        let bytes = answer(what, &format!("Location: {place}\r\nFantail-Channels: a\r\n"), "");
        answers.push((format!("a way to another place, {what}"), bytes, "/sse/a", AWAY));
    }
    answers.push((
        "the status 401 and a body that allows".into(),
        answer("401 No", "Content-Type: application/json\r\n", "{\"channels\":[\"a\"]}"),
        "/sse/a",
        Must::Be(401),
    ));
    answers.push((
        "the status 403 and fields that allow".into(),
        answer("403 No", "Fantail-Channels: a\r\n", ""),
        "/sse/a",
        DENIED,
    ));
    answers
}

/// Answers that are no HTTP, do not end, or bring another answer along.
fn framing() -> Vec<Answer> {
    let long_head: String = (0..300).fold(String::new(), |mut head, n| {
        let _ = write!(head, "X{n}: {}\r\n", "a".repeat(200));
        head
    });
    let mut answers = owned([
        ("a status line that is none", "nonsense\r\n\r\n".into(), AWAY),
        ("the status line of HTTP/2", "HTTP/2 200 OK\r\n\r\n".into(), AWAY),
        ("the status line of another protocol", "ICY 200 OK\r\n\r\n".into(), AWAY),
        ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n".into(), AWAY),
        ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n".into(), AWAY),
        ("a negative status", "HTTP/1.1 -200 OK\r\nContent-Length: 0\r\n\r\n".into(), AWAY),
        ("a status of letters", "HTTP/1.1 OK 200\r\nContent-Length: 0\r\n\r\n".into(), AWAY),
        ("a NUL in its head", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n".into(), AWAY),
        ("a head without end", "HTTP/1.1 200 OK\r\nX: a\r\n".into(), AWAY),
        ("more header fields than are read", format!("HTTP/1.1 200 OK\r\n{long_head}Content-Length: 0\r\n\r\n"), AWAY),
        (
            "a header field of a megabyte",
            format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(1 << 20)),
            AWAY,
        ),
        (
            "two lengths that differ",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello".into(),
            AWAY,
        ),
        ("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n".into(), AWAY),
        ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".into(), AWAY),
        ("a length beyond 64 bits", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n".into(), AWAY),
        ("a body longer than any", json(&format!("{{\"channels\":[\"a\"],\"x\":\"{}\"}}", "x".repeat(70_000))), AWAY),
        ("a body of ten megabytes", json(&" ".repeat(10 << 20)), AWAY),
        ("a body that is announced and never comes", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".into(), AWAY),
        (
            "half of its body",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Type: application/json\r\n\r\n{\"chan".into(),
            AWAY,
        ),
        (
            "a body in chunks without end",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n".into(),
            AWAY,
        ),
        ("a chunk size that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".into(), AWAY),
        (
            "a chunk size beyond 64 bits",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n".into(),
            AWAY,
        ),
        (
            "data longer than its chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n".into(),
            AWAY,
        ),
        ("interim answers without end", "HTTP/1.1 102 Processing\r\n\r\n".repeat(50), AWAY),
        (
            "an interim answer that would change the protocol",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(),
            AWAY,
        ),
        (
            "an interim answer with channels before the true one",
            format!("HTTP/1.1 103 Early Hints\r\nFantail-Channels: a\r\n\r\n{}", answer("403 No", "", "")),
            DENIED,
        ),
        (
            "a refusal and a second answer behind it that allows",
            format!("{}{}", answer("403 No", "", ""), headers("Fantail-Channels: a\r\n")),
            DENIED,
        ),
    ]);
    // The bytes behind the last answer must not be taken for the answer to this question.
    answers.extend(owned([
        ("a refusal behind an answer that was too much", answer("403 No", "", ""), DENIED),
        (
            "an interim answer before a good one",
            format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", headers("")),
            Must::Serve,
        ),
    ]));
    answers
}

/// Bodies that are no grant.
fn bodies() -> Vec<Answer> {
    let many = |count: usize| (0..count).map(|n| format!("\"c{n}\"")).collect::<Vec<_>>().join(",");
    owned([
        ("an empty body of JSON", json(""), AWAY),
        ("a body that is null", json("null"), AWAY),
        ("a body that is true", json("true"), AWAY),
        ("a body that is a list", json("[\"a\"]"), AWAY),
        ("a body that is a text", json("\"a\""), AWAY),
        ("a body that is a page", json("<html>"), AWAY),
        ("a body that ends too early", json("{\"channels\":[\"a\""), AWAY),
        ("a body with something behind it", json("{}{}"), AWAY),
        ("a body with a byte order mark", json("\u{feff}{}"), AWAY),
        ("a body nested deep", json(&format!("{{\"x\":{}", "[".repeat(10_000))), AWAY),
        ("channels that are a text", json("{\"channels\":\"a\"}"), AWAY),
        ("channels that are an object", json("{\"channels\":{\"a\":true}}"), AWAY),
        ("channels that are a number", json("{\"channels\":1}"), AWAY),
        ("channels that are true", json("{\"channels\":true}"), AWAY),
        ("channels with a number", json("{\"channels\":[\"a\",1]}"), AWAY),
        ("channels with null", json("{\"channels\":[\"a\",null]}"), AWAY),
        ("channels in a list of lists", json("{\"channels\":[[\"a\"]]}"), AWAY),
        ("an end that is a text", json("{\"expires_in\":\"600\"}"), AWAY),
        ("a negative end", json("{\"expires_in\":-1}"), AWAY),
        ("an end with a fraction", json("{\"expires_in\":0.5}"), AWAY),
        ("an end beyond 64 bits", json("{\"expires_at\":18446744073709551616}"), AWAY),
        ("an end of 1e400", json("{\"expires_at\":1e400}"), AWAY),
        ("an end that is true", json("{\"expires_at\":true}"), AWAY),
        ("a subject that is a number", json("{\"subject\":1}"), AWAY),
        ("a subject that is a list", json("{\"subject\":[\"u\"]}"), AWAY),
        ("a session that is an object", json("{\"session\":{}}"), AWAY),
        ("a first event that is a text", json("{\"first_event\":\"x\"}"), AWAY),
        ("a first event that is a list", json("{\"first_event\":[]}"), AWAY),
        ("a first event without text", json("{\"first_event\":{\"event\":\"x\"}}"), AWAY),
        ("a first event whose text is a number", json("{\"first_event\":{\"data\":1}}"), AWAY),
        (
            "a first event whose type has a line break",
            json("{\"first_event\":{\"event\":\"a\\ndata: forged\",\"data\":\"x\"}}"),
            AWAY,
        ),
        (
            "a first event of a type that is ours",
            json("{\"first_event\":{\"event\":\"fantail.close\",\"data\":\"x\"}}"),
            AWAY,
        ),
        (
            "a first event that is too large",
            json(&format!("{{\"first_event\":{{\"data\":\"{}\"}}}}", "x".repeat(40_000))),
            AWAY,
        ),
        (
            "a first event of line breaks that grow sevenfold",
            json(&format!("{{\"first_event\":{{\"data\":\"{}\"}}}}", "\\n".repeat(10_000))),
            AWAY,
        ),
        ("a list of no channels, which allows none", json("{\"channels\":[]}"), DENIED),
        ("another channel than was asked for", json("{\"channels\":[\"b\"]}"), DENIED),
        ("a channel that only begins like the one", json("{\"channels\":[\"a:b\"]}"), DENIED),
        ("the channel in capitals", json("{\"channels\":[\"A\"]}"), DENIED),
        ("a pattern that does not fit", json("{\"channels\":[\"b*\"]}"), DENIED),
        ("a right that ends at once", json("{\"channels\":[\"a\"],\"expires_in\":0}"), DENIED),
        ("a right that has ended in 1970", json("{\"channels\":[\"a\"],\"expires_at\":1}"), DENIED),
        (
            "an end that is past beside one that is not",
            json("{\"channels\":[\"a\"],\"expires_in\":600,\"expires_at\":1}"),
            DENIED,
        ),
        ("300 channels", json(&format!("{{\"channels\":[{}]}}", many(300))), FAULTY),
        ("a channel without a name", json("{\"channels\":[\"a\",\"\"]}"), FAULTY),
        ("a channel with a line break", json("{\"channels\":[\"a\",\"b\\r\\nX: y\"]}"), FAULTY),
        ("a channel with a blank", json("{\"channels\":[\"a b\"]}"), FAULTY),
        ("a channel with a hash tag", json("{\"channels\":[\"{a}\"]}"), FAULTY),
        ("a channel that is a way up", json("{\"channels\":[\"../a\"]}"), FAULTY),
        ("a pattern of Redis", json("{\"channels\":[\"a?\"]}"), FAULTY),
        ("channels in one text", json("{\"channels\":[\"a,b\"]}"), FAULTY),
        (
            "both a body and fields, of which one would be passed over",
            answer("200 OK", "Content-Type: application/json\r\nFantail-Channels: b\r\n", "{}"),
            AWAY,
        ),
        (
            "both a body and fields that say the same",
            answer("200 OK", "Content-Type: application/json\r\nFantail-Channels: a\r\n", "{\"channels\":[\"a\"]}"),
            AWAY,
        ),
        (
            "a body of JSON under the name of a page, which would be passed over",
            answer("200 OK", "Content-Type: text/html\r\nFantail-Channels: b\r\n", "{\"channels\":[\"a\"]}"),
            AWAY,
        ),
        ("members of no meaning", json("{\"channels\":[\"a\"],\"admin\":true,\"__proto__\":{}}"), Must::Serve),
        ("an end beyond 32 bits", json("{\"expires_in\":18446744073709551615}"), Must::Serve),
        (
            "members that are null",
            json("{\"channels\":null,\"subject\":null,\"expires_in\":null,\"first_event\":null}"),
            Must::Serve,
        ),
        (
            "a first event with line breaks in its text",
            json("{\"first_event\":{\"data\":\"a\\r\\rid: 1\\n\\ndata: forged\"}}"),
            Must::Serve,
        ),
    ])
}

/// Header fields that are no grant.
fn fields() -> Vec<Answer> {
    let many = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    let mut answers = owned([
        ("a field of no channels, which allows none", headers("Fantail-Channels:\r\n"), DENIED),
        ("a field of commas", headers("Fantail-Channels: , ,,\r\n"), DENIED),
        ("a field of another channel", headers("Fantail-Channels: b\r\n"), DENIED),
        ("300 channels in a field", headers(&format!("Fantail-Channels: {}\r\n", many(300))), FAULTY),
        ("channels with semicolons", headers("Fantail-Channels: a;b\r\n"), FAULTY),
        ("channels with blanks", headers("Fantail-Channels: a b\r\n"), FAULTY),
        ("a channel in quotes", headers("Fantail-Channels: \"a\"\r\n"), FAULTY),
        ("channels as a list of JSON", headers("Fantail-Channels: [\"a\"]\r\n"), FAULTY),
        ("channels beyond ASCII", headers("Fantail-Channels: caf\u{e9}\r\n"), AWAY),
        ("a subject beyond ASCII", headers("Fantail-Subject: caf\u{e9}\r\n"), AWAY),
        ("a field's number that is negative", headers("Fantail-Expires-In: -5\r\n"), AWAY),
        ("a field's number that is none", headers("Fantail-Expires-In: soon\r\n"), AWAY),
        ("a field's number without digits", headers("Fantail-Expires-In:\r\n"), AWAY),
        ("a field's number with a fraction", headers("Fantail-Expires-In: 1.5\r\n"), AWAY),
        ("a field's number with an exponent", headers("Fantail-Expires-In: 1e9\r\n"), AWAY),
        ("a field's number beyond 64 bits", headers("Fantail-Expires-In: 18446744073709551616\r\n"), AWAY),
        ("a field's number of nothing", headers("Fantail-Expires-In: 0\r\n"), DENIED),
        (
            "two ends, of which one would be passed over",
            headers("Fantail-Expires-In: 1\r\nFantail-Expires-In: 600\r\n"),
            AWAY,
        ),
        (
            "two subjects, of which one would be passed over",
            headers("Fantail-Subject: a\r\nFantail-Subject: b\r\n"),
            AWAY,
        ),
        (
            "two sessions, of which one would be passed over",
            headers("Fantail-Session: a\r\nFantail-Session: b\r\n"),
            AWAY,
        ),
        ("a folded field", "HTTP/1.1 200 OK\r\nFantail-Channels: b,\r\n a\r\nContent-Length: 0\r\n\r\n".into(), AWAY),
        ("a line break in the middle of a field", headers("Fantail-Channels: b\rFantail-Channels: a\r\n"), AWAY),
        ("a field in other letters", headers("FANTAIL-CHANNELS: b\r\n"), DENIED),
        (
            "a field under a name with an underscore, which is none",
            headers("Fantail_Channels: a\r\nFantail-Channels: b\r\n"),
            DENIED,
        ),
        ("a field of our name that we do not know", headers("Fantail-Admin: yes\r\nFantail-Channels: b\r\n"), DENIED),
        (
            "a field that names a longer right than the body",
            headers("X-Fantail-Channels: a\r\nFantail-Channels: b\r\n"),
            DENIED,
        ),
        (
            "channels in two fields, which are one list",
            headers("Fantail-Channels: b\r\nFantail-Channels: a\r\n"),
            Must::Serve,
        ),
        ("a field of many commas and the channel", headers("Fantail-Channels: ,,a,,\r\n"), Must::Serve),
    ]);
    answers.push((
        "a star for another channel than the one that was meant".into(),
        headers("Fantail-Channels: b*\r\n"),
        "/sse/ab",
        DENIED,
    ));
    answers.push(("a star in the middle".into(), headers("Fantail-Channels: a*c\r\n"), "/sse/ab", DENIED));
    answers.push((
        "patterns alone, for a client that names no channel".into(),
        headers("Fantail-Channels: *\r\n"),
        "/sse",
        DENIED,
    ));
    answers.push(("nothing, for a client that names no channel".into(), headers(""), "/sse", DENIED));
    answers.push((
        "one of the two channels that were asked for".into(),
        headers("Fantail-Channels: a\r\n"),
        "/sse?channel=a&channel=b",
        DENIED,
    ));
    answers
}
