//! Requests that a web page can make a browser send to the internal listener: forms, simple requests, rebound names.

use super::case::{Case, Must, case, post};

pub(super) fn cases() -> Vec<Case> {
    let get = |lines: &str| format!("GET /config HTTP/1.1\r\nConnection: close\r\n{lines}\r\n").into_bytes();
    let mut cases = Vec::new();
    for (attack, host) in HOSTS {
        let lines = format!("Host: {host}\r\n");
        cases.push(case(format!("reading the settings by {attack}"), get(&lines), Must::Refuse));
        let body = "x";
        let publish =
            format!("POST /publish/a HTTP/1.1\r\nConnection: close\r\n{lines}Content-Length: 1\r\n\r\n{body}");
        cases.push(case(format!("publishing by {attack}"), publish, Must::Refuse));
    }
    for (attack, kind, body) in FORMS {
        let lines = format!("Origin: https://evil.example\r\nContent-Type: {kind}\r\n");
        cases.push(case(*attack, post("/publish", &lines, body), Must::Be(403)));
        let lines = format!("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nContent-Type: {kind}\r\n");
        cases.push(case(format!("{attack}, its origin withheld"), post("/publish", &lines, body), Must::Be(403)));
    }
    for (attack, lines) in PAGES {
        cases.push(case(
            format!("a publish with {attack}"),
            post("/publish/a", &format!("{lines}\r\n"), "x"),
            Must::Be(403),
        ));
        let kick = format!("DELETE /channels/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n\r\n");
        cases.push(case(format!("a deletion with {attack}"), kick, Must::Be(403)));
    }
    let absolute = "GET http://evil.example/config HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    cases.push(case("a target that names a host of its own beside a good one", absolute, Must::Be(421)));
    let old = "GET http://evil.example/config HTTP/1.0\r\n\r\n";
    cases.push(case("a target of HTTP/1.0 that names a host of its own", old, Must::Be(421)));
    let preflight = "OPTIONS /publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Private-Network: true\r\n\r\n";
    cases.push(case("a preflight that asks for the private network", preflight, Must::Be(403)));
    cases
}

const HOSTS: [(&str, &str); 20] = [
    ("a name that was made to lead here", "evil.example"),
    ("such a name with our port", "evil.example:8081"),
    ("a name that begins with our address", "127.0.0.1.evil.example"),
    ("a name that begins with localhost", "localhost.evil.example"),
    ("a name that ends in localhost", "evil.localhost"),
    ("a name that ends like localhost", "evillocalhost"),
    ("a name in punycode", "xn--lcalhost-n4a"),
    ("an address in decimal form", "2130706433"),
    ("an address in hexadecimal form", "0x7f000001"),
    ("an address in octal form", "0177.0.0.1"),
    ("a short form of an address", "127.1"),
    ("a name of a service for any address", "127-0-0-1.nip.example"),
    ("a single label", "router"),
    ("a name with an underscore", "_evil"),
    ("a name of digits and a letter", "127.0.0.1a"),
    ("two addresses", "127.0.0.1,evil.example"),
    ("an address with a user before it", "evil.example@127.0.0.1"),
    ("an address in brackets that is none", "[evil.example]"),
    ("a name with a percent escape", "local%68ost"),
    ("two dots behind localhost", "localhost.."),
];

const EVENT: &str = "{\"channel\":\"a\",\"data\":\"x\"}";

const FORMS: &[(&str, &str, &str)] = &[
    ("a form of plain text that is JSON", "text/plain", EVENT),
    ("a form with its values encoded", "application/x-www-form-urlencoded", "channel=a&data=x"),
    ("a form in several parts", "multipart/form-data; boundary=b", "--b\r\n\r\nx\r\n--b--"),
    ("a script that sends JSON", "application/json", EVENT),
    ("a beacon of JSON in a blob", "application/json;charset=utf-8", EVENT),
    ("a report that a browser sends by itself", "application/csp-report", EVENT),
];

const PAGES: [(&str, &str); 14] = [
    ("the origin of another site", "Origin: https://evil.example"),
    ("the origin of a sandboxed frame", "Origin: null"),
    ("an empty origin", "Origin:"),
    ("our own address as its origin", "Origin: http://localhost"),
    ("two origins", "Origin: http://localhost\r\nOrigin: https://evil.example"),
    ("an origin in lower case", "origin: https://evil.example"),
    ("an origin of an extension", "Origin: chrome-extension://abc"),
    ("an origin of a local file", "Origin: file://"),
    ("the mark of another site", "Sec-Fetch-Site: cross-site"),
    ("the mark of a neighbour's site", "Sec-Fetch-Site: same-site"),
    ("a mark that no browser has", "Sec-Fetch-Site: None"),
    ("an empty mark", "Sec-Fetch-Site:"),
    ("two marks, the good one first", "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site"),
    ("a list of marks", "Sec-Fetch-Site: none, cross-site"),
];
