//! Refused settings: those that are none, and those that do not go together.

// A failed unwrap is how a test fails.
#![allow(clippy::unwrap_used)]

#[path = "common/said.rs"]
mod said;

use fantail_access::HostPolicy;

use said::Said;

#[test]
fn a_log_in_redis_needs_a_redis() {
    let faults = Said { flags: &["--redis-log"], ..Said::default() }.faults();
    assert_eq!(faults, ["--redis-log: redis_log (true, --redis-log) must not be on without redis_url (none, default)"]);
    let said = Said { flags: &["--redis-log", "--redis-url=redis://db"], ..Said::default() };
    assert!(said.config().feed.redis_log);
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
