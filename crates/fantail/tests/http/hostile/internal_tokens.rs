//! Tokens of the internal listener that are nearly right, and rights that nearly reach.

use super::case::{Case, Must, case};

pub(super) const PUBLISHER: &str = "publisher-token-0123456789abcdef";
pub(super) const OPERATOR: &str = "operator-token-0123456789abcdef-";

pub(super) fn cases() -> Vec<Case> {
    let p = PUBLISHER;
    let strangers = [
        ("no token", String::new()),
        ("a token of no letters", "Authorization: Bearer \r\n".into()),
        ("a token without its scheme", format!("Authorization: {p}\r\n")),
        ("a token cut at its end", format!("Authorization: Bearer {}\r\n", &p[..p.len() - 1])),
        ("a token cut at its beginning", format!("Authorization: Bearer {}\r\n", &p[1..])),
        ("a token of its first letter", format!("Authorization: Bearer {}\r\n", &p[..1])),
        ("a token that goes on", format!("Authorization: Bearer {p}0\r\n")),
        ("a token in capitals", format!("Authorization: Bearer {}\r\n", p.to_uppercase())),
        ("a token in quotes", format!("Authorization: Bearer \"{p}\"\r\n")),
        ("a token with a line end's escape", format!("Authorization: Bearer {p}%0a\r\n")),
        ("a token with a blank inside", format!("Authorization: Bearer {} {}\r\n", &p[..8], &p[8..])),
        ("a token behind another scheme", format!("Authorization: Basic {p}\r\n")),
        ("a token behind half its scheme", format!("Authorization: Bear {p}\r\n")),
        ("a token with a tab behind its scheme", format!("Authorization: Bearer\t{p}\r\n")),
        ("a token with a colon behind its scheme", format!("Authorization: Bearer: {p}\r\n")),
        ("a token twice", format!("Authorization: Bearer {p}\r\nAuthorization: Bearer {p}\r\n")),
        ("a good token behind a bad one", format!("Authorization: Bearer x\r\nAuthorization: Bearer {p}\r\n")),
        ("a bad token behind a good one", format!("Authorization: Bearer {p}\r\nAuthorization: Bearer x\r\n")),
        ("two tokens in one value", format!("Authorization: Bearer {p}, Bearer {p}\r\n")),
        ("a token in a cookie, which a page sends along", format!("Cookie: token={p}; Authorization=Bearer {p}\r\n")),
        ("a token in another header", format!("X-Api-Key: {p}\r\n")),
        ("a token for a proxy", format!("Proxy-Authorization: Bearer {p}\r\n")),
        ("a token in a header with an underscore", format!("Authorization_: Bearer {p}\r\n")),
        ("the rights in the place of a token", "Authorization: Bearer publish+read+operate\r\n".into()),
        ("a pattern in the place of a token", "Authorization: Bearer *\r\n".into()),
        ("a path in the place of a token", "Authorization: Bearer /run/secrets/publisher\r\n".into()),
        ("a token of bytes that are no text", "Authorization: Bearer caf\u{e9}\u{1f600}\r\n".into()),
        ("a token of eight kilobytes", format!("Authorization: Bearer {}\r\n", "a".repeat(8_000))),
        ("a JSON Web Token without a signature", "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n".into()),
    ];
    let mut cases = Vec::new();
    for (attack, lines) in strangers {
        let head = format!(
            "POST /publish/orders.1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}Content-Length: 1\r\n\r\nx"
        );
        cases.push(case(format!("a publish with {attack}"), head, Must::Be(401)));
    }
    for (attack, method, target) in [
        ("settings", "GET", "/config"),
        ("numbers", "GET", "/metrics"),
        ("connections", "GET", "/connections"),
        ("channels", "GET", "/channels"),
        ("one channel", "GET", "/channels/a"),
        ("a path that is not there", "GET", "/nope"),
        ("a probe with a slash behind it", "GET", "/livez/"),
        ("a probe with a way up behind it", "GET", "/livez/../config"),
        ("a probe with an encoded way up behind it", "GET", "/livez%2f..%2fconfig"),
        ("a probe with a semicolon", "GET", "/livez;/config"),
        ("a probe in other letters", "GET", "/LIVEZ"),
        ("settings with a probe in the query", "GET", "/config?/livez"),
        ("settings behind two slashes", "GET", "//config"),
        ("settings in encoded letters", "GET", "/%63onfig"),
        ("a head of the settings", "HEAD", "/config"),
    ] {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        cases.push(case(format!("a look without a token at {attack}"), bytes, Must::Be(401)));
    }
    for (attack, method, target, body, status) in [
        ("publishing to a channel that the pattern does not fit", "POST", "/publish/users", "x", 403),
        ("publishing to a channel that begins alike", "POST", "/publish/orders", "x", 403),
        ("publishing to a channel that ends alike", "POST", "/publish/x.orders.1", "x", 403),
        ("publishing to a channel in capitals", "POST", "/publish/ORDERS.1", "x", 403),
        ("publishing to the pattern itself", "POST", "/publish/orders.*", "x", 400),
        ("publishing to a way up from the pattern", "POST", "/publish/orders./../users", "x", 400),
        (
            "publishing to one channel too many",
            "POST",
            "/publish",
            r#"{"channels":["orders.1","users"],"data":"x"}"#,
            403,
        ),
        ("publishing in the query's channel", "POST", "/publish/users?channel=orders.1", "x", 400),
        (
            "publishing with both channels named",
            "POST",
            "/publish",
            r#"{"channel":"orders.1","channels":["users"],"data":"x"}"#,
            400,
        ),
        (
            "publishing with a channel given twice",
            "POST",
            "/publish",
            r#"{"channel":"orders.1","channel":"users","data":"x"}"#,
            400,
        ),
        ("looking at settings", "GET", "/config", "", 403),
        ("looking at numbers", "GET", "/metrics", "", 403),
        ("looking at connections", "GET", "/connections", "", 403),
        ("revoking", "POST", "/revoke", r#"{"sub":"u"}"#, 403),
        ("deleting a channel of its own pattern", "DELETE", "/channels/orders.1", "", 403),
        ("ending a connection", "DELETE", "/connections/0-0-0", "", 403),
    ] {
        let bytes = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {p}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        cases.push(case(format!("a publisher's token for {attack}"), bytes, Must::Be(status)));
    }
    cases
}
