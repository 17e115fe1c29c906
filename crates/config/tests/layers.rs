//! The layer that wins, refused settings, and the silence of all outputs about secrets.

// A failed unwrap is how a test fails.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use fantail_access::HostPolicy;
use fantail_config::{
    Config, Faults, Flags, ListenAddress, Parsed, SETTINGS, SlowPolicy, Source, parse_flags, resolve,
};

/// The operator's settings in all three places.
#[derive(Default, Clone, Copy)]
struct Said<'a> {
    file: &'a str,
    variables: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
}

impl Said<'_> {
    fn resolve(self) -> Result<Config, Faults> {
        let mut variables: Vec<(OsString, OsString)> =
            self.variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        if !self.file.is_empty() {
            variables.push(("FANTAIL_CONFIG".into(), "f.toml".into()));
        }
        let read_file = |path: &Path| {
            assert_eq!(path, Path::new("f.toml"));
            Ok(self.file.to_owned())
        };
        resolve(&flags(self.flags), &variables, &read_file)
    }

    fn config(self) -> Config {
        self.resolve().unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn faults(self) -> Vec<String> {
        self.resolve().unwrap_err().iter().map(ToString::to_string).collect()
    }
}

fn flags(args: &[&str]) -> Flags {
    let args: Vec<_> = args.iter().map(OsString::from).collect();
    match parse_flags(&args) {
        Parsed::Run { flags, .. } => flags,
        Parsed::Text(text) => panic!("asked for text: {text}"),
    }
}

fn source_of(config: &Config, key: &str) -> Source {
    config.effective().into_iter().find(|row| row.key == key).unwrap().source
}

#[test]
fn the_defaults_are_those_of_the_table_and_can_be_written_back() {
    let defaults = Said::default().config();
    let shown = defaults.effective();
    let variables: Vec<_> =
        SETTINGS.iter().zip(&shown).map(|(setting, row)| (setting.variable(), row.value.as_str())).collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let written = Said { variables: &variables, ..Said::default() }.config().effective();
    for ((setting, shown), written) in SETTINGS.iter().zip(&shown).zip(&written) {
        assert_eq!((setting.key, shown.source), (shown.key, Source::Default));
        assert_eq!(shown.value, written.value, "{}", setting.key);
        assert_eq!(shown.value.is_empty(), setting.default.is_empty(), "{}", setting.key);
    }
    assert!((1..=256).contains(&defaults.engine.workers), "one per core: {}", defaults.engine.workers);
    // Only this machine reaches it, until the operator decides otherwise.
    assert!(defaults.public.listen.iter().all(ListenAddress::is_local) && defaults.internal.internal_listen.is_local());
}

#[test]
fn a_later_layer_wins_and_is_named_as_the_source() {
    let file = Said { file: "retry = \"3s\"", ..Said::default() };
    let variable = Said { variables: &[("FANTAIL_RETRY", "4s")], ..file };
    let flag = Said { flags: &["--retry", "5s"], ..variable };
    let table = [
        (Said::default(), 2, Source::Default),
        (file, 3, Source::File),
        (variable, 4, Source::Env),
        (flag, 5, Source::Flag),
        (Said { variables: &[], ..flag }, 5, Source::Flag),
        (Said { file: "", ..variable }, 4, Source::Env),
    ];
    for (said, seconds, source) in table {
        let config = said.config();
        assert_eq!(config.streams.retry, Duration::from_secs(seconds));
        assert_eq!(source_of(&config, "retry"), source);
    }
}

#[test]
fn every_setting_can_be_given_in_every_layer() {
    let sample = |key: &str| match key {
        "listen" | "internal_listen" | "health_listen" | "tls_listen" => "127.0.0.1:0",
        "internal_hosts" => "fantail,fantail.example",
        "path" => "/events",
        "control_thread" => "own",
        "tls_client_auth" => "optional",
        "tls_stream_state" => "kept",
        "unix_socket_mode" => "600",
        "redis_url" => "redis://db",
        "nats_url" => "nats://n1:4222,tls://n2:1",
        "nats_stream" => "EVENTS",
        "redis_cluster_nodes" => "n1:6379,n2:1",
        "redis_sentinels" => "s1:26379,s2:1",
        "nats_username" | "redis_username" | "redis_sentinel_username" | "redis_sentinel_master" => "edge",
        "nats_password" | "redis_password" | "redis_sentinel_password" | "token_secret" => "***",
        "nats_password_file"
        | "nats_token_file"
        | "nats_nkey_file"
        | "nats_credentials_file"
        | "nats_tls_ca"
        | "nats_tls_cert"
        | "nats_tls_key"
        | "redis_password_file"
        | "redis_sentinel_password_file"
        | "redis_tls_ca"
        | "redis_tls_cert"
        | "redis_tls_key"
        | "internal_tls_cert"
        | "internal_tls_key"
        | "internal_tls_client_ca"
        | "tls_cert"
        | "tls_client_ca"
        | "tls_directory"
        | "tls_key"
        | "tls_ticket_keys" => "/run/secrets/x",
        "cors_origin" => "https://a.example",
        "access" => "open",
        "revoked_answer" => "204",
        "token_keys" => "k=ES256:/etc/key.pem",
        "token_jwks" => "https://id.example/jwks",
        "token_jwks_ca" => "/etc/ca.pem",
        "token_issuers" | "token_audiences" | "token_channels_claim" => "x",
        "token_header" | "token_cookie" | "token_query" | "origin_headers" => "x-token",
        "channel_templates" => "user:{sub}",
        "origin_url" => "http://127.0.0.1:1/a",
        "internal_tokens" => "/run/t=publish:a.*+read",
        "trusted_proxies" => "10.0.0.0/8,192.0.2.7",
        "log_level" => "warn",
        "log_format" => "json",
        "listen_shared"
        | "http2"
        | "http2_plain"
        | "proxy_protocol"
        | "redis_log"
        | "redis_publishers_trusted"
        | "cors_credentials"
        | "feed_state_events"
        | "plain_events_expected" => "true",
        "forwarded_header" => "forwarded",
        "workers"
        | "connections_max"
        | "channels_max"
        | "channels_per_address_max"
        | "connections_per_address_max"
        | "connections_per_second_per_address"
        | "streams_per_subject_max"
        | "streams_per_token_max"
        | "publish_rate_max"
        | "channels_per_stream_max"
        | "unknown_id_replay_max"
        | "log_events_max"
        | "origin_questions_max"
        | "streams_per_connection_max"
        | "tls_handshakes_max"
        | "redis_log_events_max" => "7",
        "drain_deadline" | "log_age_max" | "redis_log_age_max" => "11s",
        "control_events" => "false",
        "redis_log_lanes" => "orders,users",
        "slow_policy" => "latest",
        "channel" => "pattern=a.*,slow_policy=skip,log_bytes_max=64KiB;pattern=b,log_age_max=1m",
        "drain_delay"
        | "drain_window"
        | "follow_deadline"
        | "linger"
        | "keepalive_interval"
        | "retry"
        | "progress_deadline"
        | "request_deadline"
        | "token_leeway"
        | "stream_lifetime_max"
        | "origin_deadline"
        | "origin_cache" => "7s",
        "event_bytes_max" | "uri_bytes_max" => "2KiB",
        "logs_bytes_max" => "8MiB",
        "memory_max" => "1GiB",
        _ => "64KiB",
    };
    // The log of a channel must hold an event, so this one always goes along; others go only in company.
    let along = |key: &str| {
        let sentinels = [("FANTAIL_REDIS_SENTINELS", "s1"), ("FANTAIL_REDIS_SENTINEL_MASTER", "main")];
        let company = match key {
            "redis_url" | "redis_cluster_nodes" | "nats_url" => Vec::new(),
            "nats_username" => vec![("FANTAIL_NATS_URL", "nats://n1"), ("FANTAIL_NATS_PASSWORD_FILE", "/x")],
            "nats_password" | "nats_password_file" => {
                vec![("FANTAIL_NATS_URL", "nats://n1"), ("FANTAIL_NATS_USERNAME", "edge")]
            }
            "nats_tls_cert" => vec![("FANTAIL_NATS_URL", "nats://n1"), ("FANTAIL_NATS_TLS_KEY", "/x")],
            "nats_tls_key" => vec![("FANTAIL_NATS_URL", "nats://n1"), ("FANTAIL_NATS_TLS_CERT", "/x")],
            key if key.starts_with("nats_") => vec![("FANTAIL_NATS_URL", "nats://n1")],
            "token_secret" | "token_keys" | "token_jwks" => vec![("FANTAIL_ACCESS", "token")],
            "token_cookie" | "token_query" | "channel_templates" => {
                vec![("FANTAIL_ACCESS", "token"), ("FANTAIL_TOKEN_SECRET", "x")]
            }
            "tls_listen" => vec![("FANTAIL_TLS_CERT", "/x"), ("FANTAIL_TLS_KEY", "/x")],
            "tls_cert" => vec![("FANTAIL_TLS_LISTEN", "127.0.0.1:0"), ("FANTAIL_TLS_KEY", "/x")],
            "tls_key" => vec![("FANTAIL_TLS_LISTEN", "127.0.0.1:0"), ("FANTAIL_TLS_CERT", "/x")],
            "tls_client_ca" | "tls_directory" | "tls_ticket_keys" => {
                vec![("FANTAIL_TLS_LISTEN", "127.0.0.1:0"), ("FANTAIL_TLS_CERT", "/x"), ("FANTAIL_TLS_KEY", "/x")]
            }
            "internal_tls_cert" => vec![("FANTAIL_INTERNAL_TLS_KEY", "/x")],
            "internal_tls_key" => vec![("FANTAIL_INTERNAL_TLS_CERT", "/x")],
            "internal_tls_client_ca" => {
                vec![("FANTAIL_INTERNAL_TLS_CERT", "/x"), ("FANTAIL_INTERNAL_TLS_KEY", "/x")]
            }
            "origin_url" => vec![("FANTAIL_ACCESS", "origin")],
            "proxy_protocol" => vec![("FANTAIL_TRUSTED_PROXIES", "10.0.0.0/8")],
            "cors_credentials" => vec![("FANTAIL_CORS_ORIGIN", "https://a.example")],
            "redis_log_lanes" => vec![("FANTAIL_REDIS_URL", "redis://db"), ("FANTAIL_REDIS_LOG", "true")],
            "redis_username" => vec![("FANTAIL_REDIS_URL", "redis://db"), ("FANTAIL_REDIS_PASSWORD_FILE", "/x")],
            "redis_tls_cert" => vec![("FANTAIL_REDIS_URL", "rediss://db"), ("FANTAIL_REDIS_TLS_KEY", "/x")],
            "redis_tls_key" => vec![("FANTAIL_REDIS_URL", "rediss://db"), ("FANTAIL_REDIS_TLS_CERT", "/x")],
            "redis_sentinel_username" => [&sentinels[..], &[("FANTAIL_REDIS_SENTINEL_PASSWORD", "x")]].concat(),
            "redis_sentinels" => sentinels[1..].to_vec(),
            "redis_sentinel_master" => sentinels[..1].to_vec(),
            key if key.starts_with("redis_sentinel_") => sentinels.to_vec(),
            key if key.starts_with("redis_") => vec![("FANTAIL_REDIS_URL", "rediss://db")],
            _ => Vec::new(),
        };
        [&[("FANTAIL_EVENT_BYTES_MAX", "2KiB")], &company[..]].concat()
    };
    for setting in SETTINGS.iter().filter(|setting| setting.belongs_in_file()) {
        let value = sample(setting.key);
        let along = along(setting.key);
        let shown = |said: Said<'_>, source: Source| {
            let effective = said.config().effective();
            let row = effective.iter().find(|row| row.key == setting.key).unwrap();
            assert_eq!((row.value.as_str(), row.source), (value, source), "{}", setting.key);
        };
        let (variable, flag) = (setting.variable(), setting.flag());
        if setting.key != "event_bytes_max" {
            let value = if ["true", "false"].contains(&value) { value.to_owned() } else { format!("{value:?}") };
            let file = format!("{} = {value}", setting.key);
            shown(Said { file: &file, variables: &along, ..Said::default() }, Source::File);
        }
        let mut variables = along.clone();
        variables.push((&variable, value));
        shown(Said { variables: &variables, ..Said::default() }, Source::Env);
        let flag = format!("{flag}={value}"); // a switch takes its value in no other way
        shown(Said { flags: &[&flag], variables: &along, ..Said::default() }, Source::Flag);
    }
}

#[test]
fn a_log_in_redis_needs_a_redis() {
    let faults = Said { flags: &["--redis-log"], ..Said::default() }.faults();
    assert_eq!(faults, ["--redis-log: redis_log (true, --redis-log) must not be on without redis_url (none, default)"]);
    let said = Said { flags: &["--redis-log", "--redis-url=redis://db"], ..Said::default() };
    assert!(said.config().feed.redis_log);
}

#[test]
fn the_flag_names_the_file_before_the_variable_does() {
    let variables = [("FANTAIL_CONFIG".into(), "other.toml".into())];
    let read_file = |path: &Path| {
        assert_eq!(path, Path::new("f.toml"));
        Ok("workers = 3".to_owned())
    };
    let config = resolve(&flags(&["--config", "f.toml"]), &variables, &read_file).unwrap();
    assert_eq!(config.engine.workers, 3);
    assert_eq!(config.file.config.as_deref(), Some(Path::new("f.toml")));
}

#[test]
fn an_unreadable_file_is_a_fault_of_the_layer_that_named_it() {
    let read_file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let faults = resolve(&flags(&["--config", "f.toml", "--workers", "x"]), &[], &read_file).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "--config: cannot read f.toml: entity not found\n--workers: \"x\" is not a whole number"
    );
}

#[test]
fn lists_come_from_arrays_commas_and_repeated_flags() {
    let both = ["https://a.example", "https://b.example"];
    let table = [
        Said { file: "cors_origin = [\"https://a.example\", \"https://b.example\"]", ..Said::default() },
        Said { variables: &[("FANTAIL_CORS_ORIGIN", "https://a.example,https://b.example")], ..Said::default() },
        Said { flags: &["--cors-origin", both[0], "--cors-origin", both[1]], ..Said::default() },
    ];
    for said in table {
        assert_eq!(said.config().cors.cors_origin, both);
    }
}

#[test]
fn names_of_hosts_are_names_and_nothing_more() {
    let hosts = |text: &str| {
        let flags = ["--internal-hosts", text];
        Said { flags: &flags, ..Said::default() }.resolve().map(|config| config.internal.internal_hosts)
    };
    assert_eq!(hosts("Fantail., my_edge.example").unwrap(), ["fantail", "my_edge.example"]);
    assert_eq!(hosts("*").unwrap(), ["*"]);
    for bad in ["fantail:8081", "http://fantail", "*.example", "fantail,*", "a b", "a..b", "[::1]"] {
        let faults = hosts(bad).unwrap_err().to_string();
        assert!(faults.lines().count() == 1 && faults.contains("is not a host name"), "{bad}: {faults}");
    }
}

/// Both sides read names: a name that passes here must be answered to there.
#[test]
fn the_listener_answers_to_every_accepted_host_name() {
    let said = Said { flags: &["--internal-hosts", "Fantail.,my_edge.Example,x-1"], ..Said::default() };
    let policy = HostPolicy::new(said.config().internal.internal_hosts);
    for host in ["fantail", "FANTAIL.", "my_edge.example", "X-1"] {
        assert!(policy.accepts(host), "{host}");
    }
}

#[test]
fn rules_about_channels_come_from_tables_semicolons_and_repeated_flags() {
    let both = ["pattern=news.*,slow_policy=skip", "pattern=*,log_events_max=5"];
    let tables =
        "[[channel]]\npattern = \"news.*\"\nslow_policy = \"skip\"\n[[channel]]\npattern = \"*\"\nlog_events_max = 5";
    let table = [
        Said { file: tables, ..Said::default() },
        Said { variables: &[("FANTAIL_CHANNEL", &both.join("; "))], ..Said::default() },
        Said { flags: &["--channel", both[0], "--channel", both[1]], ..Said::default() },
    ];
    for said in table {
        let rules = said.config().channels.channel;
        assert_eq!((rules[0].pattern.as_str(), rules[0].slow_policy), ("news.*", Some(SlowPolicy::Skip)));
        assert_eq!((rules[1].pattern.as_str(), rules[1].log_events_max, rules.len()), ("*", Some(5), 2));
    }
}

#[test]
fn a_log_of_its_own_must_hold_an_event_and_fit_into_all_logs() {
    let file = "event_bytes_max = \"64KiB\"\nlogs_bytes_max = \"8MiB\"\n\
                channel = [\"pattern=a,log_bytes_max=32KiB\", \"pattern=b,log_bytes_max=64KiB\",\n\
                \"pattern=c,log_bytes_max=9MiB\"]";
    let expected = [
        "f.toml:3: log_bytes_max of channel \"a\" must not be smaller than event_bytes_max (64KiB, f.toml:1)",
        "f.toml:3: log_bytes_max of channel \"c\" must not be larger than logs_bytes_max (8MiB, f.toml:2)",
    ];
    assert_eq!(Said { file, ..Said::default() }.faults(), expected);
}

#[test]
fn a_rule_that_is_none_is_refused_with_its_place() {
    let said = Said {
        variables: &[("FANTAIL_CHANNEL", "pattern=a?,slow_policy=skip")],
        flags: &["--channel=slow_policy=skip"],
        ..Said::default()
    };
    let faults = said.faults();
    assert!(faults[0].starts_with("FANTAIL_CHANNEL: pattern \"a?\": a pattern is made of"), "{faults:?}");
    assert!(faults[1].starts_with("--channel: pattern is missing"), "{faults:?}");
    let many = "pattern=a,slow_policy=skip;".repeat(256);
    let faults = Said { variables: &[("FANTAIL_CHANNEL", &many)], ..Said::default() }.faults();
    assert_eq!(faults, ["FANTAIL_CHANNEL: there are 256 rules; the most is 255"]);
}

#[test]
fn an_empty_flag_takes_back_what_an_earlier_layer_said() {
    let said = Said {
        file: "redis_url = \"redis://db\"\ncors_origin = [\"https://a.example\"]",
        flags: &["--redis-url=", "--cors-origin="],
        ..Said::default()
    };
    let config = said.config();
    assert_eq!((config.feed.redis_url, config.cors.cors_origin), (None, Vec::new()));
}

#[test]
fn an_empty_variable_is_as_good_as_none_whatever_its_setting() {
    let all: Vec<_> = SETTINGS.iter().map(|setting| (setting.variable(), "")).collect();
    let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let effective = |variables: &[(&str, &str)], file: &str| {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let file = file.to_owned();
        let flags = if file.is_empty() { Flags::default() } else { flags(&["--config", "f.toml"]) };
        resolve(&flags, &variables, &|_| Ok(file.clone())).unwrap_or_else(|faults| panic!("{faults}")).effective()
    };
    assert_eq!(effective(&all, ""), effective(&[], ""));
    for one in &all {
        assert_eq!(effective(&[*one], ""), effective(&[], ""), "{one:?}");
    }
    let file = "retry = \"3s\"\nredis_url = \"redis://db\"\nredis_log = true\ncors_origin = [\"https://a.example\"]";
    assert_eq!(effective(&all, file), effective(&[], file), "what the file says stays");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let said = Said {
        file: "lisen = \"x\"\nretry = \"2 parsecs\"\nlog_bytes_max = \"100KiB\"\nworkers = 257\nlog_level = \"inof\"\n",
        variables: &[("FANTAIL_LINGRE", "1s"), ("FANTAIL_PATH", "sse"), ("FANTAIL_DRAIN_WINDOW", "1m")],
        flags: &["--retyr", "1s", "--head-bytes-max", "1KiB", "--listen", "--log-format", "xml"],
    };
    let expected = [
        "f.toml:1: unknown setting \"lisen\"; did you mean listen?",
        "f.toml:2: retry: \"2 parsecs\" is not a duration; write a number with its unit, such as 500ms, 15s or 5m",
        "f.toml:4: workers: \"257\" is too large; the most is 256",
        "f.toml:5: log_level: \"inof\" is not a level; did you mean info?",
        "FANTAIL_LINGRE: unknown variable; did you mean FANTAIL_LINGER?",
        "FANTAIL_PATH: \"sse\" is not a path prefix; start with a slash, end without one, and use letters, digits and ._~-",
        "--listen: the value is missing",
        "--retyr: unknown flag; did you mean --retry?",
        "--head-bytes-max: \"1KiB\" is too small; the least is 8KiB",
        "--log-format: \"xml\" is not a log format; write text or json",
        "FANTAIL_DRAIN_WINDOW: drain_deadline (20s, default) must not be shorter than drain_window (1m, FANTAIL_DRAIN_WINDOW)",
        "f.toml:3: log_bytes_max (100KiB, f.toml:3) must not be smaller than event_bytes_max (256KiB, default)",
    ];
    let mut faults = said.faults();
    // clap decides which of two mistakes on a command line it sees first.
    faults[6..8].sort();
    assert_eq!(faults, expected);
}

#[test]
fn a_bad_value_is_told_even_if_a_later_layer_hides_it() {
    let said = Said { file: "retry = \"x\"", flags: &["--retry", "1s"], ..Said::default() };
    assert_eq!(said.faults().len(), 1);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let table: [(&[&str], &str); 22] = [
        (
            &["--cors-credentials"],
            "cors_credentials (true, --cors-credentials) needs exact origins in cors_origin (none",
        ),
        (&["--cors-credentials", "--cors-origin=*"], "needs exact origins in cors_origin (*, --cors-origin)"),
        (&["--health-listen", "127.0.0.1:8080"], "must not take the same address and port as listen"),
        (&["--health-listen", "0.0.0.0:8081"], "must not take the same address and port as internal_listen"),
        (&["--drain-deadline", "5s"], "drain_deadline (5s, --drain-deadline) must not be shorter than drain_window"),
        (&["--drain-window", "30s"], "--drain-window: drain_deadline (20s, default) must not be shorter"),
        (&["--listen", "127.0.0.1:8081"], "--listen: internal_listen (127.0.0.1:8081, default) must not take"),
        (&["--listen", "0.0.0.0:8081", "--access=open"], "must not take the same address and port"),
        (
            &["--internal-listen", "0.0.0.0:8080", "--internal-tokens=/t=read"],
            "must not take the same address and port",
        ),
        (&["--listen", "0.0.0.0:8080"], "--listen: access (none, default) must be chosen (open if everyone"),
        (&["--listen", "[::ffff:10.0.0.1]:8080"], "must be chosen"),
        (&["--internal-listen", "0.0.0.0:8081"], "internal_tokens (none, default) must be given"),
        (&["--access", "token"], "access (token, --access) needs token_secret, token_jwks or token_keys (none"),
        (&["--access", "token+origin", "--token-jwks=https://i"], "needs origin_url"),
        (&["--access", "origin"], "needs origin_url (none, default)"),
        (&["--access", "proxy"], "needs trusted_proxies (none, default)"),
        (&["--token-secret=x"], "token_secret (***, --token-secret) is of no use without a token in access (none"),
        (&["--access=open", "--token-query=t"], "token_query (t, --token-query) is of no use without a token in"),
        (&["--access=open", "--origin-url=http://h"], "is of no use without origin in access (open, --access)"),
        (&["--event-bytes-max", "8MiB"], "log_bytes_max (4MiB, default) must not be smaller than event_bytes_max"),
        (&["--logs-bytes-max", "64KiB"], "logs_bytes_max (64KiB, --logs-bytes-max) must not be smaller"),
        (&["--uri-bytes-max", "32KiB"], "head_bytes_max (16KiB, default) must not be smaller than uri_bytes_max"),
    ];
    for (flags, part) in table {
        let faults = Said { flags, ..Said::default() }.faults();
        assert!(faults.len() == 1 && faults[0].contains(part), "{flags:?}: {faults:?}");
    }
}

#[test]
fn listeners_may_share_a_port_on_different_addresses_or_leave_it_to_the_system() {
    for flags in [["--listen", "127.0.0.2:8081"], ["--listen", "127.0.0.1:0"]] {
        Said { flags: &flags, ..Said::default() }.config();
    }
    Said { flags: &["--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"], ..Said::default() }.config();
}

#[test]
fn a_bad_value_is_not_judged_a_second_time_against_its_neighbour() {
    let said = Said { flags: &["--drain-window", "60x", "--drain-deadline", "5s"], ..Said::default() };
    assert_eq!(said.faults().len(), 1);
}

/// Settings without effect, or in contradiction, are reported with both places.
#[test]
fn a_value_that_cannot_be_read_is_no_reason_for_faults_of_others() {
    for said in [
        &["--redis-url", "redis://:hunter2@db:x", "--redis-username", "edge"][..],
        &["--redis-sentinels", "s1:x", "--redis-password", "hunter2", "--redis-sentinel-master", "m"],
        &["--redis-cluster-nodes", "n1:x", "--redis-log"],
        &["--redis-cluster-nodes", "n1:x", "--redis-url", "redis:///0"],
    ] {
        let faults = Said { flags: said, ..Said::default() }.faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with(said[0]), "{faults:?}");
    }
}

#[test]
fn settings_of_nats_that_do_not_go_together_are_told() {
    let table: [(&[&str], &str); 15] = [
        (&["--nats-url", "nats://n1", "--redis-url", "redis://db"], "must not be given beside redis_url"),
        (&["--nats-url", "nats://n1", "--redis-cluster-nodes", "n1"], "must not be given beside redis_cluster_nodes"),
        (&["--nats-stream", "EVENTS"], "is of no use without nats_url"),
        (&["--nats-token-file", "/x"], "is of no use without nats_url"),
        (&["--nats-nkey-file", "/x"], "is of no use without nats_url"),
        (&["--nats-credentials-file", "/x"], "is of no use without nats_url"),
        (&["--nats-tls-ca", "/x"], "is of no use without nats_url"),
        (&["--nats-url", "nats://n1", "--nats-tls-cert", "/x"], "must be given together with nats_tls_key"),
        (&["--nats-url", "nats://n1", "--nats-username", "edge"], "needs a password; give nats_password_file"),
        (&["--nats-url", "nats://n1", "--nats-password", "hunter2"], "is of no use without nats_username"),
        (&["--nats-url", "nats://n1", "--nats-password-file", "/x"], "is of no use without nats_username"),
        (
            &[
                "--nats-url",
                "nats://n1",
                "--nats-username",
                "e",
                "--nats-password",
                "hunter2",
                "--nats-token-file",
                "/x",
            ],
            "must not be given beside nats_token_file",
        ),
        (
            &["--nats-url", "nats://n1", "--nats-token-file", "/x", "--nats-nkey-file", "/x"],
            "must not be given beside nats_nkey_file",
        ),
        (
            &["--nats-url", "nats://n1", "--nats-nkey-file", "/x", "--nats-credentials-file", "/x"],
            "must not be given beside nats_credentials_file",
        ),
        (&["--nats-url", "nats://edge:hunter2@n1"], "an address holds no user"),
    ];
    for (flags, reason) in table {
        let faults = Said { flags, ..Said::default() }.faults();
        assert_eq!(faults.len(), 1, "{flags:?}: {faults:?}");
        assert!(faults[0].contains(reason) && !faults[0].contains("hunter2"), "{flags:?}: {faults:?}");
    }
}

#[test]
fn settings_of_redis_that_do_not_go_together_are_told() {
    let table: [(&[&str], &str); 22] = [
        (&["--redis-url", "redis:///0"], "redis_url (redis:///0, --redis-url) has no host"),
        (
            &["--redis-url", "redis://db", "--redis-sentinels", "s1", "--redis-sentinel-master", "m"],
            "take the host out",
        ),
        (&["--redis-url", "unix:///x", "--redis-sentinels", "s1", "--redis-sentinel-master", "m"], "take the host out"),
        (&["--redis-sentinels", "s1"], "redis_sentinels (s1:26379, --redis-sentinels) must be given together with"),
        (
            &["--redis-url", "redis://db", "--redis-cluster-nodes", "n1"],
            "redis_cluster_nodes (n1:6379, --redis-cluster",
        ),
        (
            &["--redis-cluster-nodes", "n1", "--redis-sentinels", "s1", "--redis-sentinel-master", "m"],
            "must not be given beside redis_sentinels",
        ),
        (&["--redis-sentinel-master", "m"], "must be given together with"),
        (&["--redis-url", "redis://db", "--redis-username", "edge"], "redis_username (edge, --redis-username) needs a"),
        (
            &["--redis-url", "redis://edge@db", "--redis-username", "edge", "--redis-password", "hunter2"],
            "beside a user in redis_url",
        ),
        (&["--redis-url", "redis://db", "--redis-password", "hunter2", "--redis-password-file", "/x"], "(***, --redis"),
        (&["--redis-url", "redis://:hunter2@db", "--redis-password", "hunter2"], "beside a password in redis_url"),
        (&["--redis-url", "redis://:hunter2@db", "--redis-password-file", "/x"], "beside a password in redis_url"),
        (&["--redis-password", "hunter2"], "is of no use without redis_url (none, default)"),
        (&["--redis-password-file", "/x"], "is of no use without redis_url (none, default)"),
        (&["--redis-url", "redis://db", "--redis-tls-ca", "/x"], "is of no use without rediss:// in redis_url"),
        (&["--redis-tls-ca", "/x"], "is of no use without rediss:// in redis_url (none, default)"),
        (&["--redis-url", "redis://db", "--redis-tls-cert", "/x", "--redis-tls-key", "/x"], "without rediss:// in"),
        (&["--redis-url", "rediss://db", "--redis-tls-cert", "/x"], "must be given together with redis_tls_key"),
        (&["--redis-url", "rediss://db", "--redis-tls-key", "/x"], "must be given together with redis_tls_key"),
        (&["--redis-url", "redis://db", "--redis-sentinel-password", "hunter2"], "of no use without redis_sentinels"),
        (
            &["--redis-url", "redis://db", "--redis-sentinel-password-file", "/x"],
            "--redis-sentinel-password-file: redis_sentinel_password_file (/x, --redis-sentinel-password-file) is of no use",
        ),
        (&["--redis-url", "redis://db", "--redis-sentinel-username", "edge"], "redis_sentinel_username (edge, --redis"),
    ];
    for (flags, reason) in table {
        let faults = Said { flags, ..Said::default() }.faults();
        assert!(faults.len() == 1 && faults[0].contains(reason), "{flags:?}: {faults:#?}");
        assert!(!faults[0].contains("hunter2"), "{faults:?}");
    }
}

#[test]
fn settings_of_redis_that_go_together_are_taken() {
    let sentinels = ["--redis-sentinels", "s1", "--redis-sentinels", "s2", "--redis-sentinel-master", "m"];
    let tls = ["--redis-tls-ca", "/x", "--redis-tls-cert", "/x", "--redis-tls-key", "/x"];
    let login = ["--redis-username", "edge", "--redis-password-file", "/x"];
    let taken: [Vec<&str>; 6] = [
        sentinels.to_vec(),
        [&["--redis-url", "rediss:///2"], &sentinels[..], &tls, &login].concat(),
        [&["--redis-sentinel-username", "s", "--redis-sentinel-password", "x"], &sentinels[..]].concat(),
        [&["--redis-url", "rediss://db"], &tls[..], &login].concat(),
        [&["--redis-url", "redis://edge@db", "--redis-password-file", "/x"][..]].concat(),
        [&["--redis-url", "redis://:x@db", "--redis-username", "edge"][..]].concat(),
    ];
    for flags in taken {
        Said { flags: &flags, ..Said::default() }.config();
    }
}

#[test]
fn no_output_of_a_config_shows_the_password() {
    let variables = [("FANTAIL_REDIS_PASSWORD", "hunter2"), ("FANTAIL_REDIS_URL", "redis://edge@db")];
    let config = Said { variables: &variables, ..Said::default() }.config();
    assert_eq!(config.redis.redis_password.as_ref().unwrap().expose(), "hunter2");
    assert!(!format!("{config:?} {config:#?} {:?}", config.effective()).contains("hunter2"));

    let config =
        Said { variables: &[("FANTAIL_REDIS_URL", "redis://edge:hunter2@db:6379")], ..Said::default() }.config();
    assert_eq!(config.feed.redis_url.as_ref().unwrap().expose(), "redis://edge:hunter2@db:6379");
    let outputs = format!("{config:?} {config:#?} {:?}", config.effective());
    assert!(outputs.contains("redis://edge:***@db:6379"));
    assert!(!outputs.contains("hunter2"), "{outputs}");
}

#[test]
fn no_fault_shows_a_password_wherever_it_was_mistyped() {
    let url = "redis://edge:hunter2@db/not-a-number";
    let table = [
        Said { file: "redis_url = \"redis://edge:hunter2@db/x\"", ..Said::default() },
        Said { variables: &[("FANTAIL_REDIS_URL", url)], ..Said::default() },
        Said { variables: &[("FANTAIL_REDIS", url)], ..Said::default() },
        Said { flags: &["--redis-url", url], ..Said::default() },
        Said { flags: &["--redis-ulr", url], ..Said::default() },
        Said { flags: &["--redis-ulr=redis://edge:hunter2@db"], ..Said::default() },
        Said { flags: &[url], ..Said::default() },
        Said { flags: &["--redis-url", url, "--redis-url", url], ..Said::default() },
    ];
    for said in table {
        let faults = said.faults();
        assert!(!faults.join("\n").contains("hunter2"), "{faults:?}");
    }
}
