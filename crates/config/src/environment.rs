//! The environment: every variable that starts with `FANTAIL_` is meant for this program.
//!
//! An empty variable counts as not set. A variable without a setting is a fault, because a mistyped one would otherwise
//! have no effect, silently. The exception is Kubernetes: in a namespace with a service called `fantail` it gives every
//! pod `FANTAIL_SERVICE_HOST` and its kin.

use std::ffi::{OsStr, OsString};

use crate::fault::{Faults, Location};
use crate::layers::Given;
use crate::settings::{SETTINGS, Setting};
use crate::suggest;

const PREFIX: &str = "FANTAIL_";

/// Picks this program's variables out of all.
pub(crate) fn read(variables: &[(OsString, OsString)]) -> (Vec<Given>, Faults) {
    let mut ours: Vec<_> = variables.iter().map(|(name, value)| (name.to_string_lossy(), value)).collect();
    ours.retain(|(name, value)| name.starts_with(PREFIX) && !is_service_link(name, value));
    // Faults are easier to read in sorted order than in the environment's.
    ours.sort();

    let (mut given, mut faults) = (Vec::new(), Faults::default());
    for (name, value) in ours {
        let place = Location::Variable(name.to_string());
        match (find(&name), value.to_str()) {
            (None, _) => faults.push(place, unknown(&name)),
            (Some(_), None) => faults.push(place, "the value is not UTF-8"),
            // Shells, compose files and charts pass a variable on as empty when it is not set.
            (Some(_), Some("")) => {}
            (Some(setting), Some(text)) => given.push(Given { setting, texts: vec![text.to_owned()], place }),
        }
    }
    (given, faults)
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.variable() == name)
}

fn unknown(name: &str) -> String {
    let variables: Vec<_> = SETTINGS.iter().map(Setting::variable).collect();
    // The common prefix would make any two variables look alike.
    let ends = variables.iter().map(|variable| &variable[PREFIX.len()..]);
    match suggest::nearest(&name[PREFIX.len()..], ends) {
        Some(end) => format!("unknown variable; did you mean {PREFIX}{end}?"),
        None => "unknown variable; --help lists all settings".to_owned(),
    }
}

/// `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_SERVICE_PORT_<NAME>`, `…_PORT` and `…_PORT_80_TCP…`.
/// A bare `…_PORT` must also look like a link, since `FANTAIL_PORT=80` is a likely mistake.
pub(crate) fn is_service_link(name: &str, value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let after_port = name.split_once("_PORT_").map_or("", |(_, rest)| rest);
    let names_a_port = after_port.split_once('_').is_some_and(|(port, protocol)| {
        port.parse::<u16>().is_ok() && ["TCP", "UDP", "SCTP"].iter().any(|known| protocol.starts_with(known))
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || names_a_port
        || (name.ends_with("_PORT") && is_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> (Vec<(String, String)>, Vec<String>) {
        let variables: Vec<_> = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let (given, faults) = read(&variables);
        let given = given.into_iter().map(|given| (given.setting.key.to_owned(), given.texts.concat())).collect();
        (given, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn only_variables_with_the_prefix_are_looked_at() {
        let (given, faults) = read_pairs(&[("PATH", "/bin"), ("fantail_retry", "x"), ("FANTAIL_RETRY", "1s")]);
        assert_eq!(given, [("retry".to_owned(), "1s".to_owned())]);
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn unknown_variables_are_faults_that_do_not_quote_the_value() {
        let (_, faults) =
            read_pairs(&[("FANTAIL_REDIS_ULR", "redis://:hunter2@db"), ("FANTAIL_PORT", "8080"), ("FANTAIL_", "x")]);
        let expected = [
            "FANTAIL_: unknown variable; --help lists all settings",
            "FANTAIL_PORT: unknown variable; did you mean FANTAIL_LISTEN?",
            "FANTAIL_REDIS_ULR: unknown variable; did you mean FANTAIL_REDIS_URL?",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn variables_that_kubernetes_adds_for_a_service_of_this_name_are_no_fault() {
        let links = [
            ("FANTAIL_SERVICE_HOST", "10.0.0.1"),
            ("FANTAIL_SERVICE_PORT", "80"),
            ("FANTAIL_SERVICE_PORT_HTTP", "80"),
            ("FANTAIL_PORT", "tcp://10.0.0.1:80"),
            ("FANTAIL_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("FANTAIL_PORT_80_TCP_PROTO", "tcp"),
            ("FANTAIL_PORT_80_TCP_PORT", "80"),
            ("FANTAIL_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("FANTAIL_INTERNAL_SERVICE_HOST", "10.0.0.2"),
            ("FANTAIL_INTERNAL_PORT", "tcp://10.0.0.2:81"),
        ];
        assert_eq!(read_pairs(&links), (Vec::new(), Vec::new()));
    }

    #[test]
    fn no_setting_is_mistaken_for_a_service_link() {
        for setting in SETTINGS {
            assert!(!is_service_link(&setting.variable(), OsStr::new("tcp://10.0.0.1:80")), "{}", setting.key);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_utf8_is_a_fault() {
        use std::os::unix::ffi::OsStringExt;
        let (given, faults) = read(&[("FANTAIL_PATH".into(), OsString::from_vec(vec![b'/', 0xff]))]);
        assert!(given.is_empty());
        assert_eq!(faults.to_string(), "FANTAIL_PATH: the value is not UTF-8");
    }
}
