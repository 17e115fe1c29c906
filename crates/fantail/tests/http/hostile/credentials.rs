//! Tokens in places where they should not be, several at once, and cookies that a page of another site has sent along.

use super::case::{Case, Must, case, subscribe};
use super::jws::{claims, good};

pub(super) fn cases() -> Vec<Case> {
    let token = good(&claims(""));
    let other = good(&claims("\"x\":1,"));
    let t = token.as_str();
    let close = "Connection: close\r\n";
    let headers = [
        ("no token at all", String::new(), 401),
        ("a token without its scheme", format!("Authorization: {t}\r\n"), 401),
        ("a token of another scheme", format!("Authorization: Basic {t}\r\n"), 401),
        ("a scheme that begins alike", format!("Authorization: BearerX {t}\r\n"), 401),
        ("a scheme and its token without a blank", format!("Authorization: Bearer{t}\r\n"), 401),
        ("a scheme with a colon", format!("Authorization: Bearer: {t}\r\n"), 401),
        ("a scheme with a tab behind it", format!("Authorization: Bearer\t{t}\r\n"), 401),
        ("a scheme with an equal sign", format!("Authorization: Bearer={t}\r\n"), 401),
        ("a scheme without a token", "Authorization: Bearer\r\n".into(), 401),
        (
            "two headers, both good, of which a proxy may judge the other",
            format!("Authorization: Bearer {t}\r\nAuthorization: Bearer {t}\r\n"),
            401,
        ),
        (
            "two headers with different tokens",
            format!("Authorization: Bearer {t}\r\nAuthorization: Bearer {other}\r\n"),
            401,
        ),
        ("a bad header before a good one", format!("Authorization: Bearer x\r\nAuthorization: Bearer {t}\r\n"), 401),
        ("a good header before a bad one", format!("Authorization: Bearer {t}\r\nAuthorization: Bearer x\r\n"), 401),
        ("two tokens in one header", format!("Authorization: Bearer {t} {other}\r\n"), 401),
        ("two credentials in one header", format!("Authorization: Basic x, Bearer {t}\r\n"), 401),
        (
            "a bad header beside a good cookie, which does not make up for it",
            format!("Authorization: Bearer x\r\nCookie: session={t}\r\n"),
            401,
        ),
        ("a bad first place beside a good header", format!("X-Token: x\r\nAuthorization: Bearer {t}\r\n"), 401),
        ("a bad second place beside a good cookie", format!("X-Token: x\r\nCookie: session={t}\r\n"), 401),
        ("two headers of the operator's choice", format!("X-Token: {t}\r\nX-Token: {t}\r\n"), 401),
        ("an empty header of the operator's choice", "X-Token:\r\n".into(), 401),
        ("a scheme in the header of the operator's choice", format!("X-Token: Bearer {t}\r\n"), 401),
        ("a header of a proxy that is not listened to", format!("Proxy-Authorization: Bearer {t}\r\n"), 401),
        ("a header whose name has an underscore", format!("X_Token: {t}\r\n"), 401),
        ("a header that forwards another's right", format!("X-Forwarded-Authorization: Bearer {t}\r\n"), 401),
        ("a header that only names a user", "X-Forwarded-User: bob\r\nRemote-User: bob\r\nX-User: bob\r\n".into(), 401),
        (
            "header fields of a grant, where no proxy is asked",
            "Fantail-Channels: user:bob\r\nFantail-Subject: bob\r\n".into(),
            401,
        ),
        (
            "two cookies of one name, of which a sibling site may have set one",
            format!("Cookie: session={t}; session={other}\r\n"),
            401,
        ),
        ("two cookies of one name in two headers", format!("Cookie: session={t}\r\nCookie: session={t}\r\n"), 401),
        ("a bad cookie before a good one of the same name", format!("Cookie: session=x; session={t}\r\n"), 401),
        ("a cookie without a value", "Cookie: session=\r\n".into(), 401),
        ("a cookie without an equal sign", "Cookie: session\r\n".into(), 401),
        ("a cookie in other letters", format!("Cookie: Session={t}\r\n"), 401),
        ("a cookie whose name begins alike", format!("Cookie: session2={t}\r\n"), 401),
        ("a cookie whose name ends alike", format!("Cookie: xsession={t}\r\n"), 401),
        ("a cookie in the value of another", format!("Cookie: a=session={t}\r\n"), 401),
        ("a cookie behind a comma", format!("Cookie: a=b, session={t}\r\n"), 401),
        ("a cookie of the old form", format!("Cookie: $Version=1, $session={t}\r\n"), 401),
        ("a cookie with a blank before the equal sign", format!("Cookie: session ={t}\r\n"), 401),
        ("a cookie with half a quote", format!("Cookie: session=\"{t}\r\n"), 401),
        ("a cookie that a page would set", format!("Set-Cookie: session={t}\r\n"), 401),
        ("a thousand cookies", format!("Cookie: {}\r\n", "a=b; ".repeat(1_000)), 401),
        ("a cookie by a page of another site", format!("Cookie: session={t}\r\nOrigin: https://evil.example\r\n"), 403),
        ("a cookie by a sandboxed frame", format!("Cookie: session={t}\r\nOrigin: null\r\n"), 403),
        ("a cookie by an empty origin", format!("Cookie: session={t}\r\nOrigin:\r\n"), 403),
        (
            "a cookie by two origins, the good one first",
            format!("Cookie: session={t}\r\nOrigin: https://app.example\r\nOrigin: https://evil.example\r\n"),
            403,
        ),
        (
            "a cookie by two origins, the bad one first",
            format!("Cookie: session={t}\r\nOrigin: https://evil.example\r\nOrigin: https://app.example\r\n"),
            403,
        ),
        (
            "a cookie by two origins in one value",
            format!("Cookie: session={t}\r\nOrigin: https://app.example https://evil.example\r\n"),
            403,
        ),
        (
            "a cookie by an origin whose name ends alike",
            format!("Cookie: session={t}\r\nOrigin: https://evilapp.example\r\n"),
            403,
        ),
        (
            "a cookie by an origin whose name begins alike",
            format!("Cookie: session={t}\r\nOrigin: https://app.example.evil.example\r\n"),
            403,
        ),
        (
            "a cookie by an origin with a dot at its end",
            format!("Cookie: session={t}\r\nOrigin: https://app.example.\r\n"),
            403,
        ),
        (
            "a cookie by the right name in another scheme",
            format!("Cookie: session={t}\r\nOrigin: http://app.example\r\n"),
            403,
        ),
        (
            "a cookie by the right name at another port",
            format!("Cookie: session={t}\r\nOrigin: https://app.example:8443\r\n"),
            403,
        ),
        ("a cookie by an origin with a path", format!("Cookie: session={t}\r\nOrigin: https://app.example/x\r\n"), 403),
        (
            "a cookie by an origin with a user",
            format!("Cookie: session={t}\r\nOrigin: https://app.example@evil.example\r\n"),
            403,
        ),
        (
            "a cookie by an origin in bytes that are no text",
            format!("Cookie: session={t}\r\nOrigin: https://caf\u{e9}.example\r\n"),
            403,
        ),
        (
            "a cookie by an origin of an extension",
            format!("Cookie: session={t}\r\nOrigin: chrome-extension://abc\r\n"),
            403,
        ),
        (
            "a cookie by our name at another port",
            format!("Cookie: session={t}\r\nOrigin: http://localhost:3000\r\n"),
            403,
        ),
        (
            "a cookie by a subdomain of our name",
            format!("Cookie: session={t}\r\nOrigin: http://evil.localhost\r\n"),
            403,
        ),
        (
            "a cookie by a page without an origin, as an image has",
            format!("Cookie: session={t}\r\nSec-Fetch-Site: cross-site\r\n"),
            403,
        ),
    ]
    .map(|(attack, lines, status)| {
        case(attack, subscribe("/sse/user:bob", &format!("{close}{lines}")), Must::Be(status))
    });
    let queries = [
        ("two tokens in the query", format!("/sse/user:bob?tok={t}&tok={t}"), 401),
        ("a bad token before a good one in the query", format!("/sse/user:bob?tok=x&tok={t}"), 401),
        ("a token in the query under the usual name", format!("/sse/user:bob?access_token={t}"), 401),
        ("a token in the query in other letters", format!("/sse/user:bob?TOK={t}"), 401),
        ("a token in the query in brackets", format!("/sse/user:bob?tok[]={t}"), 401),
        ("a token in the query without a value", "/sse/user:bob?tok".to_owned(), 401),
        ("a token in the query with a scheme", format!("/sse/user:bob?tok=Bearer+{t}"), 401),
        ("a token in the query of bytes that are no text", "/sse/user:bob?tok=%ff%fe".to_owned(), 401),
        ("a token in the path", format!("/sse/user:bob;tok={t}"), 400),
    ]
    .map(|(attack, target, status)| case(attack, subscribe(&target, close), Must::Be(status)));
    let served = [
        ("a scheme in other letters", "/sse", format!("Authorization: bEaReR {t}\r\n")),
        ("blanks around the token", "/sse", format!("Authorization: Bearer    {t}   \r\n")),
        ("a good header beside a bad cookie", "/sse", format!("Authorization: Bearer {t}\r\nCookie: session=x\r\n")),
        (
            "a good header beside a cookie of another site's page",
            "/sse",
            format!("Authorization: Bearer {t}\r\nCookie: session={t}\r\nOrigin: https://evil.example\r\n"),
        ),
        ("a quoted cookie", "/sse", format!("Cookie: session=\"{t}\"\r\n")),
        ("a cookie among many", "/sse", format!("Cookie: {}session={t}; a=b\r\n", "a=b; ".repeat(50))),
        ("a cookie by a listed page", "/sse", format!("Cookie: session={t}\r\nOrigin: https://app.example\r\n")),
        ("a cookie by our own page", "/sse", format!("Cookie: session={t}\r\nOrigin: http://localhost\r\n")),
        (
            "credentials of another scheme beside a cookie",
            "/sse",
            format!("Authorization: Basic x\r\nCookie: session={t}\r\n"),
        ),
    ]
    .map(|(attack, target, lines)| case(attack, subscribe(target, &lines), Must::Serve));
    headers.into_iter().chain(queries).chain(served).collect()
}
