//! The settings of ownCloud Infinite Scale's `sse` service, and what each of them is here.
//!
//! That service reads its file, then variables, of which those of the service win over those of all services. A value that it
//! cannot read has no effect there. Here it is a fault, and so is one that would promise something that is not there.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::go_values::{parse_bool, parse_duration};
use super::yaml;
use crate::environment::is_service_link;
use crate::fault::{Faults, Location};
use crate::form::pieces;
use crate::layers::Given;
use crate::settings::{SHORTEST, Setting};
use crate::suggest;

const NAME: &str = "owncloud";
const FILE: &str = "sse.yaml";
const DIRECTORY_VARIABLE: &str = "OCIS_CONFIG_DIR";
const OWN_PREFIX: &str = "SSE_";
/// Where NATS is if nobody says otherwise.
const ENDPOINT: &str = "127.0.0.1:9233";
/// Where streams are served then.
const LISTEN: &str = "127.0.0.1:9135";

/// The values that hold if nobody says otherwise, in the words of this program.
const DEFAULTS: [(&str, &str); 17] = [
    ("listen", LISTEN),
    ("health_listen", "127.0.0.1:9139"),
    ("path", "/ocs/v2.php/apps/notifications/api/v1/notifications/sse"),
    ("access", "token"),
    ("token_header", "x-access-token"),
    ("token_leeway", "5s"),
    ("token_claims_required", "user.id.opaque_id,scope.user*"),
    ("channel_templates", "{user.id.opaque_id}"),
    // A token names all groups of its user, some 1,000 in this.
    ("head_bytes_max", "64KiB"),
    ("nats_url", "nats://127.0.0.1:9233"),
    ("nats_stream", "main-queue"),
    ("nats_events", "owncloud"),
    // A page of ownCloud Web comes back after 30 to 45 s.
    ("linger", "90s"),
    ("control_events", "false"),
    ("bare_blocks", "joined"),
    ("cors_origin", "*"),
    ("cors_headers", "origin,content-type,accept,x-requested-with,x-request-id,ocs-apirequest"),
];

/// The settings there: the place in the file, and the variables, of which a later one wins.
const ROWS: [(&str, &[&str]); 31] = [
    ("log.level", &["OCIS_LOG_LEVEL", "SSE_LOG_LEVEL"]),
    ("log.pretty", &["OCIS_LOG_PRETTY", "SSE_LOG_PRETTY"]),
    ("log.color", &["OCIS_LOG_COLOR", "SSE_LOG_COLOR"]),
    ("log.file", &["OCIS_LOG_FILE", "SSE_LOG_FILE"]),
    ("debug.addr", &["SSE_DEBUG_ADDR"]),
    ("debug.token", &["SSE_DEBUG_TOKEN"]),
    ("debug.pprof", &["SSE_DEBUG_PPROF"]),
    ("debug.zpages", &["SSE_DEBUG_ZPAGES"]),
    ("tracing.enabled", &["OCIS_TRACING_ENABLED", "SSE_TRACING_ENABLED"]),
    ("tracing.type", &["OCIS_TRACING_TYPE", "SSE_TRACING_TYPE"]),
    ("tracing.endpoint", &["OCIS_TRACING_ENDPOINT", "SSE_TRACING_ENDPOINT"]),
    ("tracing.collector", &["OCIS_TRACING_COLLECTOR", "SSE_TRACING_COLLECTOR"]),
    ("keepalive_interval", &["SSE_KEEPALIVE_INTERVAL"]),
    ("events.endpoint", &["OCIS_EVENTS_ENDPOINT", "SSE_EVENTS_ENDPOINT"]),
    ("events.cluster", &["OCIS_EVENTS_CLUSTER", "SSE_EVENTS_CLUSTER"]),
    ("events.tls_insecure", &["OCIS_INSECURE", "OCIS_EVENTS_TLS_INSECURE", "SSE_EVENTS_TLS_INSECURE"]),
    ("events.tls_root_ca_certificate", &["OCIS_EVENTS_TLS_ROOT_CA_CERTIFICATE", "SSE_EVENTS_TLS_ROOT_CA_CERTIFICATE"]),
    ("events.enable_tls", &["OCIS_EVENTS_ENABLE_TLS", "SSE_EVENTS_ENABLE_TLS"]),
    ("events.username", &["OCIS_EVENTS_AUTH_USERNAME", "SSE_EVENTS_AUTH_USERNAME"]),
    ("events.password", &["OCIS_EVENTS_AUTH_PASSWORD", "SSE_EVENTS_AUTH_PASSWORD"]),
    ("http.addr", &["SSE_HTTP_ADDR"]),
    ("http.root", &["SSE_HTTP_ROOT"]),
    ("http.cors.allow_origins", &["OCIS_CORS_ALLOW_ORIGINS", "SSE_CORS_ALLOW_ORIGINS"]),
    ("http.cors.allow_methods", &["OCIS_CORS_ALLOW_METHODS", "SSE_CORS_ALLOW_METHODS"]),
    ("http.cors.allow_headers", &["OCIS_CORS_ALLOW_HEADERS", "SSE_CORS_ALLOW_HEADERS"]),
    ("http.cors.allow_credentials", &["OCIS_CORS_ALLOW_CREDENTIALS", "SSE_CORS_ALLOW_CREDENTIALS"]),
    ("http.tls.enabled", &["OCIS_HTTP_TLS_ENABLED"]),
    ("http.tls.cert", &["OCIS_HTTP_TLS_CERTIFICATE"]),
    ("http.tls.key", &["OCIS_HTTP_TLS_KEY"]),
    ("token_manager.jwt_secret", &["OCIS_JWT_SECRET", "SSE_JWT_SECRET"]),
    // Written by the generator of the documentation.
    ("service.name", &[]),
];

/// A value there, with its place.
type Value = (String, Location);

/// Reads file and variables.
pub(super) fn read(
    variables: &[(OsString, OsString)],
    read_file: &dyn Fn(&Path) -> io::Result<String>,
    is_given: &dyn Fn(&str) -> bool,
) -> (Vec<Given>, Faults) {
    let mut reader = Reader { variables, values: HashMap::new(), given: Vec::new(), faults: Faults::default() };
    reader.read_file(read_file);
    reader.read_variables();
    reader.translate();
    // Keys of our own take the place of the secret, so that it can be retired.
    if !["token_secret", "token_keys", "token_jwks"].into_iter().any(is_given) {
        reader.translate_secret();
    }
    (reader.given, reader.faults)
}

struct Reader<'a> {
    variables: &'a [(OsString, OsString)],
    values: HashMap<&'static str, Value>,
    given: Vec<Given>,
    faults: Faults,
}

impl Reader<'_> {
    fn read_file(&mut self, read_file: &dyn Fn(&Path) -> io::Result<String>) {
        for directory in self.directories() {
            let path = directory.join(FILE);
            let place = |line| Location::File { path: path.display().to_string(), line };
            match read_file(&path).map(|text| yaml::read(&text)) {
                Ok(Ok(values)) => {
                    for value in values {
                        self.take_of_file(&value, place(value.line));
                    }
                }
                Ok(Err((line, reason))) => self.faults.push(place(line), reason),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => self.faults.push(place(1), format!("cannot be read: {error}")),
            }
            return;
        }
    }

    /// The first of them that has the file counts.
    fn directories(&self) -> Vec<PathBuf> {
        if let Some(directory) = self.variable(DIRECTORY_VARIABLE).filter(|it| !it.is_empty()) {
            return vec![directory.into()];
        }
        let home = self.variable("HOME").map(|home| Path::new(&home).join(".ocis/config"));
        [Some(PathBuf::from("/etc/ocis")), home].into_iter().flatten().collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        let (_, value) = self.variables.iter().find(|(known, _)| known == name)?;
        Some(value.to_string_lossy().into_owned())
    }

    fn take_of_file(&mut self, value: &yaml::YamlValue, place: Location) {
        let Some((path, _)) = ROWS.iter().find(|(path, _)| *path == value.path) else {
            let advice = suggest::advice(&value.path, ROWS.iter().map(|(path, _)| *path));
            return self.faults.push(place, format!("unknown setting {:?}; {advice}", value.path));
        };
        let texts: Vec<_> = value.texts.iter().map(|text| self.expanded(text)).collect();
        self.values.insert(path, (texts.join(","), place));
    }

    /// `${NAME}` stands for a variable, and `${NAME|text}` for the text if the variable is empty or not there.
    fn expanded(&self, text: &str) -> String {
        let (mut expanded, mut rest) = (String::new(), text);
        while let Some((before, behind)) = rest.split_once("${") {
            let Some((named, after)) = behind.split_once('}') else { break };
            let (name, otherwise) = named.split_once('|').unwrap_or((named, ""));
            let value = self.variable(name.trim()).filter(|value| !value.is_empty());
            expanded.extend([before, value.as_deref().unwrap_or(otherwise.trim())]);
            rest = after;
        }
        expanded + rest
    }

    fn read_variables(&mut self) {
        for (path, names) in ROWS {
            for name in names {
                let Some((_, value)) = self.variables.iter().find(|(known, _)| known == *name) else { continue };
                let place = Location::Variable((*name).to_owned());
                match value.to_str() {
                    Some(text) => drop(self.values.insert(path, (text.to_owned(), place))),
                    None => self.faults.push(place, "the value is not UTF-8"),
                }
            }
        }
        let known: Vec<_> = ROWS.iter().flat_map(|(_, names)| *names).copied().collect();
        let mut unknown: Vec<_> = self.variables.iter().map(|(name, value)| (name.to_string_lossy(), value)).collect();
        unknown.retain(|(name, value)| {
            name.starts_with(OWN_PREFIX) && !known.contains(&&**name) && !is_service_link(name, value)
        });
        unknown.sort();
        for (name, _) in unknown {
            let ends = known.iter().filter_map(|known| known.strip_prefix(OWN_PREFIX));
            let advice = match suggest::nearest(&name[OWN_PREFIX.len()..], ends) {
                Some(end) => format!("did you mean {OWN_PREFIX}{end}?"),
                None => "docs/owncloud.md lists all of them".to_owned(),
            };
            self.faults.push(Location::Variable(name.into_owned()), format!("unknown variable; {advice}"));
        }
    }

    fn translate(&mut self) {
        for (key, text) in DEFAULTS {
            self.give(key, text, Location::Preset(NAME));
        }
        self.translate_log();
        self.translate_debug();
        self.translate_tracing();
        self.translate_keepalive();
        self.translate_events();
        self.translate_http();
        self.translate_cors();
    }

    fn translate_secret(&mut self) {
        match self.values.remove("token_manager.jwt_secret") {
            Some((secret, place)) if secret.is_empty() => self.faults.push(place, "the secret of the tokens is empty"),
            Some((secret, place)) => self.give("token_secret", &secret, place),
            None => self.faults.push(
                Location::Preset(NAME),
                "there is no secret of the tokens; give OCIS_JWT_SECRET or SSE_JWT_SECRET, or token_manager.jwt_secret in sse.yaml",
            ),
        }
    }

    fn translate_log(&mut self) {
        if let Some((level, place)) = self.text("log.level") {
            let level = match level.to_ascii_lowercase().as_str() {
                "panic" | "fatal" => "error".to_owned(),
                "warning" => "warn".to_owned(),
                _ => level,
            };
            self.give("log_level", &level, place);
        }
        let is_pretty = self.switch("log.pretty");
        let place = is_pretty.as_ref().map_or(Location::Preset(NAME), |(_, place)| place.clone());
        self.give("log_format", if is_pretty.is_some_and(|(on, _)| on) { "text" } else { "json" }, place);
        if let Some((path, place)) = self.text("log.file") {
            self.give("log_file", &path, place);
        }
        self.switch("log.color"); // a terminal gets colours, and nothing else does
    }

    fn translate_debug(&mut self) {
        if let Some((address, place)) = self.text("debug.addr") {
            self.give("health_listen", &address_of(&address), place);
        }
        if let Some((token, place)) = self.text("debug.token") {
            self.give("health_token", &token, place);
        }
        let told = "there are no such pages here; leave it out, and see docs/tuning.md for profiles with perf";
        for path in ["debug.pprof", "debug.zpages"] {
            self.refuse_if_on(path, told);
        }
    }

    fn translate_tracing(&mut self) {
        self.refuse_if_on("tracing.enabled", "no traces are sent; leave it out");
    }

    /// Without one that service sends no comments. Here there are always some.
    fn translate_keepalive(&mut self) {
        let Some((text, place)) = self.text("keepalive_interval") else { return };
        match parse_duration(&text) {
            Ok(interval) if interval.is_zero() => {}
            Ok(interval) if interval < SHORTEST => {
                self.faults
                    .push(place, format!("{text:?} is too short; a number alone counts nanoseconds, so write 30s"));
            }
            Ok(interval) => self.give("keepalive_interval", &format!("{}ms", interval.as_millis()), place),
            Err(reason) => self.faults.push(place, reason),
        }
    }

    fn translate_events(&mut self) {
        let is_tls = self.switch("events.enable_tls");
        let is_insecure = self.switch("events.tls_insecure").filter(|(on, _)| *on);
        let authority = self.text("events.tls_root_ca_certificate");
        let has_tls = is_tls.as_ref().is_some_and(|(on, _)| *on);
        let endpoint = self.text("events.endpoint");
        let of_tls = is_tls.filter(|(on, _)| *on).map(|(_, place)| (ENDPOINT.to_owned(), place));
        if let Some((text, place)) = endpoint.or(of_tls) {
            let scheme = if has_tls { "tls" } else { "nats" };
            let url = |server: &str| match server.split_once("://") {
                None | Some(("nats", _)) => format!("{scheme}://{}", server.trim_start_matches("nats://")),
                Some(_) => server.to_owned(),
            };
            self.give("nats_url", &pieces(&text).map(url).collect::<Vec<_>>().join(","), place);
        }
        match (authority, is_insecure) {
            _ if !has_tls => {}
            (Some((path, place)), _) => self.give("nats_tls_ca", &path, place),
            (None, Some((_, place))) => self.give("nats_tls_insecure", "true", place),
            (None, None) => {}
        }
        if let (Some((name, place)), Some((password, of_password))) =
            (self.text("events.username"), self.text("events.password"))
        {
            self.give("nats_username", &name, place);
            self.give("nats_password", &password, of_password);
        }
    }

    fn translate_http(&mut self) {
        let address = self.text("http.addr");
        let tls = self.switch("http.tls.enabled").filter(|(on, _)| *on);
        let Some((_, tls_place)) = tls else {
            if let Some((address, place)) = address {
                self.give("listen", &address_of(&address), place);
            }
            return;
        };
        let (address, place) = address.unwrap_or((LISTEN.to_owned(), tls_place.clone()));
        self.give("listen", "", place.clone());
        self.give("tls_listen", &address_of(&address), place);
        match (self.text("http.tls.cert"), self.text("http.tls.key")) {
            (Some((certificate, place)), Some((key, of_key))) => {
                self.give("tls_cert", &certificate, place);
                self.give("tls_key", &key, of_key);
            }
            _ => self.faults.push(
                tls_place,
                "no certificate is made here; name one by OCIS_HTTP_TLS_CERTIFICATE and OCIS_HTTP_TLS_KEY",
            ),
        }
    }

    fn translate_cors(&mut self) {
        let origins = self.text("http.cors.allow_origins");
        let credentials = self.switch("http.cors.allow_credentials");
        if let Some((origins, place)) = origins
            && !pieces(&origins).any(|origin| origin == "*")
        {
            self.give("cors_origin", &origins, place.clone());
            if credentials.as_ref().is_none_or(|(on, _)| *on) {
                self.give("cors_credentials", "true", credentials.map_or(place, |(_, place)| place));
            }
        }
        if let Some((methods, place)) = self.text("http.cors.allow_methods")
            && !pieces(&methods).any(|method| matches!(method, "*" | "GET" | "get"))
        {
            self.faults.push(place, "streams are read with GET; add it");
        }
        if let Some((headers, place)) = self.text("http.cors.allow_headers") {
            let granted_anyway = ["*", "authorization", "last-event-id", "cache-control", "x-access-token"];
            let names = pieces(&headers).filter(|name| !granted_anyway.contains(&name.to_ascii_lowercase().as_str()));
            let own = DEFAULTS.iter().find(|(key, _)| *key == "cors_headers").map_or("", |(_, text)| *text);
            let own = if pieces(&headers).any(|name| name == "*") { own } else { "" };
            let names: Vec<_> = names.chain(pieces(own)).collect();
            self.give("cors_headers", &names.join(","), place);
        }
    }

    /// A value that is not empty.
    fn text(&mut self, path: &str) -> Option<Value> {
        debug_assert!(ROWS.iter().any(|(known, _)| *known == path), "{path}");
        self.values.remove(path).filter(|(text, _)| !text.is_empty())
    }

    fn switch(&mut self, path: &str) -> Option<(bool, Location)> {
        let (text, place) = self.text(path)?;
        match parse_bool(&text) {
            Ok(on) => Some((on, place)),
            Err(reason) => {
                self.faults.push(place, reason);
                None
            }
        }
    }

    fn refuse_if_on(&mut self, path: &str, told: &str) {
        if let Some((true, place)) = self.switch(path) {
            self.faults.push(place, told);
        }
    }

    fn give(&mut self, key: &'static str, text: &str, place: Location) {
        let setting = Setting::find(key).expect("a setting of the table");
        self.given.push(Given { setting, texts: vec![text.to_owned()], place });
    }
}

/// In Go `:9135` stands for all addresses, of IPv4 and IPv6, and here for those of IPv4; and Go looks names up.
fn address_of(text: &str) -> String {
    match text.rsplit_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_setting_of_the_service_and_every_value_of_the_preset() {
        let page = include_str!("../../../../docs/owncloud.md");
        for (path, variables) in ROWS.iter().filter(|(_, variables)| !variables.is_empty()) {
            for name in variables.iter().chain([path]) {
                assert!(page.contains(&format!("`{name}`")), "{name}");
            }
        }
        for (key, _) in DEFAULTS {
            assert!(page.contains(&format!("`{key}")), "{key}");
        }
    }

    #[test]
    fn the_values_of_the_chart_are_those_of_the_preset() {
        let values = include_str!("../../../../deploy/helm/fantail/ci/owncloud-values.yaml");
        // The rest is a list of mappings, which no file of the service has.
        let (values, _) = values.split_once("networkPolicy:").expect("a policy");
        let values = yaml::read(values).expect("YAML");
        // The chart has its own words for addresses and for NATS, and the origins are those of an example.
        for (key, text) in DEFAULTS.iter().filter(|(key, _)| {
            !["listen", "health_listen", "access", "nats_url", "nats_stream", "cors_origin"].contains(key)
        }) {
            let value = values.iter().find(|value| value.path == format!("settings.{key}"));
            assert_eq!(value.map(|value| value.texts.join(",")).as_deref(), Some(*text), "{key}");
        }
    }

    #[test]
    fn the_route_for_the_front_proxy_leads_to_the_path_of_the_preset() {
        let route = include_str!("../../../../deploy/owncloud/proxy.yaml");
        let path = DEFAULTS.iter().find(|(key, _)| *key == "path").map_or("", |(_, path)| *path);
        assert!(route.contains(&format!("'^{}'", path.replace('.', "\\."))), "{route}");
    }
}
