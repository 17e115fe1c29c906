//! CPU profiles, for the bearer of the token.

use std::net::SocketAddr;

use fantail_testkit::{Fantail, Response, http};
use pprof::protos::{Message, Profile};

use crate::node::{node, publish, until_said};

const TOKEN: &str = "a-token-of-health";

async fn profiled() -> (Fantail, SocketAddr) {
    let flags = ["--health-listen", "127.0.0.1:0", "--health-token", TOKEN, "--health-profiles"];
    let mut node = node(&flags).await;
    let health = node.health().await.unwrap();
    (node, health)
}

async fn ask(health: SocketAddr, query: &str) -> Response {
    let token = format!("Bearer {TOKEN}");
    http(health, "GET", &format!("/debug/pprof/profile{query}"), &[("Authorization", &token)], "").await.unwrap()
}

#[tokio::test]
async fn a_profile_names_the_functions_in_which_the_process_spends_its_time() {
    let (node, health) = profiled().await;
    let busy = async {
        loop {
            publish(&node, "a", "x").await;
        }
    };
    let answer = tokio::select! {
        answer = ask(health, "?seconds=2") => answer,
        () = busy => unreachable!("it goes on"),
    };
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
    let profile = Profile::decode(answer.body.as_slice()).unwrap();
    assert!(profile.sample.len() > 1, "there are samples");
    let names = profile.string_table.join("\n");
    assert!(names.contains("fantail::internal::Internal"), "{names}");
}

#[tokio::test]
async fn one_profile_is_taken_at_a_time() {
    let (node, health) = profiled().await;
    let second = async {
        until_said(&node, "a profile is taken", 1).await;
        ask(health, "?seconds=1").await
    };
    let (first, second) = tokio::join!(ask(health, "?seconds=1"), second);
    assert_eq!((first.status, second.status), (200, 409));
    assert_eq!(ask(health, "?seconds=1").await.status, 200, "and then another");
}

#[tokio::test]
async fn a_profile_needs_the_token_and_a_time_that_it_may_take() {
    let (_node, health) = profiled().await;
    for headers in [&[][..], &[("Authorization", "Bearer another")]] {
        let answer = http(health, "GET", "/debug/pprof/profile?seconds=1", headers, "").await.unwrap();
        assert_eq!(answer.status, 401);
    }
    for query in ["?seconds=0", "?seconds=61", "?seconds=x", "?seconds=", "?seconds=1.5"] {
        let answer = ask(health, query).await;
        assert_eq!((answer.status, &answer.json().unwrap()["field"]), (400, &"seconds".into()), "{query}");
    }
}

#[tokio::test]
async fn without_the_setting_there_are_no_profiles() {
    let mut node = node(&["--health-listen", "127.0.0.1:0", "--health-token", TOKEN]).await;
    let health = node.health().await.unwrap();
    assert_eq!(ask(health, "?seconds=1").await.status, 404);
}
