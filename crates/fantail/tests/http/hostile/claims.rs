//! Claims of a signed token: times that are none, lists that are none, and values that want to break out of a template.

use serde_json::{Value, json};

use super::case::{Case, Must, case};
use super::jws::{ISSUER, claims, good};
use super::tokens::bearer;
use crate::keys::now;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = times();
    cases.extend(parties());
    cases.extend(lists());
    cases.extend(breakouts());
    cases.extend(shapes());
    cases
}

fn of(attack: &str, target: &str, claims: &str, must: Must) -> Case {
    case(attack, bearer(target, &good(claims)), must)
}

/// Claims of this `exp`, and these others, all as JSON text.
fn timed(exp: &str, more: &str) -> String {
    format!("{{\"exp\":{exp},\"iss\":\"{ISSUER}\",\"aud\":\"fantail\",\"sub\":\"bob\"{more}}}")
}

fn times() -> Vec<Case> {
    let now = now();
    let soon = (now + 600).to_string();
    let refused = [
        ("a token without an end", format!("{{\"iss\":\"{ISSUER}\",\"aud\":\"fantail\",\"sub\":\"bob\"}}")),
        ("an end that is null", timed("null", "")),
        ("an end that is a text", timed(&format!("\"{soon}\""), "")),
        ("an end that is a word", timed("\"never\"", "")),
        ("an end that is true", timed("true", "")),
        ("an end that is a list", timed(&format!("[{soon}]"), "")),
        ("an end that is an object", timed(&format!("{{\"at\":{soon}}}"), "")),
        ("an end of zero", timed("0", "")),
        ("an end of minus zero", timed("-0", "")),
        ("an end of minus zero with a point", timed("-0.0", "")),
        ("a negative end", timed(&format!("-{soon}"), "")),
        ("the most negative end", timed("-9223372036854775808", "")),
        ("an end of 1970", timed("1", "")),
        ("an end a second ago", timed(&(now - 1).to_string(), "")),
        ("an end of this second", timed(&now.to_string(), "")),
        ("an end of this second with a fraction", timed(&format!("{now}.0"), "")),
        ("an end beyond 64 bits", timed("18446744073709551616", "")),
        ("an end of 1e400", timed("1e400", "")),
        ("an end of minus 1e400", timed("-1e400", "")),
        ("an end of 1e308", timed("1e308", "")),
        ("an end of 9e15, beyond exact floats", timed("9e15", "")),
        ("an end that is tiny", timed("1e-400", "")),
        ("an end that is no number", timed("NaN", "")),
        ("an end without end", timed("Infinity", "")),
        ("an end in hexadecimal digits", timed("0x7fffffff", "")),
        ("an end with a leading zero", timed(&format!("0{soon}"), "")),
        ("an end with a plus", timed(&format!("+{soon}"), "")),
        ("an end with an underscore", timed("2_000_000_000", "")),
        ("an end given twice, the last one past", timed(&soon, ",\"exp\":1")),
        (
            "an end in other letters",
            format!("{{\"EXP\":{soon},\"iss\":\"{ISSUER}\",\"aud\":\"fantail\",\"sub\":\"bob\"}}"),
        ),
        (
            "an end deep inside",
            format!("{{\"a\":{{\"exp\":{soon}}},\"iss\":\"{ISSUER}\",\"aud\":\"fantail\",\"sub\":\"bob\"}}"),
        ),
        ("a beginning in an hour", timed(&soon, &format!(",\"nbf\":{}", now + 3600))),
        ("a beginning in ten seconds with a fraction", timed(&soon, &format!(",\"nbf\":{}.5", now + 10))),
        ("a beginning beyond 64 bits", timed(&soon, ",\"nbf\":18446744073709551616")),
        ("a beginning at the end of 64 bits", timed(&soon, ",\"nbf\":18446744073709551615")),
        ("a negative beginning", timed(&soon, ",\"nbf\":-1")),
        ("a beginning that is a text", timed(&soon, ",\"nbf\":\"0\"")),
        ("a beginning that is null", timed(&soon, ",\"nbf\":null")),
        ("a beginning that is a list", timed(&soon, ",\"nbf\":[0]")),
        ("a beginning of 1e400", timed(&soon, ",\"nbf\":1e400")),
        ("a time of issue that is a text", timed(&soon, ",\"iat\":\"now\"")),
        ("a time of issue that is negative", timed(&soon, ",\"iat\":-1")),
        ("a time of issue that is true", timed(&soon, ",\"iat\":true")),
        ("a time of issue that is null", timed(&soon, ",\"iat\":null")),
        ("a time of issue of 1e400", timed(&soon, ",\"iat\":1e400")),
    ];
    let refused = refused.map(|(attack, claims)| of(attack, "/sse/user:bob", &claims, Must::Be(401)));
    let odd = [
        ("an end with a fraction", timed(&format!("{soon}.999"), "")),
        ("an end with an exponent", timed("4e9", "")),
        ("an end at the last number of 64 bits", timed("18446744073709551615", "")),
        ("an end beyond 32 bits", timed("4294967296", "")),
        ("an end at the last number with a sign", timed("9223372036854775807", "")),
        ("a beginning of minus zero", timed(&soon, ",\"nbf\":-0.0")),
        ("a time of issue of the last number", timed(&soon, ",\"iat\":18446744073709551615")),
    ];
    let odd = odd.map(|(attack, claims)| of(attack, "/sse/user:bob", &claims, Must::Serve));
    refused.into_iter().chain(odd).collect()
}

/// Tokens of another issuer, or for another service.
fn parties() -> Vec<Case> {
    let exp = now() + 600;
    let of_parties = |iss: Value, aud: Value| json!({"exp": exp, "sub": "bob", "iss": iss, "aud": aud}).to_string();
    let own = Value::from("fantail");
    let issuer = Value::from(ISSUER);
    [
        ("a token of another issuer", of_parties("https://evil.example".into(), own.clone())),
        ("an issuer whose name goes on", of_parties(format!("{ISSUER}.evil.example").into(), own.clone())),
        ("an issuer with a slash behind it", of_parties(format!("{ISSUER}/").into(), own.clone())),
        ("an issuer in capitals", of_parties(ISSUER.to_uppercase().into(), own.clone())),
        ("an issuer without its scheme", of_parties("id.example".into(), own.clone())),
        ("an issuer of another scheme", of_parties("http://id.example".into(), own.clone())),
        ("an issuer behind a blank", of_parties(format!(" {ISSUER}").into(), own.clone())),
        ("an issuer with a NUL behind it", of_parties(format!("{ISSUER}\0").into(), own.clone())),
        ("an issuer with its default port", of_parties(format!("{ISSUER}:443").into(), own.clone())),
        ("a list of issuers", of_parties(json!([ISSUER]), own.clone())),
        ("an issuer that is an object", of_parties(json!({"id": ISSUER}), own.clone())),
        ("an issuer that is null", of_parties(Value::Null, own.clone())),
        ("an issuer without letters", of_parties("".into(), own.clone())),
        ("an issuer that is a number", of_parties(1.into(), own.clone())),
        ("a token for another service", of_parties(issuer.clone(), "billing".into())),
        ("a service whose name goes on", of_parties(issuer.clone(), "fantail2".into())),
        ("a service whose name is cut", of_parties(issuer.clone(), "fantai".into())),
        ("a service in capitals", of_parties(issuer.clone(), "FANTAIL".into())),
        ("a service that is a star", of_parties(issuer.clone(), "*".into())),
        ("a list of no services", of_parties(issuer.clone(), json!([]))),
        ("a list of other services", of_parties(issuer.clone(), json!(["a", "b"]))),
        ("services in one text", of_parties(issuer.clone(), "billing fantail".into())),
        ("services with commas", of_parties(issuer.clone(), "billing,fantail".into())),
        ("a service in a list of lists", of_parties(issuer.clone(), json!([["fantail"]]))),
        ("a service beside a number", of_parties(issuer.clone(), json!(["fantail", 1]))),
        ("a service that is an object", of_parties(issuer.clone(), json!({"fantail": true}))),
        ("a service that is null", of_parties(issuer.clone(), Value::Null)),
        ("a service that is true", of_parties(issuer, true.into())),
        ("a token without issuer and service", json!({"exp": exp, "sub": "bob"}).to_string()),
    ]
    .map(|(attack, claims)| of(attack, "/sse/user:bob", &claims, Must::Be(401)))
    .into()
}

/// The list of channels, of other types and with items that are none.
fn lists() -> Vec<Case> {
    let listing = |list: Value| claims(&format!("\"channels\":{list},"));
    let many = |count: usize| Value::from((0..count).map(|n| format!("c{n}")).collect::<Vec<_>>());
    let refused = [
        ("a list of channels that is a number", json!(1)),
        ("a list of channels that is true", json!(true)),
        ("a list of channels that is an object", json!({"secret": true})),
        ("a list of channels that is null", json!(null)),
        ("a list with a number", json!(["secret", 1])),
        ("a list with null", json!(["secret", null])),
        ("a list in a list", json!([["secret"]])),
        ("an object in the list", json!([{"channel": "secret"}])),
        ("a channel without a name", json!(["", "secret"])),
        ("channels in one text with a comma", json!(["secret,user:bob"])),
        ("channels in one text with a blank", json!("secret user:bob")),
        ("a channel with a line break", json!(["secret\nx"])),
        ("a channel with a NUL", json!(["secret\0"])),
        ("a channel with a question mark, as Redis has it", json!(["secre?"])),
        ("a channel with a range, as Redis has it", json!(["secre[a-z]"])),
        ("a channel with a hash tag", json!(["{secret}"])),
        ("a channel with a way up", json!(["a/../secret"])),
        ("a channel beyond ASCII", json!(["s\u{435}cret"])),
        ("a channel that is too long", json!(["s".repeat(256)])),
        ("a pattern with a bracket", json!(["*[s]"])),
        ("a pattern that is too long", json!(["*".repeat(256)])),
        ("257 channels", many(257)),
        ("700 channels", many(700)),
    ]
    .map(|(attack, list)| of(attack, "/sse/secret", &listing(list), Must::Be(403)));
    let elsewhere = [
        ("a channel that no list names", json!(["news"])),
        ("a list of no channels", json!([])),
        ("a channel that begins like a listed one", json!(["secre"])),
        ("a channel that goes on behind a listed one", json!(["secret:more"])),
        ("a channel in other letters than the listed one", json!(["SECRET"])),
        ("a pattern that ends before the channel", json!(["s*e"])),
        ("a pattern of another beginning", json!(["user:*"])),
        ("a pattern that wants a segment more", json!(["secret/*"])),
        ("a pattern that backtracks without end", json!(["*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"])),
        ("a listed channel that is escaped", json!(["~73ecret"])),
    ]
    .map(|(attack, list)| of(attack, "/sse/secret", &listing(list), Must::Be(403)));
    let asked = [
        ("one good channel beside a foreign one", "/sse?channel=news&channel=secret", Must::Be(403)),
        ("a foreign channel beside a good one", "/sse?channel=secret&channel=news", Must::Be(403)),
        ("a foreign channel by a path in other letters", "/sse/%53ecret", Must::Be(403)),
        ("a star in the place of channels", "/sse/*", Must::Be(400)),
        ("the pattern of the token in the place of a channel", "/sse/org:*", Must::Be(400)),
        ("a channel that ends where the pattern begins", "/sse/org:", Must::Serve),
        ("a channel that fits the pattern with slashes", "/sse/org:a/b/c", Must::Serve),
        ("a channel that fits the pattern by its end alone", "/sse/x:org:1", Must::Be(403)),
    ]
    .map(|(attack, target, must)| of(attack, target, &listing(json!(["news", "org:*"])), must));
    let named = [
        ("a path of claims in the place of the list", "{\"list\":[\"secret\"]}"),
        ("a list under the name in capitals", "[]"),
    ]
    .map(|(attack, value)| {
        of(
            attack,
            "/sse/secret",
            &claims(&format!("\"channels.list\":{value},\"Channels\":[\"secret\"],")),
            Must::Be(403),
        )
    });
    refused.into_iter().chain(elsewhere).chain(asked).chain(named).collect()
}

/// Names that users choose, to get the channels of others. The templates are `user:{sub}`,
/// `org:{org}:news`, `team:{team}` and `deep:{a.b}`.
fn breakouts() -> Vec<Case> {
    let of_user = |sub: &Value| json!({"exp": now() + 600, "iss": ISSUER, "aud": "fantail", "sub": sub}).to_string();
    let of_org = |org: &Value| {
        json!({"exp": now() + 600, "iss": ISSUER, "aud": "fantail", "sub": "eve", "org": org}).to_string()
    };
    let subjects = [
        ("a user's name with a colon", "bob:private", "/sse/user:bob:private"),
        ("a user's name of a colon alone", ":", "/sse/user::"),
        ("a user's name that is a star", "*", "/sse/user:bob"),
        ("a user's name that ends in a star", "b*", "/sse/user:bob"),
        ("a user's name with a slash", "bob/a", "/sse/user:bob/a"),
        ("a user's name with an at sign", "bob@a", "/sse/user:bob@a"),
        ("a user's name with the escape sign", "bob~3aprivate", "/sse/user:bob~3aprivate"),
        ("a user's name of the escape sign alone", "~", "/sse/user:~"),
        ("a user's name with an equal sign", "bob=a", "/sse/user:bob=a"),
        ("a user's name that is a way up", "..", "/sse/user:.."),
        ("a user's name that is a way up to another", "x/../../admin", "/sse/admin"),
        ("a user's name that is a place in braces", "{org}", "/sse/user:eve"),
        ("a user's name of no letters", "", "/sse/user:"),
        ("a user's name of a blank", " ", "/sse/user:"),
        ("a user's name with a blank before it", " bob", "/sse/user:bob"),
        ("a user's name with a blank behind it", "bob ", "/sse/user:bob"),
        ("a user's name with a NUL behind it", "bob\0", "/sse/user:bob"),
        ("a user's name with a line break behind it", "bob\r\n", "/sse/user:bob"),
        ("a user's name with a comma and another", "eve,bob", "/sse/user:bob"),
        ("a user's name with a letter that looks alike", "b\u{43e}b", "/sse/user:bob"),
        ("a user's name of full width", "\u{ff42}\u{ff4f}\u{ff42}", "/sse/user:bob"),
        ("a user's name with a mark that is not seen", "bob\u{200b}", "/sse/user:bob"),
        ("a user's name with an accent to be composed", "bo\u{301}b", "/sse/user:bob"),
        ("a user's name in capitals", "BOB", "/sse/user:bob"),
        ("a user's name in percent escapes", "%62ob", "/sse/user:bob"),
        ("a user's name in escapes of ours", "~62ob", "/sse/user:bob"),
        ("a user's name that begins with the lane of others", "lane/bob", "/sse/lane/bob"),
        ("a user's name that repeats the template", "user:bob", "/sse/user:bob"),
        ("a user's name with a backslash", "eve\\bob", "/sse/user:bob"),
        ("a user's name with a quote", "bob\"", "/sse/user:bob"),
        ("a user's name that runs from right to left", "\u{202e}bob", "/sse/user:bob"),
    ]
    .map(|(attack, sub, target)| of(attack, target, &of_user(&sub.into()), Must::Be(403)));
    let of_team = |team: &Value| {
        json!({"exp": now() + 600, "iss": ISSUER, "aud": "fantail", "sub": "eve", "team": team}).to_string()
    };
    let persons = [
        ("a user's name that is an object", json!({"name": "bob"})),
        ("a user's name that is a list", json!(["bob", "eve"])),
    ]
    .map(|(attack, sub)| of(attack, "/sse/user:bob", &of_user(&sub), Must::Be(401)));
    let values = [
        ("a team that is an object", json!({"name": "bob"})),
        ("a team that is true", json!(true)),
        ("a team with a fraction", json!(1.5)),
        ("a team that is null", json!(null)),
        ("a list of lists of teams", json!([["bob"]])),
        ("a list of teams with an object", json!(["bob", {"a": 1}])),
        ("a list of teams with null", json!(["bob", null])),
        ("an empty list of teams", json!([])),
        ("65 teams", json!((0..65).map(|n| n.to_string()).collect::<Vec<_>>())),
        ("1,000 teams", json!((0..1_000).collect::<Vec<_>>())),
        ("a team of 300 letters", json!("n".repeat(300))),
        ("a team of 100 letters that grow threefold", json!(":".repeat(100))),
    ]
    .map(|(attack, team)| of(attack, "/sse/team:bob", &of_team(&team), Must::Be(403)));
    let orgs = [
        ("an organisation that ends its place early", "acme:news:", "/sse/org:acme:news"),
        ("an organisation that ends the whole name", "acme:news", "/sse/org:acme:news"),
        ("an organisation that is a star", "*", "/sse/org:acme:news"),
        ("an organisation with a slash at its end", "acme/", "/sse/org:acme/:news"),
        ("an organisation of dots", "...", "/sse/org:...:news"),
        ("an organisation with the template in it", "{sub}", "/sse/org:eve:news"),
        ("an organisation that comments out the rest", "acme#", "/sse/org:acme"),
        ("an organisation with a NUL that ends the rest", "acme\0", "/sse/org:acme"),
    ]
    .map(|(attack, org, target)| of(attack, target, &of_org(&org.into()), Must::Be(403)));
    let own = [
        ("the own channel of a name with a colon", json!("bob:private"), "/sse/user:bob~3aprivate"),
        ("the own channel of a name of dots", json!(".."), "/sse/user:~2e~2e"),
        ("the own channel of a name of no letters", json!(""), "/sse/user:~"),
        ("the own channel of a name that is a star", json!("*"), "/sse/user:~2a"),
        ("the own channel of a name with the escape sign", json!("~62ob"), "/sse/user:~7e62ob"),
        ("the own channel of a number", json!(7), "/sse/user:7"),
        ("the own channel of a negative number", json!(-7), "/sse/user:-7"),
        ("the own channel of a name beyond ASCII", json!("\u{e9}"), "/sse/user:~c3~a9"),
    ]
    .map(|(attack, sub, target)| of(attack, target, &of_user(&sub), Must::Serve));
    let teams = [of(
        "the own channels of a list of teams",
        "/sse?channel=team:a~3a&channel=team:b",
        &of_team(&json!(["a:", "b"])),
        Must::Serve,
    )];
    subjects.into_iter().chain(persons).chain(teams).chain(values).chain(orgs).chain(own).collect()
}

/// Claims that are no object, or more than a reader should take.
fn shapes() -> Vec<Case> {
    let deep = |open: &str, close: &str| claims(&format!("\"x\":{}1{},", open.repeat(700), close.repeat(700)));
    let refused = [
        ("claims that are a list", "[1]".to_owned()),
        ("claims that are a text", "\"exp\"".to_owned()),
        ("claims that are a number", "1".to_owned()),
        ("claims that are null", "null".to_owned()),
        ("claims that are no JSON", "exp=1".to_owned()),
        ("claims that end too early", claims("").trim_end_matches('}').to_owned()),
        ("claims with something behind them", format!("{}{{}}", claims(""))),
        ("claims with a byte order mark", format!("\u{feff}{}", claims(""))),
        ("claims with half a character", claims("\"x\":\"\\ud800\",")),
        ("claims with a line break in a text", claims("\"x\":\"\n\",")),
        ("claims with a comment", claims("/* */")),
        ("claims in single quotes", claims("").replace('"', "'")),
        ("lists nested 700 deep", deep("[", "]")),
        ("objects nested 700 deep", deep("{\"a\":", "}")),
        ("lists nested 4,500 deep that never end", "[".repeat(4_500)),
    ]
    .map(|(attack, claims)| of(attack, "/sse/user:bob", &claims, Must::Be(401)));
    let numbers = (0..300).map(|n| format!("\"c{n}\":{n},")).collect::<Vec<_>>().concat();
    let odd = [
        ("three hundred claims of no meaning", claims(&numbers)),
        ("a claim without a name", claims("\"\":1,")),
        ("a claim of a prototype", claims("\"__proto__\":{\"admin\":true},\"constructor\":1,")),
        ("lists nested 100 deep", claims(&format!("\"x\":{}{},", "[".repeat(100), "]".repeat(100)))),
        ("an organisation that is missing deep inside", claims("\"a\":{\"c\":1},")),
        ("a claim with a point in its name", claims("\"a.b\":\"x\",\"a\":{\"b\":\"y\"},")),
    ]
    .map(|(attack, claims)| of(attack, "/sse/user:bob", &claims, Must::Serve));
    refused.into_iter().chain(odd).collect()
}
