//! The address of a server's streams or events: a URL in which `{channel}` stands for the channel's name. It is
//! resolved once, when the command line is read. It knows no server's form of URLs; the template holds that.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

const CHANNEL: &str = "{channel}";

/// A URL template, its host already resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UrlTemplate {
    pub(crate) address: SocketAddr,
    /// The value of `Host`.
    pub(crate) host: String,
    path: String,
    scheme: Scheme,
}

/// The protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scheme {
    Http,
    /// Only for streams.
    Https,
    /// Only to publish; the path is the name of the Redis channel.
    Redis,
    /// Only to publish events for one stream each, in the form of ownCloud; the path is the name of the stream of NATS, which is
    /// its subject too.
    Nats,
}

impl UrlTemplate {
    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host without its port: the name that the server's certificate must have.
    pub(crate) fn host_name(&self) -> &str {
        let name =
            if has_port(&self.host) { self.host.rsplit_once(':').map_or("", |(name, _)| name) } else { &self.host };
        name.trim_matches(['[', ']'])
    }

    pub(crate) fn path(&self, channel: &str) -> String {
        self.path.replace(CHANNEL, channel)
    }

    pub(crate) fn names_channel(&self) -> bool {
        self.path.contains(CHANNEL)
    }

    /// The URL for requests that name the channels in their body, as in Fantail's API: `/publish/{channel}` becomes
    /// `/publish`.
    pub(crate) fn without_channel(&self) -> anyhow::Result<Self> {
        let Some(path) = self.path.strip_suffix("/{channel}") else {
            bail!("{self} does not end in /{CHANNEL}: give the URL for batches")
        };
        Ok(Self { path: path.to_owned(), ..self.clone() })
    }
}

impl FromStr for UrlTemplate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("redis", rest)) => (Scheme::Redis, rest),
            Some(("nats", rest)) => (Scheme::Nats, rest),
            _ => bail!("{text:?} does not begin with http://, https://, redis:// or nats://"),
        };
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        ensure!(!host.is_empty(), "{text:?} has no host");
        let unclean = path.bytes().any(|byte| byte <= b' ' || byte >= 0x7f);
        ensure!(!unclean, "the path of {text:?} has a space or a byte that a request line cannot hold");
        let port_default = if scheme == Scheme::Https { 443 } else { 80 };
        let with_port = if has_port(host) { host.to_owned() } else { format!("{host}:{port_default}") };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {host:?}"))?
            .next()
            .with_context(|| format!("{host:?} has no address"))?;
        Ok(Self { address, host: host.to_owned(), path: path.to_owned(), scheme })
    }
}

impl fmt::Display for UrlTemplate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Redis => "redis",
            Scheme::Nats => "nats",
        };
        write!(out, "{scheme}://{}{}", self.host, self.path)
    }
}

/// An IPv6 host stands in brackets, so a colon counts only behind them.
fn has_port(host: &str) -> bool {
    host.rsplit(']').next().is_some_and(|tail| tail.contains(':'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a value that does not parse is a failed test")]
    use super::*;

    #[test]
    fn the_channel_may_stand_anywhere_in_the_path() {
        let query: UrlTemplate = "http://127.0.0.1:8080/sub?id={channel}&x=1".parse().unwrap();
        assert_eq!(query.path("news-3"), "/sub?id=news-3&x=1");
        assert_eq!(query.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(query.host, "127.0.0.1:8080");
    }

    #[test]
    fn port_and_path_may_be_left_out() {
        let bare: UrlTemplate = "http://127.0.0.1".parse().unwrap();
        assert_eq!((bare.address.port(), bare.path("x").as_str()), (80, "/"));
        let six: UrlTemplate = "http://[::1]/sse".parse().unwrap();
        assert_eq!(six.address, "[::1]:80".parse().unwrap());
        let encrypted: UrlTemplate = "https://127.0.0.1/sse".parse().unwrap();
        assert_eq!(encrypted.address, "127.0.0.1:443".parse().unwrap());
    }

    #[test]
    fn certificate_is_for_the_host_without_its_port() {
        let names = ["https://localhost:8443/", "https://localhost", "https://[::1]:8443/", "https://[::1]"];
        let names = names.map(|text| text.parse::<UrlTemplate>().unwrap().host_name().to_owned());
        assert_eq!(names, ["localhost", "localhost", "::1", "::1"]);
    }

    #[test]
    fn batch_url_is_the_publish_url_without_its_channel() {
        let publish: UrlTemplate = "http://127.0.0.1:1/publish/{channel}".parse().unwrap();
        assert_eq!(publish.without_channel().unwrap().to_string(), "http://127.0.0.1:1/publish");
        let query: UrlTemplate = "http://127.0.0.1:1/pub?id={channel}".parse().unwrap();
        assert!(query.without_channel().is_err());
    }

    #[test]
    fn unusable_urls_are_refused() {
        for text in ["ftp://a/", "127.0.0.1:80/x", "http:///x", "http://127.0.0.1/a b", "http://127.0.0.1/\r\n"] {
            assert!(text.parse::<UrlTemplate>().is_err(), "{text:?}");
        }
    }
}
