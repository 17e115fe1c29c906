//! One attack and its required outcome.

use std::net::SocketAddr;
use std::time::Duration;

use fantail_testkit::{End, Fantail, PATIENCE, http};
use tokio::time::timeout;

use crate::node::{Metrics, whole_log};
use crate::wire::{Wire, WireAnswer};

/// The bytes that an attacker wants to pass off as a request of its own.
pub(super) const SMUGGLED: &str = "GET /sse/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
pub(super) const SMUGGLED_PUBLISH: &str =
    "POST /publish/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";

/// No case takes longer, those included that wait for a deadline of the node.
const CASE_DEADLINE: Duration = Duration::from_secs(20);

/// One attack in one sentence, the bytes of a connection, and the required outcome.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) attack: String,
    pub(super) sends: Vec<u8>,
    pub(super) must: Must,
}

/// The required outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Must {
    /// One answer with this status, and the end of the connection.
    Be(u16),
    /// No answer, or one from 400 to 499.
    Refuse,
    /// Answers from 400 to 499, at most two: a refused request leaves no doubt where it ends.
    RefuseEach,
    /// A stream and nothing else: the attack has no effect.
    Serve,
}

pub(super) fn case(attack: impl Into<String>, sends: impl Into<Vec<u8>>, must: Must) -> Case {
    Case { attack: attack.into(), sends: sends.into(), must }
}

/// Tries all cases, one after the other, on connections of their own. The node must be as before: it has lost no
/// descriptor, has opened no stream beside the served ones, and has taken no event but `events`.
pub(super) async fn try_all(node: &Fantail, addr: SocketAddr, bearer: &str, cases: &[Case], events: u64) {
    let before = scrape(node, bearer).await;
    let mut faults = Vec::new();
    for case in cases {
        let judged = timeout(CASE_DEADLINE, judge(addr, case)).await;
        faults.extend(judged.unwrap_or_else(|_| Err(format!("{}: it hangs", case.attack))).err());
    }
    assert!(faults.is_empty(), "{} of {} attacks:\n{}", faults.len(), cases.len(), faults.join("\n"));
    let served = cases.iter().filter(|case| case.must == Must::Serve).count() as u64;
    let is_as_before = |now: &Metrics| {
        let added = |name: &str| now.count(name) - before.count(name);
        added("fantail_streams_opened_total") == served
            && added("fantail_events_in_total") == events
            && now.count("fantail_streams_open") == 0
            // The connections to the operator's service may stay: one of them at a time is in use.
            && now.number("process_open_fds") <= before.number("process_open_fds") + 1.0
    };
    let mut now = scrape(node, bearer).await;
    let started = tokio::time::Instant::now();
    while !is_as_before(&now) {
        assert!(started.elapsed() < PATIENCE, "{served} served, {events} events\n{}\n---\n{}", before.0, now.0);
        tokio::time::sleep(Duration::from_millis(5)).await;
        now = scrape(node, bearer).await;
    }
    let headers = [("Authorization", bearer)];
    let smuggled = http(node.internal(), "GET", "/channels/smuggled", &headers, "").await.unwrap();
    assert_eq!(smuggled.status, 404, "a second request was run: {}", smuggled.text());
    let log = whole_log(node).await;
    assert!(!log.contains("panicked"), "{log}");
}

async fn scrape(node: &Fantail, bearer: &str) -> Metrics {
    let answer = http(node.internal(), "GET", "/metrics", &[("Authorization", bearer)], "").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    Metrics(answer.text())
}

/// The outcome, if it is not the required one.
async fn judge(addr: SocketAddr, case: &Case) -> Result<(), String> {
    let Case { attack, sends, must } = case;
    let answers = answers(addr, sends, is_head_request(sends)).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.head.status).collect();
    let are_refusals = statuses.iter().all(|status| (400..500).contains(status));
    let is_as_it_must = match must {
        Must::Be(status) => statuses == [*status],
        Must::Refuse => are_refusals && statuses.len() <= 1,
        Must::RefuseEach => are_refusals && statuses.len() <= 2,
        Must::Serve => statuses == [200] && answers[0].head.header("content-type") == Some("text/event-stream"),
    };
    if !is_as_it_must || answers.iter().any(|answer| answer.end != End::Clean) {
        let said = answers.iter().map(|answer| String::from_utf8_lossy(&answer.body).into_owned()).collect::<String>();
        return Err(format!("{attack}: {must:?} and not {statuses:?} {said}"));
    }
    if *must == Must::Serve {
        answers[0].events(); // no torn frame
    }
    Ok(())
}

fn is_head_request(sends: &[u8]) -> &'static str {
    if sends.starts_with(b"HEAD ") { "HEAD" } else { "GET" }
}

/// Sends `bytes` on a connection of their own, says that nothing follows, and reads all answers and the close.
async fn answers(addr: SocketAddr, bytes: &[u8], method: &str) -> Vec<WireAnswer> {
    let mut wire = Wire::connect(addr).await;
    wire.send(bytes).await;
    wire.half_close().await;
    let mut answers = Vec::new();
    while let Some(answer) = wire.answer(method).await {
        answers.push(answer);
    }
    wire.rest().await;
    answers
}

/// A subscribe with this target and these more header lines, each with its line end.
pub(super) fn subscribe(target: &str, lines: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes()
}

/// A publish of this body; the connection ends behind it.
pub(super) fn post(target: &str, lines: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{lines}\r\n"
    );
    [head.as_bytes(), body].concat()
}
