//! `fantail health`: its status is that of the node, wherever the node tells it.

use fantail_testkit::child::Child;
use fantail_testkit::{PATIENCE, Signal};

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

#[tokio::test]
async fn a_wrong_address_is_wrong_usage() {
    for arguments in [&["health", "--url", "127.0.0.1"][..], &["health", "--health-listen", "here"]] {
        let asked = run(arguments).await;
        assert_eq!(asked.status, Some(2), "{arguments:?}: {asked:?}");
    }
}
