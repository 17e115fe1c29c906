//! The address of a Redis server, whose password only one function reveals.

use std::fmt;

use url::Url;

use crate::secret::HIDDEN;

/// Query parameters that are no secrets; every other one is hidden, known or not.
const SHOWN_PARAMETERS: [&str; 2] = ["db", "protocol"];

/// A checked Redis URL. `Debug` and `Display` hide the password; [`RedisUrl::expose`] does not.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    whole: String,
    /// Computed once, so that no output has a reason to look at `whole`.
    shown: String,
}

impl RedisUrl {
    /// Checks scheme, host and database number. The reason never quotes the text. A host may be missing: then the
    /// Sentinels know it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "not a URL; write redis://[user:password@]host[:port][/database]")?;
        match url.scheme() {
            "redis" | "rediss" | "valkey" | "valkeys" => check_server(&url)?,
            "unix" | "redis+unix" | "valkey+unix" => check_socket(&url)?,
            _ => return Err("the scheme is one of redis, rediss (TLS), unix"),
        }
        Ok(Self { whole: text.to_owned(), shown: hide_secrets(url) })
    }

    /// Whether it has a host.
    pub fn names_server(&self) -> bool {
        let url = self.url();
        is_socket(&url) || url.host_str().is_some_and(|host| !host.is_empty())
    }

    /// Whether it asks for TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.url().scheme(), "rediss" | "valkeys")
    }

    /// Whether it has a user.
    pub fn names_user(&self) -> bool {
        let url = self.url();
        !url.username().is_empty() || has_parameter(&url, "user")
    }

    /// Whether it holds a password.
    pub fn holds_password(&self) -> bool {
        let url = self.url();
        url.password().is_some() || has_parameter(&url, "pass")
    }

    fn url(&self) -> Url {
        Url::parse(&self.whole).expect("it was parsed when this was made")
    }

    /// The URL with its password, for the connection and nothing else.
    pub fn expose(&self) -> &str {
        &self.whole
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", self.shown)
    }
}

fn is_socket(url: &Url) -> bool {
    url.scheme().ends_with("unix")
}

/// Only the URL of a socket has its user and password among the parameters.
fn has_parameter(url: &Url, wanted: &str) -> bool {
    is_socket(url) && url.query_pairs().any(|(name, _)| name == wanted)
}

fn check_server(url: &Url) -> Result<(), &'static str> {
    if url.fragment().is_some() {
        return Err("nothing may follow a #; certificates are always checked, redis_tls_ca names whom to trust");
    }
    let database = url.path().trim_start_matches('/');
    if database.is_empty() || database.parse::<u32>().is_ok() {
        Ok(())
    } else {
        Err("what follows the host is a database number, or nothing")
    }
}

fn check_socket(url: &Url) -> Result<(), &'static str> {
    let names_a_file = url.path().len() > 1 && url.host_str().is_none_or(str::is_empty);
    if names_a_file { Ok(()) } else { Err("a socket is written unix:///path/to/redis.sock") }
}

/// A name without a password is hidden as well: it is likely a password in the wrong place.
fn hide_secrets(mut url: Url) -> String {
    // Both setters refuse only URLs that cannot hold a user at all, and those have none to hide.
    if url.password().is_some() {
        let _ = url.set_password(Some(HIDDEN));
    } else if !url.username().is_empty() {
        let _ = url.set_username(HIDDEN);
    }
    if url.query().is_some() {
        let parameters: Vec<_> = url.query_pairs().map(|(name, value)| hide_parameter(&name, &value)).collect();
        url.set_query(Some(&parameters.join("&")));
    }
    url.into()
}

fn hide_parameter(name: &str, value: &str) -> String {
    if SHOWN_PARAMETERS.contains(&name) { format!("{name}={value}") } else { format!("{name}={HIDDEN}") }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn no_output_shows_a_password() {
        let table = [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
            ("redis://:hunter2@db:6379/3", "redis://:***@db:6379/3"),
            ("rediss://edge:hunter2@db", "rediss://edge:***@db"),
            ("redis://hunter2@db", "redis://***@db"),
            ("redis://edge:hunter2%40x@[::1]:7000/0", "redis://edge:***@[::1]:7000/0"),
            ("redis://db/0?protocol=resp3", "redis://db/0?protocol=resp3"),
            ("unix:///run/redis.sock?db=1&user=edge&pass=hunter2", "unix:///run/redis.sock?db=1&user=***&pass=***"),
            ("redis+unix:///run/redis.sock?PASS=hunter2", "redis+unix:///run/redis.sock?PASS=***"),
        ];
        for (text, shown) in table {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!(url.expose(), text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("RedisUrl({shown})"));
            assert!(!format!("{url} {url:?} {url:#?}").contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_url_knows_its_server_its_user_and_whether_it_is_tls() {
        let table = [
            ("redis://db", (true, false, false, false)),
            ("rediss:///2", (false, true, false, false)),
            ("redis://", (false, false, false, false)),
            ("valkeys://edge:hunter2@db", (true, true, true, true)),
            ("redis://:hunter2@db", (true, false, false, true)),
            ("unix:///run/redis.sock?user=edge&pass=hunter2", (true, false, true, true)),
            ("unix:///run/redis.sock", (true, false, false, false)),
        ];
        for (text, facts) in table {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!((url.names_server(), url.is_tls(), url.names_user(), url.holds_password()), facts, "{text}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_a_redis_server_is_refused_without_being_quoted() {
        let refused = [
            "",
            "localhost:6379",
            "db",
            "http://:hunter2@db",
            "redis://:hunter2@",
            "rediss://:hunter2@db#insecure",
            "redis://db/hunter2",
            "redis://db/1/hunter2",
            "redis://edge:hunter2/x@db",
            "unix://",
            "unix:///",
            "unix://db/run/redis.sock",
        ];
        for text in refused {
            let reason = RedisUrl::parse(text).unwrap_err();
            assert!(!reason.contains("hunter2"), "{text}: {reason}");
        }
    }
}
