//! `fantail health`: its status is that of the node, wherever the node tells it.

use std::fs;

use fantail_testkit::child::Child;
use fantail_testkit::{Certificates, PATIENCE, Signal};

use crate::node::{node, until_ready};
use crate::running::{fantail, run, status};

#[tokio::test]
async fn the_status_of_the_command_is_that_of_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("health").display());
    // Nothing listens there, so the node waits for its feed.
    let waiting = node(&["--redis-url", "redis://127.0.0.1:1", "--health-listen", &socket]).await;
    let asked = run(&["health", "--health-listen", &socket]).await;
    assert_eq!(asked.status, Some(1), "{asked:?}");
    assert!(asked.stderr.contains("is not ready: the server answered 503"), "{}", asked.stderr);
    assert_eq!(run(&["health", "--live", "--health-listen", &socket]).await.status, Some(0), "it lives");
    drop(waiting);
    // The node of an image may have its other settings as flags, which this command does not see.
    let mut command = fantail(&["health"]);
    command.env("FANTAIL_LISTEN", "0.0.0.0:8080").env("FANTAIL_HEALTH_LISTEN", &socket);
    let mut child = Child::spawn("fantail health", &mut command).unwrap();
    assert_eq!(status(&mut child).await, Some(1), "it asks, and nobody answers any more: {:?}", child.output());

    let mut ready = node(&[]).await;
    until_ready(&ready, true).await;
    let internal = ready.internal().to_string();
    assert_eq!(run(&["health", "--internal-listen", &internal]).await.status, Some(0));
    assert_eq!(run(&["health", "--url", &format!("http://{internal}")]).await.status, Some(0));
    ready.signal(Signal::TERM).unwrap();
    ready.wait(PATIENCE).await.unwrap();
    let asked = run(&["health", "--internal-listen", &internal]).await;
    assert_eq!(asked.status, Some(1));
    assert!(asked.stderr.contains(&format!("cannot connect to {internal}")), "{}", asked.stderr);
}

/// The variables or the file of the node say that its internal listener speaks TLS, and the command needs no URL.
#[tokio::test]
async fn the_settings_of_a_node_that_serves_tls_lead_the_command_to_it_over_tls() {
    let certificates = Certificates::make().unwrap();
    let paths = [certificates.server(), certificates.server_key(), certificates.ca()];
    let [cert, key, ca] = paths.each_ref().map(|path| path.to_str().unwrap());
    let node = node(&["--internal-tls-cert", cert, "--internal-tls-key", key, "--internal-tls-client-ca", ca]).await;
    let internal = node.internal().to_string();
    let settings = [
        ("internal_listen", internal.as_str()),
        ("internal_tls_cert", cert),
        ("internal_tls_key", key),
        ("internal_tls_client_ca", ca),
    ];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fantail.toml");
    let lines: Vec<_> = settings.iter().map(|(key, value)| format!("{key} = \"{value}\"")).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    let (client, client_key) = (certificates.client(), certificates.client_key());
    let shown = ["--ca", ca, "--cert", client.to_str().unwrap(), "--key", client_key.to_str().unwrap()];
    let ask = async |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = fantail(&[&["health"], arguments].concat());
        command.envs(variables.iter().map(|(key, value)| (format!("FANTAIL_{}", key.to_uppercase()), value)));
        let mut child = Child::spawn("fantail health", &mut command).unwrap();
        (status(&mut child).await, child.output().stderr)
    };
    let by_file = ["--config", file.to_str().unwrap()];
    for (named, variables) in [(&[][..], &settings[..]), (&by_file[..], &[])] {
        assert_eq!(ask(&[named, &shown].concat(), variables).await.0, Some(0), "{named:?}");
        let (status, told) = ask(named, variables).await;
        assert!(status == Some(1) && told.contains("no known authority has signed"), "{status:?} {told}");
        let (status, told) = ask(&[named, &shown[..2]].concat(), variables).await;
        assert_eq!(status, Some(1), "without a certificate there is no answer: {told}");
    }
    // A node without these settings would be asked in clear, and does not answer.
    assert_eq!(ask(&[], &settings[..1]).await.0, Some(1));
}

#[tokio::test]
async fn a_wrong_address_is_wrong_usage() {
    for arguments in [&["health", "--url", "127.0.0.1"][..], &["health", "--health-listen", "here"]] {
        let asked = run(arguments).await;
        assert_eq!(asked.status, Some(2), "{arguments:?}: {asked:?}");
    }
}
