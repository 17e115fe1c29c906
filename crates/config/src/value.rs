//! How each kind of setting is read from text, bounded, shown and described.
//!
//! One text form serves all three layers, so that a value can be moved between file, variable and
//! flag as it is. A reason says what was written, except for secrets, and what to write instead.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::channel_rule::{ChannelRule, RULES_MAX};
use crate::config::{Config, LogFormat, SlowPolicy};
use crate::networks::{parse_networks, show_networks};
use crate::redis_url::RedisUrl;
use crate::secret::Secret;
use crate::suggest;

/// The longest name of a lane, in bytes.
const LANE_NAME_BYTES_MAX: usize = 32;
/// The lane of the channels that name none, and the most beside it.
const DEFAULT_LANE: &str = "0";
const NAMED_LANES_MAX: usize = 63;

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Where in [`Config`] a value lives.
pub(crate) struct Field<T: 'static> {
    pub(crate) get: fn(&Config) -> &T,
    pub(crate) set: fn(&mut Config, T),
}

/// What a setting's text means, within which bounds, and the field that takes it.
pub(crate) enum Kind {
    Address(Field<SocketAddr>),
    AddressOrNone(Field<Option<SocketAddr>>),
    Path(Field<String>),
    RedisUrl(Field<Option<RedisUrl>>),
    Count {
        min: u64,
        max: u64,
        field: Field<usize>,
    },
    Size {
        min: u64,
        max: u64,
        field: Field<usize>,
    },
    Duration {
        min: Duration,
        max: Duration,
        field: Field<Duration>,
    },
    Origins(Field<Vec<String>>),
    Networks(Field<Vec<IpNet>>),
    Hosts(Field<Vec<String>>),
    LogFilter(Field<String>),
    LogFormat(Field<LogFormat>),
    SlowPolicy(Field<SlowPolicy>),
    Channels(Field<Vec<ChannelRule>>),
    File(Field<Option<PathBuf>>),
    /// A file that a part of the program reads, unlike the one with the settings.
    Readable(Field<Option<PathBuf>>),
    Text(Field<Option<String>>),
    Secret(Field<Option<Secret>>),
    Lanes(Field<Vec<String>>),
    Servers {
        /// That of servers for which none is written.
        port: u16,
        field: Field<Vec<String>>,
    },
    Switch(Field<bool>),
}

impl Kind {
    /// Reads the texts of one layer into the field. Several texts come from a repeated flag or a
    /// list in the file; only lists take more than one, and the callers have seen to that.
    pub(crate) fn apply(&self, config: &mut Config, texts: &[String]) -> Result<(), String> {
        let text = texts.first().map_or("", String::as_str);
        match self {
            Self::Address(field) => (field.set)(config, parse_address(text)?),
            Self::AddressOrNone(field) => {
                (field.set)(config, (!text.is_empty()).then(|| parse_address(text)).transpose()?);
            }
            Self::Path(field) => (field.set)(config, parse_path(text)?),
            Self::RedisUrl(field) => (field.set)(config, parse_redis_url(text)?),
            Self::Count { min, max, field } => (field.set)(config, parse_count(text, *min, *max)?),
            Self::Size { min, max, field } => (field.set)(config, parse_size(text, *min, *max)?),
            Self::Duration { min, max, field } => (field.set)(config, parse_duration(text, *min, *max)?),
            Self::Origins(field) => (field.set)(config, parse_origins(texts)?),
            Self::Networks(field) => (field.set)(config, parse_networks(texts)?),
            Self::Hosts(field) => (field.set)(config, parse_hosts(texts)?),
            Self::LogFilter(field) => (field.set)(config, parse_log_filter(text)?),
            Self::LogFormat(field) => (field.set)(config, parse_log_format(text)?),
            Self::File(field) | Self::Readable(field) => {
                (field.set)(config, (!text.is_empty()).then(|| PathBuf::from(text)));
            }
            Self::Text(field) => (field.set)(config, (!text.is_empty()).then(|| text.to_owned())),
            Self::Secret(field) => (field.set)(config, (!text.is_empty()).then(|| Secret::new(text))),
            Self::Servers { port, field } => (field.set)(config, parse_servers(texts, *port)?),
            Self::Lanes(field) => (field.set)(config, parse_lanes(texts)?),
            Self::SlowPolicy(field) => (field.set)(config, parse_slow_policy(text)?),
            Self::Channels(field) => (field.set)(config, parse_channels(texts)?),
            Self::Switch(field) => (field.set)(config, parse_switch(text)?),
        }
        Ok(())
    }

    /// The value in the form an operator would write it, secrets hidden, empty for none.
    pub(crate) fn show(&self, config: &Config) -> String {
        match self {
            Self::Address(field) => (field.get)(config).to_string(),
            Self::AddressOrNone(field) => (field.get)(config).map_or_else(String::new, |address| address.to_string()),
            Self::Path(field) | Self::LogFilter(field) => (field.get)(config).clone(),
            Self::RedisUrl(field) => (field.get)(config).as_ref().map_or_else(String::new, ToString::to_string),
            Self::Count { field, .. } => (field.get)(config).to_string(),
            Self::Size { field, .. } => show_size(*(field.get)(config) as u64),
            Self::Duration { field, .. } => show_duration(*(field.get)(config)),
            Self::Origins(field) | Self::Hosts(field) | Self::Lanes(field) | Self::Servers { field, .. } => {
                (field.get)(config).join(",")
            }
            Self::Networks(field) => show_networks((field.get)(config)),
            Self::Text(field) => (field.get)(config).clone().unwrap_or_default(),
            Self::Secret(field) => (field.get)(config).as_ref().map_or_else(String::new, ToString::to_string),
            Self::LogFormat(field) => (field.get)(config).to_string(),
            Self::SlowPolicy(field) => (field.get)(config).to_string(),
            Self::Channels(field) => (field.get)(config).iter().map(ChannelRule::show).collect::<Vec<_>>().join(";"),
            Self::Switch(field) => (field.get)(config).to_string(),
            Self::File(field) | Self::Readable(field) => {
                (field.get)(config).as_ref().map_or_else(String::new, |path| path.display().to_string())
            }
        }
    }

    /// What may be written, as the reference says it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Address(_) => "an IP address and a port".to_owned(),
            Self::AddressOrNone(_) => "an IP address and a port, or empty for none".to_owned(),
            Self::Path(_) => "a path such as `/sse`".to_owned(),
            Self::RedisUrl(_) => "`redis://`, `rediss://` (TLS) or `unix://`, or empty for none".to_owned(),
            Self::Count { min, max, .. } => format!("a number from {min} to {max}"),
            Self::Size { min, max, .. } => format!("a size from {} to {}", show_size(*min), show_size(*max)),
            Self::Duration { min, max, .. } => {
                format!("a duration from {} to {}", show_duration(*min), show_duration(*max))
            }
            Self::Origins(_) => "exact origins, or a single `*`".to_owned(),
            Self::Networks(_) => "IP addresses, or networks such as `10.0.0.0/8`".to_owned(),
            Self::Hosts(_) => "host names without a port, or a single `*`".to_owned(),
            Self::LogFilter(_) => "a level, or a filter such as `info,fantail_feed=debug`".to_owned(),
            Self::LogFormat(_) => "`text` or `json`".to_owned(),
            Self::File(_) | Self::Readable(_) => "a path, or empty for none".to_owned(),
            Self::Text(_) => "text, or empty for none".to_owned(),
            Self::Secret(_) => "text that is shown nowhere, or empty for none".to_owned(),
            Self::Servers { port, .. } => format!("hosts, each with a port or with {port} for it"),
            Self::Lanes(_) => "names of letters and digits".to_owned(),
            Self::SlowPolicy(_) => "`disconnect`, `skip` or `latest`".to_owned(),
            Self::Channels(_) => "tables `[[channel]]`, or rules such as `pattern=news.*,slow_policy=skip`".to_owned(),
            Self::Switch(_) => "`true` or `false`; the flag alone means `true`".to_owned(),
        }
    }

    /// The placeholder behind a flag in the help.
    pub(crate) fn value_name(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::AddressOrNone(_) => "IP:PORT",
            Self::Path(_) => "PATH",
            Self::RedisUrl(_) => "URL",
            Self::Count { .. } => "N",
            Self::Size { .. } => "SIZE",
            Self::Duration { .. } => "DURATION",
            Self::Origins(_) => "ORIGIN",
            Self::Networks(_) => "NETWORK",
            Self::Hosts(_) => "HOST",
            Self::LogFilter(_) => "FILTER",
            Self::LogFormat(_) => "FORMAT",
            Self::File(_) | Self::Readable(_) => "FILE",
            Self::Text(_) => "TEXT",
            Self::Secret(_) => "SECRET",
            Self::Servers { .. } => "HOST:PORT",
            Self::Lanes(_) => "NAME",
            Self::SlowPolicy(_) => "POLICY",
            Self::Channels(_) => "RULE",
            Self::Switch(_) => "BOOL",
        }
    }

    /// Whether the file may hold a bare number for it.
    pub(crate) fn takes_integer(&self) -> bool {
        matches!(self, Self::Count { .. } | Self::Size { .. })
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not an IP address and a port; write 127.0.0.1:8080, or 0.0.0.0:8080 for all interfaces")
    })
}

fn parse_path(text: &str) -> Result<String, String> {
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

fn parse_redis_url(text: &str) -> Result<Option<RedisUrl>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let url = RedisUrl::parse(text).map_err(|reason| format!("{reason} (the value is not shown, as it may be secret)"));
    url.map(Some)
}

/// A comma separates servers in a variable, and no host contains one, so it does so everywhere.
fn parse_servers(texts: &[String], port: u16) -> Result<Vec<String>, String> {
    let pieces = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    pieces.filter(|piece| !piece.is_empty()).map(|piece| parse_server(piece, port)).collect()
}

/// A host and a port, this one unless another is written.
fn parse_server(text: &str, port: u16) -> Result<String, String> {
    let refused = || format!("{text:?} is not a host with a port; write redis.example:{port}, or [::1]:{port}");
    let url = Url::parse(&format!("redis://{text}")).map_err(|_| refused())?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.path().is_empty();
    match url.host_str() {
        Some(host) if is_plain && url.query().is_none() && url.fragment().is_none() && !text.contains('@') => {
            Ok(format!("{host}:{}", url.port().unwrap_or(port)))
        }
        _ => Err(refused()),
    }
}

/// The same rules as where lanes are looked for in the names of channels; a test holds both together.
fn parse_lanes(texts: &[String]) -> Result<Vec<String>, String> {
    let pieces = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|piece| !piece.is_empty());
    let mut lanes: Vec<String> = Vec::new();
    for name in pieces {
        if name.len() > LANE_NAME_BYTES_MAX || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("{name:?} is no name of a lane; write 1 to {LANE_NAME_BYTES_MAX} letters and digits"));
        }
        if name == DEFAULT_LANE {
            return Err(format!("the lane {DEFAULT_LANE} is always there; name the others"));
        }
        if lanes.iter().any(|known| known == name) {
            return Err(format!("the lane {name} is given twice"));
        }
        lanes.push(name.to_owned());
    }
    match lanes.len() {
        found if found > NAMED_LANES_MAX => Err(format!("there are {found} lanes; the most is {NAMED_LANES_MAX}")),
        _ => Ok(lanes),
    }
}

fn parse_count(text: &str, min: u64, max: u64) -> Result<usize, String> {
    let count = parse_digits(text).ok_or_else(|| format!("{text:?} is not a whole number"))?;
    check_bounds(text, count, min, max, |bound| bound.to_string())?;
    usize::try_from(count).map_err(|_| format!("{text:?} is too large for this machine"))
}

fn parse_size(text: &str, min: u64, max: u64) -> Result<usize, String> {
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)));
    let (digits, factor) = unit.unwrap_or((text, 1));
    let bytes = parse_digits(digits)
        .ok_or_else(|| format!("{text:?} is not a size; write bytes, or a whole number of KiB, MiB or GiB"))?;
    // Saturating leads to the bounds' message, which is the right one for a number that large.
    let bytes = bytes.saturating_mul(factor);
    check_bounds(text, bytes, min, max, show_size)?;
    usize::try_from(bytes).map_err(|_| format!("{text:?} is too large for this machine"))
}

fn parse_duration(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration; write a number with its unit, such as 500ms, 15s or 5m"))?;
    check_bounds(text, duration, min, max, show_duration)?;
    Ok(duration)
}

/// The number parser of the standard library takes a leading plus, which is a typing error here.
fn parse_digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn check_bounds<T: PartialOrd + Copy>(
    text: &str,
    value: T,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> Result<(), String> {
    if value < min {
        Err(format!("{text:?} is too small; the least is {}", show(min)))
    } else if value > max {
        Err(format!("{text:?} is too large; the most is {}", show(max)))
    } else {
        Ok(())
    }
}

/// A comma separates origins in a variable, and no origin contains one, so it does so everywhere.
fn parse_origins(texts: &[String]) -> Result<Vec<String>, String> {
    let pieces = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    let origins: Vec<_> = pieces.filter(|piece| !piece.is_empty()).map(str::to_owned).collect();
    if origins == ["*"] {
        return Ok(origins);
    }
    let faults: Vec<_> = origins.iter().filter_map(|origin| refuse_origin(origin)).collect();
    if faults.is_empty() { Ok(origins) } else { Err(faults.join("; ")) }
}

fn refuse_origin(text: &str) -> Option<String> {
    if text.contains('*') {
        return Some(format!("{text:?} has a wildcard; `*` stands alone, or each origin is named"));
    }
    let bare =
        |url: &Url| url.path().trim_start_matches('/').is_empty() && url.query().is_none() && url.fragment().is_none();
    let is_origin = !text.ends_with('/')
        && !text.contains(['@', '%', '\\', '?', '#'])
        && !text.chars().any(char::is_whitespace)
        && text.contains("://")
        && !text.ends_with(':')
        && Url::parse(text).is_ok_and(|url| bare(&url) && url.has_host() && url.port() != Some(0));
    (!is_origin)
        .then(|| format!("{text:?} is not an origin; write scheme, host and port only: https://app.example.com"))
}

/// A comma separates hosts in a variable, and no host contains one, so it does so everywhere.
fn parse_hosts(texts: &[String]) -> Result<Vec<String>, String> {
    let pieces = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|piece| !piece.is_empty());
    let hosts: Vec<_> = pieces.map(|piece| piece.strip_suffix('.').unwrap_or(piece).to_ascii_lowercase()).collect();
    if hosts == ["*"] {
        return Ok(hosts);
    }
    match hosts.iter().find(|host| !is_host_name(host)) {
        Some(host) => Err(format!("{host:?} is not a host name; write it without scheme and port: fantail.internal")),
        None => Ok(hosts),
    }
}

/// Letters, digits and hyphens, and the underscores of Docker's names.
fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

/// The filter's own parser takes any bare word for the name of a module, so a mistyped level would
/// silence the log without a word. Words close to a level are therefore refused here.
fn parse_log_filter(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("is empty; write a level such as info, or off".to_owned());
    }
    for word in text.split(',').map(|directive| directive.rsplit('=').next().unwrap_or_default().trim()) {
        let is_level = LOG_LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        if !is_level && let Some(level) = suggest::nearest(word, LOG_LEVELS) {
            return Err(format!("{word:?} is not a level; did you mean {level}?"));
        }
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?} is not a log filter: {error}")),
    }
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    text.parse().map_err(|()| format!("{text:?} is not a log format; write {}", LogFormat::WORDS.join(" or ")))
}

fn parse_slow_policy(text: &str) -> Result<SlowPolicy, String> {
    text.parse().map_err(|()| format!("{text:?} is not a slow policy; write disconnect, skip or latest"))
}

/// A semicolon separates rules in a variable, and no rule contains one, so it does so everywhere.
fn parse_channels(texts: &[String]) -> Result<Vec<ChannelRule>, String> {
    let pieces = texts.iter().flat_map(|text| text.split(';')).map(str::trim);
    let rules: Result<Vec<_>, _> = pieces.filter(|piece| !piece.is_empty()).map(ChannelRule::parse).collect();
    match rules? {
        rules if rules.len() > RULES_MAX => Err(format!("there are {} rules; the most is {RULES_MAX}", rules.len())),
        rules => Ok(rules),
    }
}

fn parse_switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

/// The largest unit that divides the size, so that what is shown can be written back.
fn show_size(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sizes_are_bytes_or_whole_binary_units() {
        let accepted = [("0", 0), ("4096", 4096), ("64KiB", 65536), ("1 MiB", 1 << 20), ("2GiB", 2 << 30)];
        for (text, bytes) in accepted {
            assert_eq!(parse_size(text, 0, 4 << 30), Ok(bytes), "{text}");
        }
        let refused = ["", "KiB", "1KB", "1kib", "64K", "1.5MiB", "-1", "+1", "0x10", "1 000", "99999999999999999999"];
        for text in refused {
            assert!(parse_size(text, 0, 4 << 30).unwrap_err().contains("is not a size"), "{text}");
        }
        assert!(parse_size("18446744073709551615GiB", 0, 4 << 30).unwrap_err().contains("the most is 4GiB"));
        assert!(parse_size("1", 1024, 4096).unwrap_err().contains("the least is 1KiB"));
    }

    #[test]
    fn what_is_shown_can_be_written_back() {
        for bytes in [0, 1, 1023, 1024, 1536, 65536, 1 << 20, 3 << 29, 1 << 30] {
            assert_eq!(parse_size(&show_size(bytes), 0, u64::MAX).unwrap() as u64, bytes);
        }
        for millis in [0, 10, 999, 1500, 60_000, 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&show_duration(duration), Duration::ZERO, Duration::MAX), Ok(duration));
        }
    }

    #[test]
    fn durations_need_a_unit_and_stay_within_their_bounds() {
        let (min, max) = (Duration::from_millis(10), Duration::from_hours(1));
        let accepted = [("10ms", 10), ("15s", 15_000), ("1m 30s", 90_000), ("1h", 3_600_000)];
        for (text, millis) in accepted {
            assert_eq!(parse_duration(text, min, max), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "15", "15 parsecs", "s", "-1s"] {
            assert!(parse_duration(text, min, max).unwrap_err().contains("is not a duration"), "{text}");
        }
        assert!(parse_duration("9ms", min, max).unwrap_err().contains("the least is 10ms"));
        assert!(parse_duration("61m", min, max).unwrap_err().contains("the most is 1h"));
    }

    #[test]
    fn a_path_is_one_or_more_plain_segments() {
        for text in ["/sse", "/api/v1/sse", "/~a_b-c.d"] {
            assert_eq!(parse_path(text).as_deref(), Ok(text));
        }
        for text in ["", "/", "sse", "/sse/", "//sse", "/a//b", "/a?b", "/a b", "/%2e", "/../a", "/./a", "/\u{fc}"] {
            assert!(parse_path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_is_numeric() {
        for text in ["127.0.0.1:0", "0.0.0.0:8080", "[::]:8080"] {
            assert!(parse_address(text).is_ok(), "{text}");
        }
        for text in ["", "8080", ":8080", "localhost:8080", "127.0.0.1", "127.0.0.1:65536", "::1:8080"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mistyped_level_is_refused_instead_of_silencing_the_log() {
        for text in
            ["info", "INFO", "off", "info,fantail_feed=debug", "fantail_hub", "warn,hyper=off", "[stream]=trace"]
        {
            assert_eq!(parse_log_filter(text).as_deref(), Ok(text));
        }
        let refused = [
            ("inof", "did you mean info?"),
            ("info,fantail=debgu", "did you mean debug?"),
            ("", "is empty"),
            ("fantail=loud", "is not a log filter"),
        ];
        for (text, reason) in refused {
            assert!(parse_log_filter(text).unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn origins_are_judged_as_the_access_rules_judge_them() {
        let table = [
            ("https://example.com", true),
            ("http://localhost:3000", true),
            ("http://[::1]:3000", true),
            ("https://bücher.example", true),
            ("https://EXAMPLE.com:443", true),
            ("capacitor://localhost", true),
            ("null", false),
            ("example.com", false),
            ("https:example.com", false),
            ("https://", false),
            ("https://example.com/", false),
            ("https://example.com/sse", false),
            ("https://example.com?x", false),
            ("https://example.com#x", false),
            ("https://user@example.com", false),
            ("https://*.example.com", false),
            ("https://example.com:", false),
            ("https://example.com:0", false),
            ("https://example.com:65536", false),
            ("https://exa mple.com", false),
            ("https://ex%61mple.com", false),
            ("https://example.com\\x", false),
            ("https://[::1", false),
            ("1https://example.com", false),
            ("file://", false),
            ("capacitor://local<host", false),
        ];
        for (text, accepted) in table {
            assert_eq!(parse_origins(&[text.to_owned()]).is_ok(), accepted, "{text}");
            assert_eq!(fantail_access::Origin::parse(text).is_ok(), accepted, "{text}");
        }
    }

    #[test]
    fn servers_are_hosts_with_the_usual_port_unless_they_name_one() {
        let parse = |texts: &[&str]| parse_servers(&texts.iter().map(ToString::to_string).collect::<Vec<_>>(), 26_379);
        assert_eq!(parse(&["s1, s2:1", "[::1]"]).unwrap(), ["s1:26379", "s2:1", "[::1]:26379"]);
        assert_eq!(parse(&[""]).unwrap(), Vec::<String>::new());
        for text in ["s1:x", "s1:70000", ":26379", "s1/0", "user@s1", "redis://s1", "s1?x", "s1#x", "::1", "@s1"] {
            assert!(parse(&[text]).unwrap_err().contains("is not a host with a port"), "{text}");
        }
    }

    #[test]
    fn a_list_of_origins_is_split_at_commas_and_a_star_stands_alone() {
        let parse = |text: &str| parse_origins(&[text.to_owned()]);
        assert_eq!(parse("https://a.example, https://b.example,").unwrap(), ["https://a.example", "https://b.example"]);
        assert_eq!(parse("").unwrap(), Vec::<String>::new());
        assert_eq!(parse("*").unwrap(), ["*"]);
        let faults = parse("*,https://a.example,null").unwrap_err();
        assert!(faults.contains("wildcard") && faults.contains("null"), "{faults}");
    }

    #[test]
    fn a_lane_is_judged_as_where_channels_are_divided() {
        use fantail_wire::{LANES_MAX, LaneName};
        for text in ["orders", "A1", "a-b", "a/b", "\u{fc}", "{a}", "@a", &"x".repeat(32), &"x".repeat(33)] {
            assert_eq!(parse_lanes(&[text.to_owned()]).is_ok(), LaneName::parse(text).is_ok(), "{text}");
        }
        assert_eq!(LaneName::default().as_str(), DEFAULT_LANE);
        assert_eq!(LANES_MAX, NAMED_LANES_MAX + 1);
    }

    #[test]
    fn lanes_are_named_once_and_the_first_is_there_anyway() {
        let parse = |text: &str| parse_lanes(&[text.to_owned()]);
        assert_eq!(parse("orders, users,"), Ok(vec!["orders".to_owned(), "users".to_owned()]));
        assert_eq!(parse(""), Ok(Vec::new()));
        let many = (0..=NAMED_LANES_MAX).map(|n| format!("l{n}")).collect::<Vec<_>>().join(",");
        for (text, reason) in [
            ("a,a", "the lane a is given twice"),
            ("0", "the lane 0 is always there"),
            ("a b", "\"a b\" is no name of a lane; write 1 to 32 letters and digits"),
            (&many, "there are 64 lanes; the most is 63"),
        ] {
            assert!(parse(text).is_err_and(|fault| fault.starts_with(reason)), "{text}");
        }
    }
}
