//! Paths, origins and host names of the web.

use fantail_access::CorsPolicy;
use url::Url;

use crate::form::{Form, Shape, pieces};

/// The path prefix of the streams.
pub(crate) struct UrlPath;

impl Form for UrlPath {
    type Value = String;
    const VALUE_NAME: &'static str = "PATH";

    fn parse(&self, text: &str) -> Result<String, String> {
        let segments = text.strip_prefix('/').unwrap_or_default();
        let fits = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
        };
        if segments.split('/').all(fits) {
            Ok(text.to_owned())
        } else {
            Err(format!(
                "{text:?} is not a path prefix; start with a slash, end without one, and use letters, digits and ._~-"
            ))
        }
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }

    fn describe(&self) -> String {
        "a path such as `/sse`".to_owned()
    }
}

/// Origins of pages, checked by the rules that later judge them, or a single `*`.
pub(crate) struct Origins;

impl Form for Origins {
    type Value = Vec<String>;
    const VALUE_NAME: &'static str = "ORIGIN";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        let origins: Vec<_> = pieces(text).map(str::to_owned).collect();
        match CorsPolicy::parse(&origins) {
            Ok(_) => Ok(origins),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }

    fn show(&self, value: &Vec<String>) -> String {
        value.join(",")
    }

    fn describe(&self) -> String {
        "origins, subdomains such as `https://*.example.com`, or a single `*`".to_owned()
    }
}

/// The name of a header field, a cookie or a query parameter (RFC 9110, 5.6.2: a token), in lower case for headers.
pub(crate) struct FieldName;

impl Form for FieldName {
    type Value = String;
    const VALUE_NAME: &'static str = "NAME";

    fn parse(&self, text: &str) -> Result<String, String> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if !text.is_empty() && text.len() <= 100 && text.bytes().all(is_token) {
            Ok(text.to_owned())
        } else {
            Err(format!("{text:?} is not a name; use letters, digits, - and _"))
        }
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }

    fn describe(&self) -> String {
        "a name of letters, digits, `-` and `_`".to_owned()
    }
}

/// Names of header fields.
pub(crate) struct FieldNames;

impl Form for FieldNames {
    type Value = Vec<String>;
    const VALUE_NAME: &'static str = "NAME";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        pieces(text).map(|name| FieldName.parse(name).map(|name| name.to_ascii_lowercase())).collect()
    }

    fn show(&self, value: &Vec<String>) -> String {
        value.join(",")
    }

    fn describe(&self) -> String {
        "names of header fields".to_owned()
    }
}

/// The URL of a service, without a user in it.
pub(crate) struct HttpUrl;

impl Form for HttpUrl {
    type Value = String;
    const VALUE_NAME: &'static str = "URL";
    const IS_SECRET: bool = true;

    fn parse(&self, text: &str) -> Result<String, String> {
        let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("not an http:// or https:// URL".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user name or password in the URL is not sent; leave it out".to_owned());
        }
        Ok(text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        without_query(value)
    }

    fn describe(&self) -> String {
        "an `http://` or `https://` URL".to_owned()
    }
}

/// A file, or a URL to ask.
pub(crate) struct FileOrUrl;

impl Form for FileOrUrl {
    type Value = String;
    const VALUE_NAME: &'static str = "FILE|URL";
    const IS_SECRET: bool = true;

    fn parse(&self, text: &str) -> Result<String, String> {
        if text.contains("://") { HttpUrl.parse(text) } else { Ok(text.to_owned()) }
    }

    fn show(&self, value: &String) -> String {
        if value.contains("://") { without_query(value) } else { value.clone() }
    }

    fn describe(&self) -> String {
        "a path, or an `http://` or `https://` URL".to_owned()
    }
}

/// A query may hold a key of the service.
fn without_query(url: &str) -> String {
    url.split_once('?').map_or_else(|| url.to_owned(), |(before, _)| format!("{before}?***"))
}

/// Names of hosts, or a single `*`.
pub(crate) struct HostNames;

impl Form for HostNames {
    type Value = Vec<String>;
    const VALUE_NAME: &'static str = "HOST";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        let hosts: Vec<_> =
            pieces(text).map(|piece| piece.strip_suffix('.').unwrap_or(piece).to_ascii_lowercase()).collect();
        if hosts == ["*"] {
            return Ok(hosts);
        }
        match hosts.iter().find(|host| !is_host_name(host)) {
            Some(host) => {
                Err(format!("{host:?} is not a host name; write it without scheme and port: fantail.internal"))
            }
            None => Ok(hosts),
        }
    }

    fn show(&self, value: &Vec<String>) -> String {
        value.join(",")
    }

    fn describe(&self) -> String {
        "host names without a port, or a single `*`".to_owned()
    }
}

/// Letters, digits and hyphens, and the underscores of Docker's names.
fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_path_is_one_or_more_plain_segments() {
        for text in ["/sse", "/api/v1/sse", "/~a_b-c.d"] {
            assert_eq!(UrlPath.parse(text).as_deref(), Ok(text));
        }
        for text in ["", "/", "sse", "/sse/", "//sse", "/a//b", "/a?b", "/a b", "/%2e", "/../a", "/./a", "/\u{fc}"] {
            assert!(UrlPath.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_of_origins_is_split_at_commas_and_a_star_stands_alone() {
        let two = "https://a.example, https://b.example,";
        assert_eq!(Origins.parse(two).unwrap(), ["https://a.example", "https://b.example"]);
        assert_eq!(Origins.parse("").unwrap(), Vec::<String>::new());
        assert_eq!(Origins.parse("*").unwrap(), ["*"]);
        let refused = Origins.parse("*,https://a.example,null,https://a.example/x").unwrap_err();
        for reason in ["`null`", "`null`", "leave out the path"] {
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
