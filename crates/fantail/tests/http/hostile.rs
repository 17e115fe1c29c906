//! Hostile input at every entrance: each case is an attack in one sentence, what is sent, and what must come of it.
//!
//! One file holds the table of one entrance, `hostile/case.rs` the judge. Each table runs against one node, one case after the
//! other, and the node must come out of it as it was: no descriptor is lost, no stream was opened and no event was taken but
//! those that the table allows.

mod case;
mod claims;
mod credentials;
mod internal_tokens;
mod jws;
mod origins;
mod pages;
mod proxies;
mod publishing;
mod redis_payloads;
mod smuggling;
mod targets;
mod tokens;

use std::collections::HashSet;
use std::fs;

use fantail_testkit::{Fantail, http};

use self::case::{Case, try_all};
use self::jws::{ISSUER, Keys};
use crate::node::node;
use crate::origin::TestOrigin;

/// The suite does not shrink below this by mistake.
const CASES_MIN: usize = 600;

#[test]
fn there_are_at_least_600_cases_and_no_two_are_the_same() {
    let keys = Keys::make();
    let answers = origins::answers();
    let areas: [(&str, Vec<Case>); 12] = [
        ("smuggling at the public listener", smuggling::at_the_public_listener()),
        ("smuggling at the internal listener", smuggling::at_the_internal_listener()),
        ("targets, cursors and heads", targets::cases()),
        ("pages at the internal listener", pages::cases()),
        ("tokens", tokens::cases(&keys)),
        ("claims and templates", claims::cases()),
        ("places of tokens, cookies", credentials::cases()),
        ("answers of the operator's service", origins::cases(&answers)),
        ("header fields of strangers", proxies::of_strangers()),
        ("header fields of proxies", proxies::of_proxies()),
        ("internal tokens", internal_tokens::cases()),
        ("publishes and revocations", publishing::cases()),
    ];
    let payloads = redis_payloads::payloads();
    let (mut attacks, mut inputs, mut count) = (HashSet::new(), HashSet::new(), 0);
    for (area, cases) in &areas {
        println!("{area}: {}", cases.len());
        for case in cases {
            assert!(attacks.insert((*area, case.attack.clone())), "two cases say: {}", case.attack);
            assert!(inputs.insert((area, case.sends.clone())), "two cases are the same: {}", case.attack);
        }
        count += cases.len();
    }
    for (attack, channel, payload, _) in &payloads {
        assert!(attacks.insert(("redis", attack.clone())), "two cases say: {attack}");
        assert!(inputs.insert((channel, payload.clone())), "two cases are the same: {attack}");
    }
    let bytes: HashSet<_> = answers.iter().map(|(_, bytes, target, _)| (bytes, target)).collect();
    assert!(bytes.len() + 4 > answers.len(), "answers are the same but for the few that follow another one");
    count += payloads.len();
    println!("payloads of redis: {}\nall: {count}", payloads.len());
    assert!(count >= CASES_MIN, "{count} cases");
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_run() {
    let node = node(&["--request-deadline", "5s"]).await;
    warm(&node, "").await;
    try_all(&node, node.public(), "", &smuggling::at_the_public_listener(), 0).await;
    try_all(&node, node.internal(), "", &smuggling::at_the_internal_listener(), 0).await;
}

#[tokio::test]
async fn no_target_query_cursor_or_head_opens_what_it_should_not() {
    let node = node(&["--channels-per-stream-max", "4"]).await;
    warm(&node, "").await;
    try_all(&node, node.public(), "", &targets::cases(), 0).await;
}

#[tokio::test]
async fn a_web_page_reads_and_publishes_nothing_at_the_internal_listener() {
    let node = node(&[]).await;
    warm(&node, "").await;
    try_all(&node, node.internal(), "", &pages::cases(), 0).await;
}

#[tokio::test]
async fn no_body_target_or_batch_publishes_what_it_should_not() {
    let node = node(&[]).await;
    warm(&node, "").await;
    try_all(&node, node.internal(), "", &publishing::cases(), publishing::PUBLISHED).await;
}

#[tokio::test]
async fn a_token_that_nobody_signed_opens_nothing_and_no_claim_breaks_out_of_its_place() {
    let keys = Keys::make();
    let setting = keys.setting();
    let node = node(&[
        "--access",
        "token",
        "--token-keys",
        &setting,
        "--channel-templates",
        "user:{sub},org:{org}:news,team:{team},deep:{a.b}",
        "--token-issuers",
        ISSUER,
        "--token-audiences",
        "fantail",
        "--token-leeway",
        "0s",
        "--token-header",
        "X-Token",
        "--token-cookie",
        "session",
        "--token-query",
        "tok",
        "--cors-origin",
        "https://app.example",
    ])
    .await;
    warm(&node, "").await;
    try_all(&node, node.public(), "", &tokens::cases(&keys), 0).await;
    try_all(&node, node.public(), "", &claims::cases(), 0).await;
    try_all(&node, node.public(), "", &credentials::cases(), 0).await;
}

#[tokio::test]
async fn an_answer_of_the_operators_service_that_is_none_lets_nobody_in() {
    let answers = origins::answers();
    let bytes: Vec<_> = answers.iter().map(|(_, bytes, ..)| bytes.clone()).collect();
    let service = TestOrigin::start(move |head| {
        let number = head.lines().find_map(|line| line.strip_prefix("x-case: ")).and_then(|n| n.parse::<usize>().ok());
        number.map_or_else(|| "HTTP/1.1 204 No Content\r\n\r\n".to_owned(), |number| bytes[number].clone())
    })
    .await;
    let url = service.url("/authorize");
    let node = node(&[
        "--access",
        "origin",
        "--origin-url",
        &url,
        "--origin-headers",
        "x-case",
        "--origin-cache",
        "0s",
        "--origin-deadline",
        "500ms",
    ])
    .await;
    warm(&node, "").await;
    try_all(&node, node.public(), "", &origins::cases(&answers), 0).await;
}

#[tokio::test]
async fn header_fields_of_a_grant_are_believed_from_the_operators_proxy_alone_and_once_each() {
    let distrusting = node(&["--access", "proxy", "--trusted-proxies", "192.0.2.1"]).await;
    warm(&distrusting, "").await;
    try_all(&distrusting, distrusting.public(), "", &proxies::of_strangers(), 0).await;
    let trusting = node(&["--access", "proxy", "--trusted-proxies", "127.0.0.1"]).await;
    warm(&trusting, "").await;
    try_all(&trusting, trusting.public(), "", &proxies::of_proxies(), 0).await;
}

#[tokio::test]
async fn a_token_of_the_internal_listener_that_is_nearly_right_does_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, token: &str| {
        let path = directory.path().join(name);
        fs::write(&path, token).unwrap();
        path.display().to_string()
    };
    let publisher = file("publisher", internal_tokens::PUBLISHER);
    let operator = file("operator", internal_tokens::OPERATOR);
    let tokens = format!("{publisher}=publish:orders.*+publish:news,{operator}=operate+read");
    let node = node(&["--internal-tokens", &tokens]).await;
    let bearer = format!("Bearer {}", internal_tokens::OPERATOR);
    warm(&node, &bearer).await;
    try_all(&node, node.internal(), &bearer, &internal_tokens::cases(), 0).await;
}

#[tokio::test]
async fn no_payload_of_redis_breaks_a_stream() {
    redis_payloads::try_all().await;
}

/// Opens what is opened once and stays: what is lost afterwards was lost by an attack.
async fn warm(node: &Fantail, bearer: &str) {
    for addr in [node.public(), node.internal()] {
        for path in ["/sse/a", "/metrics"] {
            let _ = http(addr, "HEAD", path, &[("Authorization", bearer)], "").await;
        }
    }
}
