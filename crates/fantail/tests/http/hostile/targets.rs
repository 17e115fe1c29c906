//! Targets, queries, cursors and headers of subscribes.

use super::case::{Case, Must, case, subscribe};

pub(super) fn cases() -> Vec<Case> {
    refused_targets().into_iter().chain(statuses()).chain(harmless_cursors()).chain(heads()).collect()
}

/// Channels that are none.
fn refused_targets() -> Vec<Case> {
    let long = "x".repeat(256);
    [
        ("no channel at all", "/sse"),
        ("a channel without a name", "/sse/"),
        ("a channel without a name in the query", "/sse?channel="),
        ("all channels by a star", "/sse/*"),
        ("many channels by a star at the end", "/sse/user:*"),
        ("one character for any in Redis's patterns", "/sse/user:%3f"),
        ("a range of Redis's patterns", "/sse/user:%5Ba-z%5D"),
        ("an escape of Redis's patterns", "/sse/user:%5C*"),
        ("a hash tag, which chooses a slot of a cluster", "/sse/%7Ba%7D"),
        ("the channel of keyspace notifications", "/sse/__keyspace@0__:*"),
        ("a list of channels in one name", "/sse/a,b"),
        ("a plus, which is a blank in a query", "/sse?channel=a+b"),
        ("an empty segment", "/sse/a//b"),
        ("an empty last segment", "/sse/a/"),
        ("a way up", "/sse/a/../b"),
        ("an encoded way up", "/sse/%2e%2e"),
        ("a way up with an encoded slash", "/sse/..%2fb"),
        ("a way up at the end", "/sse/a/.."),
        ("a segment that stays where it is", "/sse/./a"),
        ("a NUL that ends a name for some", "/sse/a%00"),
        ("a line break that forges a command of Redis", "/sse/a%0d%0aPUBLISH%20b%20c"),
        ("a line feed alone", "/sse/a%0ab"),
        ("an escape of a terminal", "/sse/%1b%5b31m"),
        ("a tab", "/sse/a%09"),
        ("a DEL", "/sse/a%7f"),
        ("a blank", "/sse/a%20b"),
        ("a quote that ends a JSON text", "/sse/a%22b"),
        ("a backslash", "/sse/a%5cb"),
        ("an angle bracket that opens a tag", "/sse/%3cscript%3e"),
        ("a percent sign of its own", "/sse/a%25"),
        ("a name encoded twice", "/sse/%2561"),
        ("half an escape", "/sse/a%2"),
        ("an escape of no digits", "/sse/a%zz"),
        ("a letter beyond ASCII", "/sse/%C3%A9"),
        ("a letter that looks like another", "/sse/%D0%B0dmin"),
        ("a letter of full width, which folds to a slash", "/sse/a%EF%BC%8Fb"),
        ("text that runs from right to left", "/sse/%E2%80%AEa"),
        ("an overlong NUL", "/sse/%C0%80"),
        ("an overlong slash", "/sse/%C0%AF"),
        ("half of a pair of surrogates", "/sse/%ED%A0%80"),
        ("bytes that are no text", "/sse/%ff%fe"),
        ("a byte order mark", "/sse/%EF%BB%BFa"),
        ("a name one byte too long", &format!("/sse/{long}")),
        ("one bad channel among good ones", "/sse?channel=a&channel=b*"),
        ("channels in two places", "/sse/a?channel=b"),
        ("more channels than a stream may follow", "/sse?channel=a&channel=b&channel=c&channel=d&channel=e"),
        ("a semicolon in the place of an ampersand", "/sse?channel=a;channel=b"),
        ("brackets behind the name of an option", "/sse?channel[]=a"),
        ("an option in other letters", "/sse?Channel=a"),
        ("a limit of no number", "/sse/a?limit="),
        ("a limit of nothing", "/sse/a?limit=0"),
        ("a negative limit", "/sse/a?limit=-1"),
        ("a limit of 2^64", "/sse/a?limit=18446744073709551616"),
        ("a limit with a point", "/sse/a?limit=1.5"),
        ("a limit with an exponent", "/sse/a?limit=1e3"),
        ("a limit in hexadecimal digits", "/sse/a?limit=0x10"),
        ("a limit in Arabic digits", "/sse/a?limit=%D9%A1"),
        ("a limit with a NUL", "/sse/a?limit=1%00"),
        ("a limit that is no number at all", "/sse/a?limit=NaN"),
        ("a replay of no number", "/sse/a?replay="),
        ("a negative replay", "/sse/a?replay=-1"),
        ("a replay of 2^64", "/sse/a?replay=18446744073709551616"),
        ("a replay without end", "/sse/a?replay=Infinity"),
        ("a replay in other letters", "/sse/a?replay=ALL"),
        ("a replay with a blank", "/sse/a?replay=%201"),
    ]
    .map(|(attack, target)| case(attack, subscribe(target, "Connection: close\r\n"), Must::Be(400)))
    .into()
}

/// Paths and methods that are not there.
fn statuses() -> Vec<Case> {
    let paths = [
        ("the root", "/"),
        ("a path that begins alike", "/sseX/a"),
        ("a path in other letters", "/SSE/a"),
        ("a path with two slashes", "//sse/a"),
        ("a path with an encoded slash", "/sse%2fa"),
        ("a path with an encoded letter", "/%73se/a"),
        ("a path behind a way up", "/x/../sse/a"),
        ("the numbers of the internal listener", "/metrics"),
        ("the settings of the internal listener", "/config"),
        ("the connections of the internal listener", "/connections"),
        ("the channels of the internal listener", "/channels"),
        ("publishing at the public listener", "/publish/a"),
        ("revoking at the public listener", "/revoke"),
        ("a path of a scanner for settings", "/.env"),
        ("a path of a scanner for versions", "/.git/HEAD"),
        ("a path to files of the machine", "/../../../../etc/passwd"),
        ("an encoded path to files of the machine", "/%2e%2e/%2e%2e/etc/passwd"),
    ]
    .map(|(attack, path)| case(attack, subscribe(path, "Connection: close\r\n"), Must::Be(404)));
    let methods =
        ["POST", "PUT", "DELETE", "PATCH", "TRACE", "QUERY", "PROPFIND", "get", "Get", "DEBUG"].map(|method| {
            let bytes = format!("{method} /sse/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            case(format!("the method {method} on a stream"), bytes, Must::Be(405))
        });
    paths.into_iter().chain(methods).collect()
}

/// Ids that nobody gave: the stream begins, and tells of a gap at most.
fn harmless_cursors() -> Vec<Case> {
    let long = "9".repeat(4_000);
    let texts = [
        ("a cursor of another program", "42"),
        ("a negative cursor", "-1"),
        ("a cursor that is no number", "NaN"),
        ("a cursor in our form of another term", "abcdefghijkl.1.2"),
        ("a cursor beyond all numbers", "abcdefghijkl.18446744073709551615.18446744073709551615"),
        ("a cursor beyond 64 bits", "abcdefghijkl.18446744073709551616.1"),
        ("a cursor of leading zeros", "abcdefghijkl.01.02"),
        ("a cursor with too many parts", "abcdefghijkl.1.2.3.4.5"),
        ("a cursor with empty parts", "abcdefghijkl..."),
        ("a cursor with a sign", "abcdefghijkl.+1.-2"),
        ("a cursor in upper case", "ABCDEFGHIJKL.1.2"),
        ("a cursor of dots", "................"),
        ("a cursor that is JSON", "{\"a\":{\"b\":[1,2,3]}}"),
        ("a cursor that is a tag", "<script>alert(1)</script>"),
        ("a cursor that is a command of Redis", "*1 $8 FLUSHALL"),
        ("a cursor that is SQL", "' OR 1=1 --"),
        ("a cursor that is a format", "%s%n%x"),
        ("a cursor that looks up a name", "${jndi:ldap://x/a}"),
        ("a cursor with letters beyond ASCII", "caf\u{e9}\u{1f600}"),
        ("a cursor with a tab", "a\tb"),
        ("a cursor of thousands of digits", &long),
    ];
    let in_header =
        texts.map(|(attack, id)| case(attack, subscribe("/sse/a", &format!("Last-Event-ID: {id}\r\n")), Must::Serve));
    let in_query = [
        ("a cursor with a line break in the query", "/sse/a?last_event_id=a%0d%0adata:%20forged"),
        ("a cursor with a NUL in the query", "/sse/a?last_event_id=%00"),
        ("a cursor of no text in the query", "/sse/a?last_event_id=%ff%fe"),
        ("a hundred cursors in the query", &format!("/sse/a?{}", "last_event_id=x&".repeat(100))),
        ("a hundred unknown options", &format!("/sse/a?{}", "x=y&".repeat(100))),
        ("ampersands and equal signs alone", "/sse/a?&&&===&=&"),
        ("a channel a hundred times", &format!("/sse?{}", "channel=a&".repeat(100))),
        ("a replay of everything that was ever said", "/sse/a?replay=18446744073709551615"),
        ("a limit of everything that will be said", "/sse/a?limit=18446744073709551615"),
        ("a question mark in the query", "/sse/a?x=?channel=b"),
    ]
    .map(|(attack, target)| case(attack, subscribe(target, ""), Must::Serve));
    let bytes = [&b"GET /sse/a HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: \xff\xfe\r\n\r\n"[..]]
        .map(|bytes| case("a cursor of bytes that are no text", bytes, Must::Serve));
    in_header.into_iter().chain(in_query).chain(bytes).collect()
}

/// Heads that are too large, and hosts that are none.
fn heads() -> Vec<Case> {
    let get = |lines: &str| format!("GET /sse/a HTTP/1.1\r\n{lines}Connection: close\r\n\r\n").into_bytes();
    let lines = |count: usize, bytes: usize| format!("X: {}\r\n", "a".repeat(bytes)).repeat(count);
    let host = "Host: localhost\r\n";
    let channels = (0..600).map(|n| format!("channel=c{n}&")).collect::<Vec<_>>().concat();
    let large = [
        ("one header of 17 KB", get(&format!("{host}{}", lines(1, 17_000))), Must::Be(431)),
        ("twenty headers of 900 bytes", get(&format!("{host}{}", lines(20, 900))), Must::Be(431)),
        ("more headers than are kept", get(&format!("{host}{}", lines(200, 1))), Must::Be(431)),
        ("a head without end", get(&format!("{host}{}", lines(2_000, 100))), Must::Refuse),
        ("a header name of 20 KB", get(&format!("{host}{}: a\r\n", "n".repeat(20_000))), Must::Refuse),
        (
            "a target of 9 KB",
            subscribe(&format!("/sse/a?{}", "x".repeat(9_000)), "Connection: close\r\n"),
            Must::Be(414),
        ),
        ("a target of 100 KB", subscribe(&format!("/{}", "x".repeat(100_000)), ""), Must::Refuse),
        ("600 channels", subscribe(&format!("/sse?{channels}"), "Connection: close\r\n"), Must::Be(400)),
        ("a body of one byte", [&get(&format!("{host}Content-Length: 1\r\n"))[..], b"x"].concat(), Must::Be(400)),
        (
            "a body in chunks",
            [&get(&format!("{host}Transfer-Encoding: chunked\r\n"))[..], b"1\r\nx\r\n0\r\n\r\n"].concat(),
            Must::Be(400),
        ),
        ("a body that never comes", get(&format!("{host}Content-Length: 1000000\r\n")), Must::Be(400)),
    ];
    let hosts = [
        ("no host", ""),
        ("two hosts, of which a proxy may take the other", "Host: localhost\r\nHost: evil.example\r\n"),
        ("the same host twice", "Host: localhost\r\nHost: localhost\r\n"),
        ("a host with a blank", "Host: a b\r\n"),
        ("a host with a user", "Host: user@localhost\r\n"),
        ("a host with a path", "Host: localhost/a\r\n"),
        ("a host with a query", "Host: localhost?a\r\n"),
        ("a host with a scheme", "Host: http://localhost\r\n"),
        ("a list of hosts", "Host: a, b\r\n"),
        ("a host with half a bracket", "Host: [::1\r\n"),
        ("a host with letters beyond ASCII", "Host: caf\u{e9}\r\n"),
        ("a host with a quote", "Host: a\"b\r\n"),
        ("a host with an angle bracket", "Host: <a>\r\n"),
        ("a host with a backslash", "Host: a\\b\r\n"),
    ]
    .map(|(attack, lines)| (attack, get(lines), Must::Be(400)));
    large.into_iter().chain(hosts).map(|(attack, bytes, must)| case(attack, bytes, must)).collect()
}
