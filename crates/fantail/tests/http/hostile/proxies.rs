//! Header fields that only a trusted proxy may set, from clients and through proxies that pass too much on.

use super::case::{Case, Must, case, subscribe};

const GRANT: &str = "Fantail-Channels: a\r\nFantail-Subject: u\r\nFantail-Session: s\r\nFantail-Expires-In: 600\r\n";

/// From a peer that is no proxy of the operator.
pub(super) fn of_strangers() -> Vec<Case> {
    [
        ("a grant by a client itself", GRANT.to_owned()),
        ("a grant of everything by a client itself", "Fantail-Channels: *\r\n".into()),
        (
            "a grant and the address of a trusted proxy in X-Forwarded-For",
            format!("{GRANT}X-Forwarded-For: 192.0.2.1\r\n"),
        ),
        ("a grant and a chain that ends in a trusted proxy", format!("{GRANT}X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n")),
        (
            "a grant and the address of a trusted proxy in Forwarded",
            format!("{GRANT}Forwarded: for=192.0.2.1;by=192.0.2.1\r\n"),
        ),
        ("a grant and the address of a trusted proxy in X-Real-IP", format!("{GRANT}X-Real-IP: 192.0.2.1\r\n")),
        (
            "a grant and the address of a trusted proxy in True-Client-IP",
            format!("{GRANT}True-Client-IP: 192.0.2.1\r\n"),
        ),
        ("a grant and a proxy's mark in Via", format!("{GRANT}Via: 1.1 192.0.2.1\r\n")),
        ("a grant and the trusted address as the host", format!("{GRANT}X-Forwarded-Host: 192.0.2.1\r\n")),
        ("a grant that the client names hop by hop", format!("{GRANT}X: y\r\nConnection: fantail-channels\r\n")),
        ("a token where a proxy decides", "Authorization: Bearer x\r\n".into()),
        ("a cookie where a proxy decides", "Cookie: session=x\r\n".into()),
        ("no grant by a client itself", String::new()),
    ]
    .map(|(attack, lines)| {
        let close = if lines.contains("Connection") { "" } else { "Connection: close\r\n" };
        case(
            format!("{attack}, at a node whose proxy is another"),
            subscribe("/sse/a", &format!("{close}{lines}")),
            Must::Be(403),
        )
    })
    .into_iter()
    .chain([case(
        "the line of a PROXY protocol that is not spoken",
        [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..], &subscribe("/sse/a", GRANT)].concat(),
        Must::Refuse,
    )])
    .chain([case(
        "the second version of a PROXY protocol that is not spoken",
        [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x02"[..],
            &subscribe("/sse/a", GRANT),
        ]
        .concat(),
        Must::Refuse,
    )])
    .collect()
}

/// Through a proxy that is trusted and passes on what a client has sent.
pub(super) fn of_proxies() -> Vec<Case> {
    let listed = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    let refused = [
        ("no field at all", String::new(), 403),
        ("a field without channels", "Fantail-Channels:\r\n".into(), 403),
        ("a field of commas", "Fantail-Channels: ,,, ,\r\n".into(), 403),
        ("a subject and no channels", "Fantail-Subject: u\r\n".into(), 403),
        ("another channel", "Fantail-Channels: b\r\n".into(), 403),
        ("a channel in capitals", "Fantail-Channels: A\r\n".into(), 403),
        ("a pattern that does not fit", "Fantail-Channels: b*\r\n".into(), 403),
        ("the client's field before the proxy's", "Fantail-Channels: a\r\nFantail-Channels: b\r\n".into(), 400),
        ("the client's field behind the proxy's", "Fantail-Channels: b\r\nFantail-Channels: a\r\n".into(), 400),
        (
            "the client's field of everything beside the proxy's",
            "Fantail-Channels: b\r\nfantail-channels: *\r\n".into(),
            400,
        ),
        ("the same field twice", "Fantail-Channels: a\r\nFantail-Channels: a\r\n".into(), 400),
        ("an empty field beside a full one", "Fantail-Channels:\r\nFantail-Channels: a\r\n".into(), 400),
        (
            "two subjects, so a revoked one hides behind another",
            "Fantail-Channels: a\r\nFantail-Subject: u\r\nFantail-Subject: v\r\n".into(),
            400,
        ),
        ("two sessions", "Fantail-Channels: a\r\nFantail-Session: u\r\nFantail-Session: v\r\n".into(), 400),
        ("two ends", "Fantail-Channels: a\r\nFantail-Expires-In: 1\r\nFantail-Expires-In: 9999999\r\n".into(), 400),
        ("an end of no number", "Fantail-Channels: a\r\nFantail-Expires-In: soon\r\n".into(), 400),
        ("an end without digits", "Fantail-Channels: a\r\nFantail-Expires-In:\r\n".into(), 400),
        ("a negative end", "Fantail-Channels: a\r\nFantail-Expires-In: -1\r\n".into(), 400),
        ("an end with a fraction", "Fantail-Channels: a\r\nFantail-Expires-In: 0.5\r\n".into(), 400),
        ("an end beyond 64 bits", "Fantail-Channels: a\r\nFantail-Expires-In: 18446744073709551616\r\n".into(), 400),
        ("an end that is now", "Fantail-Channels: a\r\nFantail-Expires-In: 0\r\n".into(), 403),
        ("channels beyond ASCII", "Fantail-Channels: caf\u{e9}\r\n".into(), 400),
        ("a subject beyond ASCII", "Fantail-Channels: a\r\nFantail-Subject: \u{1f600}\r\n".into(), 400),
        ("a field under a name with an underscore", "Fantail_Channels: a\r\n".into(), 403),
        ("a field under a longer name", "X-Fantail-Channels: a\r\n".into(), 403),
        ("a field under a name with a blank, which is none", "Fantail-Channels : a\r\n".into(), 400),
        ("channels with semicolons", "Fantail-Channels: a;b\r\n".into(), 502),
        ("channels with blanks", "Fantail-Channels: a b\r\n".into(), 502),
        ("a channel in quotes", "Fantail-Channels: \"a\"\r\n".into(), 502),
        ("a channel that is a way up", "Fantail-Channels: a,../b\r\n".into(), 502),
        ("300 channels", format!("Fantail-Channels: {}\r\n", listed(300)), 502),
        ("a pattern of Redis", "Fantail-Channels: a?\r\n".into(), 502),
    ]
    .map(|(attack, lines, status)| {
        let bytes = subscribe("/sse/a", &format!("Connection: close\r\n{lines}"));
        case(format!("a proxy that passes on {attack}"), bytes, Must::Be(status))
    });
    let served = [
        ("no address", ""),
        ("an address that is none", "X-Forwarded-For: unknown\r\n"),
        ("an address in other words", "X-Forwarded-For: _hidden, secret\r\n"),
        ("an address beyond ASCII", "X-Forwarded-For: caf\u{e9}\r\n"),
        ("an address with a zone", "X-Forwarded-For: fe80::1%25eth0\r\n"),
        ("an address with a port beyond all", "X-Forwarded-For: 203.0.113.9:99999\r\n"),
        ("an address in octal digits", "X-Forwarded-For: 0177.0.0.1\r\n"),
        ("an address of commas", "X-Forwarded-For: ,,,,,\r\n"),
        ("an address with a NUL's escape", "X-Forwarded-For: 203.0.113.9%00\r\n"),
        ("an address with an escape of a terminal's words", "X-Forwarded-For: [31m\r\n"),
        ("the unspecified address", "X-Forwarded-For: 0.0.0.0\r\n"),
        ("our own address", "X-Forwarded-For: 127.0.0.1\r\n"),
        (
            "a thousand addresses",
            "X-Forwarded-For: 127.0.0.1, 127.0.0.1, 127.0.0.1, 127.0.0.1, 127.0.0.1, 127.0.0.1, 127.0.0.1\r\n",
        ),
        (
            "addresses in many fields",
            "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nX-Forwarded-For: 3.3.3.3\r\n",
        ),
    ]
    .map(|(attack, lines)| {
        let bytes = subscribe("/sse/a", &format!("{GRANT}{lines}"));
        case(format!("a proxy's grant with {attack}"), bytes, Must::Serve)
    });
    refused.into_iter().chain(served).collect()
}
