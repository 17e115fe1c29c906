//! `fantail subscribe` and `fantail publish` with https, against a real nginx in front of a node.

use std::net::SocketAddr;

use fantail_testkit::certificates::Certificates;
use fantail_testkit::child::Child;
use fantail_testkit::{Nginx, PATIENCE};
use serde_json::Value;

use crate::node::{node, publish};
use crate::running::{fantail, lines, noted, run, status, subscriber};

/// nginx in its usual place: TLS outside, plain HTTP to the node.
async fn nginx_with_tls(upstream: SocketAddr, certificates: &Certificates) -> Nginx {
    let (certificate, key) = (certificates.server(), certificates.server_key());
    let site = |port| {
        format!(
            "server {{
                listen 127.0.0.1:{port} ssl;
                ssl_certificate {};
                ssl_certificate_key {};
                location / {{ proxy_pass http://{upstream}; }}
            }}",
            certificate.display(),
            key.display()
        )
    };
    Nginx::start_site(site).await.unwrap()
}

fn url(nginx: &Nginx, host: &str, path: &str) -> String {
    format!("https://{host}:{}{path}", nginx.addr().port())
}

/// 1. A stream is followed over TLS, by address and by name, and an event comes.
/// 2. The node ends the stream. The command comes back with the id, over TLS again, and the next event comes once.
#[tokio::test]
async fn a_stream_is_followed_over_tls_and_comes_back_over_tls() {
    let certificates = Certificates::make().unwrap();
    let node = node(&["--retry", "10ms"]).await;
    let nginx = nginx_with_tls(node.public(), &certificates).await;
    let ca = certificates.ca();
    let ca = ca.to_str().unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let mut child = subscriber(&["--data", "--ca", ca, &url(&nginx, host, "/sse/a?limit=1")]);
        noted(&mut child, "connected to ").await;
        publish(&node, "a", "one").await;
        lines(&mut child, 1).await;
        noted(&mut child, "the stream ended; connecting again").await;
        publish(&node, "a", "two").await;
        assert_eq!(lines(&mut child, 2).await, ["one", "two"], "{host}");
    }
}

#[tokio::test]
async fn an_event_is_published_over_tls() {
    let certificates = Certificates::make().unwrap();
    let node = node(&[]).await;
    let nginx = nginx_with_tls(node.internal(), &certificates).await;
    let (ca, url) = (certificates.ca(), url(&nginx, "localhost", ""));
    let outcome = run(&["publish", "--url", &url, "--ca", ca.to_str().unwrap(), "a", "x"]).await;
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let receipt: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(receipt["subscribers"], 0);
    let outcome = run(&["publish", "--url", &url, "a", "x"]).await;
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("no known authority has signed"), "{}", outcome.stderr);
}

#[tokio::test]
async fn an_event_is_published_with_a_certificate_to_an_internal_listener_that_asks_for_one() {
    let certificates = Certificates::make().unwrap();
    let paths = [
        certificates.server(),
        certificates.server_key(),
        certificates.ca(),
        certificates.client(),
        certificates.client_key(),
    ];
    let [server, server_key, ca, client, client_key] = paths.each_ref().map(|path| path.to_str().unwrap());
    let flags = ["--internal-tls-cert", server, "--internal-tls-key", server_key, "--internal-tls-client-ca", ca];
    let node = node(&flags).await;
    let url = format!("https://{}", node.internal());
    let shown = ["--cert", client, "--key", client_key];
    for command in [&["publish", "--url", &url, "--ca", ca, "a", "x"][..], &["health", "--url", &url, "--ca", ca]] {
        let (name, rest) = command.split_first().unwrap();
        let outcome = run(&[&[*name], &shown[..], rest].concat()).await;
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert_eq!(run(command).await.status, Some(1), "without it there is no answer");
    }
}

#[tokio::test]
async fn without_a_file_the_authorities_of_the_system_count() {
    let certificates = Certificates::make().unwrap();
    let node = node(&[]).await;
    publish(&node, "a", "x").await;
    let nginx = nginx_with_tls(node.public(), &certificates).await;
    let url = url(&nginx, "localhost", "/sse/a?replay=1");
    let start = |authorities: &std::path::Path| {
        let mut command = fantail(&["subscribe", "--data", "--limit", "1", &url]);
        // The variable tells every program where the system keeps them.
        command.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
        Child::spawn("fantail subscribe", &mut command).unwrap()
    };
    let mut trusting = start(&certificates.ca());
    assert_eq!(lines(&mut trusting, 1).await, ["x"]);
    assert_eq!(trusting.wait(PATIENCE).await.unwrap().code(), Some(0));

    let others = Certificates::make().unwrap();
    let mut doubting = start(&others.ca());
    noted(&mut doubting, "no known authority has signed; name the file of its authority with --ca").await;
    assert_eq!(status(&mut doubting).await, Some(1));

    let mut lost = start(std::path::Path::new("/no/such/file"));
    noted(&mut lost, "URL: this system's certificate authorities cannot be read").await;
    assert_eq!(status(&mut lost).await, Some(2));
}

/// Trying again would not help, so the command ends though it would otherwise come back for ever.
#[tokio::test]
async fn a_certificate_that_is_not_accepted_ends_the_command_with_its_reason() {
    let node = node(&[]).await;
    let another_name = Certificates::make_for(&["other.example", "10.0.0.1"]).unwrap();
    for (certificates, reason) in [
        (another_name, "shows a certificate for another name: other.example, 10.0.0.1"),
        (Certificates::make_expired().unwrap(), "shows a certificate that has expired"),
        (Certificates::make_self_signed(true).unwrap(), "shows the certificate of an authority"),
    ] {
        let nginx = nginx_with_tls(node.public(), &certificates).await;
        let (ca, url) = (certificates.ca(), url(&nginx, "localhost", "/sse/a"));
        let outcome = run(&["subscribe", "--ca", ca.to_str().unwrap(), &url]).await;
        assert_eq!(outcome.status, Some(1), "{outcome:?}");
        let address = format!("cannot speak TLS with localhost:{}: the server ", nginx.addr().port());
        assert!(outcome.stderr.contains(&format!("{address}{reason}")), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn a_server_that_signed_its_own_certificate_is_trusted_by_that() {
    let certificates = Certificates::make_self_signed(false).unwrap();
    let node = node(&[]).await;
    publish(&node, "a", "x").await;
    let nginx = nginx_with_tls(node.public(), &certificates).await;
    let (ca, url) = (certificates.ca(), url(&nginx, "localhost", "/sse/a?replay=1"));
    let outcome = run(&["subscribe", "--data", "--limit", "1", "--ca", ca.to_str().unwrap(), &url]).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), "x\n"), "{outcome:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_is_away() {
    let certificates = Certificates::make().unwrap();
    let node = node(&[]).await;
    let ca = certificates.ca();
    let outcome = run(&["subscribe", "--ca", ca.to_str().unwrap(), &format!("https://{}/sse/a", node.public())]).await;
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("does not speak TLS; try an http:// url"), "{}", outcome.stderr);
}
