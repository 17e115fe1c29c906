//! Faults and texts: messages before anything runs.

use std::net::TcpListener;

use fantail_config::SETTINGS;
use fantail_testkit::{Certificates, Fantail, PATIENCE, Signal};

use crate::node::FANTAIL;
use crate::running::run;

/// Everything is wrong at once: flags, variables, the file, and faults that only the part with a setting can see.
#[tokio::test]
async fn all_faults_of_all_layers_are_told_at_once_and_nothing_is_bound() {
    // A node that bound before it checked would meet this.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fantail.toml");
    std::fs::write(&file, "path = \"/sse\"\nlinger = \"soon\"\ntypo = 1\n").unwrap();
    let file = file.to_str().unwrap();

    let arguments = ["serve", "--config", file, "--listen", &address, "--worker", "2", "--retry=x", "--redis-url"];
    let arguments = [&arguments[..], &["redis://:hunter2%ff@127.0.0.1"]].concat();
    let variables = [("FANTAIL_CORS_ORIGIN", "https://a.example/path"), ("FANTAIL_LOG_LEVLE", "info")];
    let (status, output) = Fantail::run_to_end(FANTAIL, &arguments, &variables).await.unwrap();

    assert_eq!(status.code(), Some(2), "{output:?}");
    assert_eq!(output.stdout, "");
    let places = [
        &format!("{file}:2: "),
        &format!("{file}:3: "),
        "FANTAIL_CORS_ORIGIN: ",
        "FANTAIL_LOG_LEVLE: ",
        "--worker: ",
        "--retry: ",
        "--redis-url: ",
    ];
    for place in places {
        assert!(output.stderr.lines().any(|line| line.starts_with(place)), "{place}\n{}", output.stderr);
    }
    assert_eq!(output.stderr.lines().count(), places.len(), "{}", output.stderr);
    assert!(output.stderr.ends_with('\n') && !output.stderr.contains("hunter2"), "{}", output.stderr);
}

/// The settings may come from a file or a variable, so the fault names the setting and blames no command line.
#[tokio::test]
async fn a_file_that_cannot_be_used_is_told_with_the_setting_that_names_it() {
    let certificates = Certificates::make().unwrap();
    let others = Certificates::make().unwrap();
    let paths =
        [certificates.server(), certificates.server_key(), others.server_key()].map(|path| path.display().to_string());
    let [cert, key, other_key] = paths.each_ref().map(String::as_str);
    let (none, empty) = ("/no/such/file", "/dev/null");
    let tls = ["--tls-listen", "127.0.0.1:0"];
    let pair = [&tls[..], &["--tls-cert", cert, "--tls-key", key]].concat();
    for (flags, told) in [
        ([&tls[..], &["--tls-cert", none, "--tls-key", key]].concat(), format!("tls_cert {none}: No such file")),
        ([&tls[..], &["--tls-cert", cert, "--tls-key", none]].concat(), format!("tls_key {none}: No such file")),
        (
            [&tls[..], &["--tls-cert", cert, "--tls-key", other_key]].concat(),
            format!("tls_cert {cert} with tls_key {other_key}: the key does not belong to the certificate"),
        ),
        (
            [&tls[..], &["--tls-cert", empty, "--tls-key", key]].concat(),
            format!("tls_cert {empty} with tls_key {key}: tls_cert {empty}: the file holds no PEM block"),
        ),
        ([&pair[..], &["--tls-client-ca", none]].concat(), format!("tls_client_ca {none}: No such file")),
        (
            [&pair[..], &["--tls-client-ca", empty]].concat(),
            format!("tls_client_ca {empty}: the file holds no PEM block"),
        ),
        ([&pair[..], &["--tls-ticket-keys", empty]].concat(), format!("tls_ticket_keys {empty} has 0 bytes")),
        ([&tls[..], &["--tls-directory", none]].concat(), format!("tls_directory {none}: No such file")),
        (
            vec!["--internal-tls-cert", none, "--internal-tls-key", key],
            format!("internal_tls_cert {none}: No such file"),
        ),
        (vec!["--internal-tokens", "/no/such/file=read"], format!("internal_tokens: {none}: No such file")),
    ] {
        let outcome = run(&[&["serve"], &flags[..]].concat()).await;
        assert_eq!(outcome.status, Some(2), "{outcome:?}");
        assert!(outcome.stderr.starts_with(&format!("settings: {told}")), "{told}\n{}", outcome.stderr);
    }
}

/// A URL that looks right but that the Redis client refuses must not end a start half-way.
#[tokio::test]
async fn a_redis_url_that_only_the_client_refuses_is_a_fault_of_its_place() {
    let url = "redis://:hunter2%ff@127.0.0.1";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fantail.toml");
    std::fs::write(&file, format!("# a comment\nredis_url = {url:?}\n")).unwrap();
    let file = file.to_str().unwrap();
    for (arguments, variables, place) in [
        (&["serve", "--redis-url", url][..], &[][..], "--redis-url: ".to_owned()),
        (&["serve"], &[("FANTAIL_REDIS_URL", url)], "FANTAIL_REDIS_URL: ".to_owned()),
        (&["serve", "--config", file], &[], format!("{file}:2: ")),
    ] {
        let (status, output) = Fantail::run_to_end(FANTAIL, arguments, variables).await.unwrap();
        assert_eq!(status.code(), Some(2), "{output:?}");
        assert!(output.stderr.starts_with(&place) && output.stderr.lines().count() == 1, "{}", output.stderr);
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    }
}

/// Every line of a log that a collector reads as JSON, those before the log was set up included.
#[track_caller]
fn json_lines(stdout: &str, stderr: &str) -> Vec<serde_json::Value> {
    let lines = stdout.lines().chain(stderr.lines());
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[tokio::test]
async fn with_the_format_json_every_line_is_json_from_the_first_to_the_last() {
    let serve = ["serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--internal-listen"];
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let arguments = [&serve[..], &["127.0.0.1:0"]].concat();
    let mut node = Fantail::start(FANTAIL, &arguments, &[]).await.unwrap();
    node.signal(Signal::TERM).unwrap();
    assert_eq!(node.wait(PATIENCE).await.unwrap().code(), Some(0));
    let lines = json_lines(&node.output().stdout, &node.output().stderr);
    assert!(lines.iter().any(|line| line["message"] == "serving" && line["internal"].is_string()), "{lines:?}");

    // An error at the end, whatever the level.
    let arguments = [&serve[..], &[&address, "--log-level", "off"]].concat();
    let (status, output) = Fantail::run_to_end(FANTAIL, &arguments, &[]).await.unwrap();
    let lines = json_lines(&output.stdout, &output.stderr);
    assert_eq!((status.code(), lines.len()), (Some(1), 1), "{output:?}");
    assert_eq!(lines[0]["level"], "ERROR");
    assert!(lines[0]["message"].as_str().unwrap().contains("cannot listen on"), "{lines:?}");

    // Faults of the settings, wherever the format was set.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fantail.toml");
    std::fs::write(&file, "typo = 1\nlog_format = \"json\"\n").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, variables) in [
        (&["serve", "--log-format", "json", "--retry=x", "--worker"][..], &[][..]),
        (&["serve", "--retry=x", "--worker"], &[("FANTAIL_LOG_FORMAT", "json")]),
        (&["serve", "--retry=x"], &[("FANTAIL_CONFIG", file)]),
    ] {
        let (status, output) = Fantail::run_to_end(FANTAIL, arguments, variables).await.unwrap();
        let lines = json_lines(&output.stdout, &output.stderr);
        assert_eq!((status.code(), lines.len()), (Some(2), 2), "{output:?}");
        assert!(lines.iter().any(|line| line["message"].as_str().unwrap().starts_with("--retry: ")), "{lines:?}");
    }
}

#[tokio::test]
async fn help_lists_the_tasks_and_a_quick_start() {
    for arguments in [&[][..], &["--help"], &["-h"], &["help"]] {
        let help = run(arguments).await;
        assert_eq!((help.status, help.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let tasks = ["\n  serve ", "\n  subscribe ", "\n  publish ", "\n  token "];
        for part in [&["Server-Sent Events", "\n  fantail publish demo hello\n"], &tasks[..]].concat() {
            assert!(help.stdout.contains(part), "{part:?} in\n{}", help.stdout);
        }
    }
}

#[tokio::test]
async fn help_of_a_task_tells_all_its_flags() {
    let settings: Vec<_> = SETTINGS.iter().map(fantail_config::Setting::flag).collect();
    let of_subscribe = ["--json", "--data", "--last-event-id", "--limit", "--header", "--no-reconnect"];
    let of_publish = ["--url", "--redis-url", "--channel", "--event", "--id", "--retry", "--lines", "--quiet", "-q,"];
    let of_mint = ["--key-file", "--algorithm", "--kid", "--sub", "--channels", "--claim", "--expires-in"];
    let of_inspect = ["--config", "--access", "--token-keys", "--token-jwks", "--token-issuers", "--channel-templates"];
    for (task, flags) in [
        ("serve", settings.iter().map(String::as_str).collect::<Vec<_>>()),
        ("subscribe", of_subscribe.to_vec()),
        ("publish", of_publish.to_vec()),
        ("token mint", of_mint.to_vec()),
        ("token inspect", of_inspect.to_vec()),
    ] {
        let words: Vec<_> = task.split(' ').collect();
        for arguments in [[&["help"], &words[..]].concat(), [&words[..], &["--help"]].concat()] {
            let help = run(&arguments).await;
            assert_eq!(help.status, Some(0));
            assert!(help.stdout.contains(&format!("Usage: fantail {task} ")), "{}", help.stdout);
            for flag in &flags {
                let entry = help.stdout.lines().any(|line| line.trim_start().contains(flag) && line.starts_with("  "));
                assert!(entry, "{flag} in\n{}", help.stdout);
            }
        }
    }
}

#[tokio::test]
async fn the_version_is_told() {
    for arguments in [&["--version"][..], &["-V"], &["serve", "--version"]] {
        let version = run(arguments).await;
        let expected = format!("fantail {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!((version.status, version.stdout), (Some(0), expected), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_mistyped_task_is_corrected() {
    let outcome = run(&["sevre", "--workers", "2"]).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(2), ""));
    assert!(outcome.stderr.contains("'sevre'") && outcome.stderr.contains("'serve'"), "{}", outcome.stderr);
    let outcome = run(&["--frobnicate"]).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(2), ""));
    assert!(outcome.stderr.contains("--frobnicate"), "{}", outcome.stderr);
}
