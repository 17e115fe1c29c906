//! Requests that two HTTP parsers may read in two ways, and the bodies of chunks that end where they should not.

use super::case::{Case, Must, SMUGGLED, SMUGGLED_PUBLISH, case};

/// Heads that must be refused, whatever the client and the bytes behind them.
const HEADS: [(&str, &str); 68] = [
    ("both lengths let a proxy and this server disagree on the end", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
    ("both lengths in the other order", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
    ("both lengths, the counted one of nothing", "Content-Length: 0\r\nTransfer-Encoding: chunked"),
    ("two lengths that differ", "Content-Length: 0\r\nContent-Length: 40"),
    ("two lengths, the longer one first", "Content-Length: 40\r\nContent-Length: 0"),
    ("a length with a plus", "Content-Length: +5"),
    ("a length with a minus", "Content-Length: -5"),
    ("a length of minus nothing", "Content-Length: -0"),
    ("a length in hexadecimal digits", "Content-Length: 0x5"),
    ("a length in octal digits with a prefix", "Content-Length: 0o5"),
    ("a list of two lengths that differ", "Content-Length: 0, 5"),
    ("a list of two lengths that agree", "Content-Length: 5, 5"),
    ("two lengths with a blank between", "Content-Length: 5 5"),
    ("a length with a blank inside", "Content-Length: 1 0"),
    ("a length without digits", "Content-Length:"),
    ("a length of blanks", "Content-Length:   "),
    ("a length with a point", "Content-Length: 5.0"),
    ("a length with an exponent", "Content-Length: 5e0"),
    ("a length with an underscore", "Content-Length: 0_5"),
    ("a length in quotes", "Content-Length: \"5\""),
    ("a length of 2^64, which wraps to nothing", "Content-Length: 18446744073709551616"),
    ("a length of 2^64+5, which wraps to five", "Content-Length: 18446744073709551621"),
    ("a length of 2^64-1, which some parsers use as a mark", "Content-Length: 18446744073709551615"),
    ("a length of forty digits", "Content-Length: 1000000000000000000000000000000000000000"),
    ("a length in Arabic digits", "Content-Length: \u{665}"),
    ("a length in full-width digits", "Content-Length: \u{ff15}"),
    ("a vertical tab before the length", "Content-Length:\x0b5"),
    ("a form feed before the length", "Content-Length:\x0c5"),
    ("a NUL behind the length", "Content-Length: 5\0"),
    ("a semicolon behind the length", "Content-Length: 5;"),
    ("a letter behind the length", "Content-Length: 5a"),
    ("chunked twice in one value", "Transfer-Encoding: chunked, chunked"),
    ("chunked twice in two headers", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ("chunked, and then a coding that is none", "Transfer-Encoding: chunked, identity"),
    ("chunked that is not the last coding", "Transfer-Encoding: chunked, gzip"),
    ("a coding before chunked that is not undone", "Transfer-Encoding: gzip, chunked"),
    ("chunked behind an empty coding", "Transfer-Encoding: , chunked"),
    ("not quite chunked, a letter before it", "Transfer-Encoding: xchunked"),
    ("not quite chunked, a letter behind it", "Transfer-Encoding: chunkedx"),
    ("chunked with an option", "Transfer-Encoding: chunked;q=1"),
    ("chunked with a semicolon", "Transfer-Encoding: chunked;"),
    ("a vertical tab before chunked", "Transfer-Encoding:\x0bchunked"),
    ("a form feed behind chunked", "Transfer-Encoding: chunked\x0c"),
    ("a NUL behind chunked", "Transfer-Encoding: chunked\0"),
    ("chunked in double quotes", "Transfer-Encoding: \"chunked\""),
    ("chunked in single quotes", "Transfer-Encoding: 'chunked'"),
    ("a coding that is none", "Transfer-Encoding: identity"),
    ("a coding without a name", "Transfer-Encoding:"),
    ("a coding that nobody knows", "Transfer-Encoding: cow"),
    ("two codings in two headers, the last one none", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    ("chunked with a letter that folds to k", "Transfer-Encoding: chun\u{212a}ed"),
    ("a blank between the name and its colon", "Transfer-Encoding : chunked"),
    ("a tab between the name and its colon", "Transfer-Encoding\t: chunked"),
    ("a coding on a folded line", "Transfer-Encoding:\r\n chunked"),
    ("a length on a folded line", "Content-Length:\r\n 5"),
    ("a folded line that hides a coding", "X: a\r\n Transfer-Encoding: chunked"),
    ("a folded line by a tab", "X: a\r\n\tb"),
    ("a first header that begins with a blank", " X: a"),
    ("a control character in a name", "X\x01: a"),
    ("a DEL in a name", "X\x7f: a"),
    ("a NUL in a name", "X\0: a"),
    ("letters beyond ASCII in a name", "X\u{e9}: a"),
    ("a NUL in a value", "X: a\0b"),
    ("a bare CR that ends a line for some", "X: a\rTransfer-Encoding: chunked"),
    ("a header without a colon", "Transfer-Encoding chunked"),
    ("a header without a name", ": chunked"),
    ("a name with a slash", "Transfer/Encoding: chunked"),
    ("a name in brackets", "[X]: a"),
];

const REQUEST_LINES: [(&str, &str); 36] = [
    ("a request of HTTP/0.9, which has no headers", "GET /sse/a"),
    ("two blanks before the target", "GET  /sse/a HTTP/1.1"),
    ("two blanks behind the target", "GET /sse/a  HTTP/1.1"),
    ("a tab in the place of a blank", "GET\t/sse/a HTTP/1.1"),
    ("a vertical tab in the place of a blank", "GET /sse/a\x0bHTTP/1.1"),
    ("a NUL in the target", "GET /sse/a\0 HTTP/1.1"),
    ("a DEL in the target", "GET /sse/a\x7f HTTP/1.1"),
    ("a blank in the target", "GET /sse/a b HTTP/1.1"),
    ("a whole request in the target", "GET /sse/a HTTP/1.1 GET /sse/b HTTP/1.1"),
    ("a target without a slash", "GET sse/a HTTP/1.1"),
    ("a target of dots", "GET ../sse/a HTTP/1.1"),
    ("a version that is not spoken", "GET /sse/a HTTP/1.2"),
    ("a version with a long minor part", "GET /sse/a HTTP/1.10"),
    ("a version with a minor part only", "GET /sse/a HTTP/.1"),
    ("a version of the next protocol", "GET /sse/a HTTP/2.0"),
    ("a version of the one after", "GET /sse/a HTTP/3"),
    ("a version of zero", "GET /sse/a HTTP/0.9"),
    ("a version in lower case", "GET /sse/a http/1.1"),
    ("a version without a point", "GET /sse/a HTTP/11"),
    ("a version with a comma", "GET /sse/a HTTP/1,1"),
    ("a version of another protocol", "GET /sse/a ICY/1.1"),
    ("a version with a blank behind it", "GET /sse/a HTTP/1.1 "),
    ("a version with a blank inside", "GET /sse/a HTTP/ 1.1"),
    ("a method behind a blank", " GET /sse/a HTTP/1.1"),
    ("a method behind a NUL", "\0GET /sse/a HTTP/1.1"),
    ("a method with a letter beyond ASCII", "G\u{e9}T /sse/a HTTP/1.1"),
    ("a method in parentheses", "(GET) /sse/a HTTP/1.1"),
    ("a method with a colon, as a header has", "GET: /sse/a HTTP/1.1"),
    ("a method without a target", "GET HTTP/1.1"),
    ("a target without a method", "/sse/a HTTP/1.1"),
    ("a line of one word", "GET"),
    ("a line that is a status line", "HTTP/1.1 200 OK"),
    ("the preface of HTTP/2", "PRI * HTTP/2.0"),
    ("a byte order mark before the method", "\u{feff}GET /sse/a HTTP/1.1"),
    ("a header where the request line should be", "Host: localhost"),
    ("a greeting of another protocol", "EHLO localhost"),
];

/// Bodies in chunks of which one is broken; nothing of them is published, and nothing behind them is run.
const CHUNKS: [(&str, &str); 34] = [
    ("a chunk size beyond 64 bits", "10000000000000001\r\nx\r\n0\r\n\r\n"),
    ("a chunk size of 64 bits", "ffffffffffffffff\r\nx\r\n0\r\n\r\n"),
    ("a chunk size that wraps to one", "100000000000000000000000000000001\r\nx\r\n0\r\n\r\n"),
    ("a chunk size that ends in LF", "1\nx\r\n0\r\n\r\n"),
    ("a chunk size that ends in CR", "1\rx\r\n0\r\n\r\n"),
    ("data longer than its chunk", "1\r\nxx0\r\n\r\n"),
    ("data that ends in LF", "1\r\nx\n0\r\n\r\n"),
    ("data that ends in CR", "1\r\nx\r0\r\n\r\n"),
    ("data without an end", "1\r\nx0\r\n\r\n"),
    ("data that ends in two other bytes", "1\r\nxab0\r\n\r\n"),
    ("an extension with LF", "1;a\nb\r\nx\r\n0\r\n\r\n"),
    ("an extension with a quoted LF", "1;a=\"\n\"\r\nx\r\n0\r\n\r\n"),
    ("a negative chunk size", "-1\r\nx\r\n0\r\n\r\n"),
    ("a chunk size with a plus", "+1\r\nx\r\n0\r\n\r\n"),
    ("a chunk size with a prefix", "0x1\r\nx\r\n0\r\n\r\n"),
    ("a chunk size in quotes", "\"1\"\r\nx\r\n0\r\n\r\n"),
    ("a chunk size with an underscore", "1_0\r\nx\r\n0\r\n\r\n"),
    ("a chunk size with a point", "1.0\r\nx\r\n0\r\n\r\n"),
    ("a chunk size behind a NUL", "\x001\r\nx\r\n0\r\n\r\n"),
    ("a chunk size of letters", "g\r\nx\r\n0\r\n\r\n"),
    ("a chunk size in Arabic digits", "\u{661}\r\nx\r\n0\r\n\r\n"),
    ("a chunk size between commas", "1,1\r\nx\r\n0\r\n\r\n"),
    ("no chunk size", "\r\nx\r\n0\r\n\r\n"),
    ("an extension alone", ";a=b\r\nx\r\n0\r\n\r\n"),
    ("a last chunk that ends in LF", "1\r\nx\r\n0\n\n"),
    ("a last chunk that ends in LF and a good blank line", "1\r\nx\r\n0\n\r\n"),
    ("a last chunk with a letter behind it", "1\r\nx\r\n0x\r\n\r\n"),
    ("an end without its blank line", "1\r\nx\r\n0\r\n"),
    ("a body that ends in a chunk", "5\r\nx"),
    ("a body that ends in a chunk size", "5"),
    ("a body that ends before its last chunk", "1\r\nx\r\n"),
    ("a trailer with a NUL in its name", "1\r\nx\r\n0\r\nX\0: a\r\n\r\n"),
    ("a request in the place of a trailer", "1\r\nx\r\n0\r\nGET /sse/a HTTP/1.1\r\n"),
    ("an end of two blank lines in LF", "1\r\nx\r\n\n\n"),
];

pub(super) fn at_the_public_listener() -> Vec<Case> {
    let heads = HEADS.iter().map(|(attack, head)| {
        let bytes = format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n0\r\n\r\n{SMUGGLED}");
        case(format!("a subscribe with {attack}"), bytes, Must::Refuse)
    });
    let lines = REQUEST_LINES.iter().map(|(attack, line)| {
        let bytes = format!("{line}\r\nHost: localhost\r\n\r\n{SMUGGLED}");
        case(*attack, bytes, Must::RefuseEach)
    });
    heads.chain(lines).chain(harmless()).collect()
}

pub(super) fn at_the_internal_listener() -> Vec<Case> {
    let heads = HEADS.iter().filter(|(_, head)| !may_be_read(head)).map(|(attack, head)| {
        let bytes = format!(
            "POST /publish/a HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n1\r\nx\r\n0\r\n\r\n{SMUGGLED_PUBLISH}"
        );
        case(format!("a publish with {attack}"), bytes, Must::Refuse)
    });
    let chunks = CHUNKS.iter().map(|(attack, body)| {
        let head = "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        case(format!("a body with {attack}"), format!("{head}{body}{SMUGGLED_PUBLISH}"), Must::Refuse)
    });
    let endless = format!(
        "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;{}\r\nx\r\n0\r\n\r\n",
        "a".repeat(40_000)
    );
    heads.chain(chunks).chain([case("a body with an endless chunk extension", endless, Must::Refuse)]).collect()
}

/// With both lengths the chunks count, and the connection ends behind them (RFC 9112, 6.1).
fn may_be_read(head: &str) -> bool {
    head.contains("Content-Length") && head.contains("Transfer-Encoding")
}

/// Attacks that have no effect: one stream, and nothing behind it is read.
fn harmless() -> Vec<Case> {
    [
        ("a second request behind a subscribe, to be run on its stream", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\n\r\n{SMUGGLED}")),
        ("a second request behind a subscribe of HTTP/1.0", format!("GET /sse/a HTTP/1.0\r\n\r\n{SMUGGLED}")),
        ("a subscribe that wants to keep its connection", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n{SMUGGLED}")),
        ("a change to HTTP/2 with bytes behind it", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n{SMUGGLED}")),
        ("a change to WebSocket with bytes behind it", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n{SMUGGLED}")),
        ("a promise of a body that has none", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n{SMUGGLED}")),
        ("a length of nothing, and a request behind it", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n{SMUGGLED}")),
        ("a header that names another length", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nX-Content-Length: 5\r\n\r\n{SMUGGLED}")),
        ("a header whose name has an underscore, as some gateways map it", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n{SMUGGLED}")),
        ("a connection header that names what must stay", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nConnection: host, authorization\r\n\r\n{SMUGGLED}")),
        ("another method in a header", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nX-HTTP-Method-Override: DELETE\r\n\r\n{SMUGGLED}")),
        ("another target in a header", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nX-Original-URL: /sse/smuggled\r\nX-Rewrite-URL: /sse/smuggled\r\n\r\n{SMUGGLED}")),
        ("an announced trailer", format!("GET /sse/a HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nTrailer: Content-Length\r\n\r\n{SMUGGLED}")),
        ("blank lines before the request", format!("\r\n\r\nGET /sse/a HTTP/1.1\r\nHost: localhost\r\n\r\n{SMUGGLED}")),
    ]
    .map(|(attack, bytes)| case(attack, bytes, Must::Serve))
    .into()
}
