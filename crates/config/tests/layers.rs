//! The layer that wins, the forms that each layer takes, and the silence of all outputs about secrets.

// A failed unwrap is how a test fails.
#![allow(clippy::unwrap_used)]

#[path = "common/said.rs"]
mod said;

use std::io;
use std::path::Path;
use std::time::Duration;

use fantail_config::{Flags, ListenAddress, SETTINGS, SlowPolicy, Source, resolve};

use said::{Said, flags, source_of};

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
        "internal_hosts" | "public_hosts" => "fantail,fantail.example",
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
        "health_token" | "nats_password" | "redis_password" | "redis_sentinel_password" | "token_secret" => "***",
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
        "bare_blocks" => "joined",
        "nats_events" => "owncloud",
        "token_claims_required" => "email,scope.user*",
        "log_file" => "/var/log/fantail.log",
        "cors_origin" => "https://a.example",
        "access" => "open",
        "revoked_answer" => "204",
        "token_keys" => "k=ES256:/etc/key.pem",
        "token_jwks" => "https://id.example/jwks",
        "token_jwks_ca" => "/etc/ca.pem",
        "token_issuers" | "token_audiences" | "token_channels_claim" => "x",
        "token_header" | "token_cookie" | "token_query" | "origin_headers" | "cors_headers" => "x-token",
        "channel_templates" => "user:{sub}",
        "origin_url" => "http://127.0.0.1:1/a",
        "internal_tokens" => "/run/t=publish:a.*+read",
        "trusted_proxies" => "10.0.0.0/8,192.0.2.7",
        "log_level" => "warn",
        "log_format" => "json",
        "listen_shared"
        | "http2_plain"
        | "nats_tls_insecure"
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
        | "streams_max"
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
        "control_events" | "http2" => "false",
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
            "nats_events" => vec![("FANTAIL_NATS_URL", "nats://n1"), ("FANTAIL_NATS_STREAM", "S")],
            "health_token" => vec![("FANTAIL_HEALTH_LISTEN", "127.0.0.1:0")],
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
fn a_bad_value_is_told_even_if_a_later_layer_hides_it() {
    let said = Said { file: "retry = \"x\"", flags: &["--retry", "1s"], ..Said::default() };
    assert_eq!(said.faults().len(), 1);
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
