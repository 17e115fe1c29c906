//! A stream of three replicas whose leader dies.

use fantail_feed::{NatsPublisher, NatsReach, NatsSettings};
use fantail_testkit::{NatsCluster, PATIENCE};
use fantail_wire::{Event, Publication};
use tokio::time::{Duration, Instant, sleep};

use crate::log_node::{LogNode, channel};

/// 1. Events are published one after the other, and the stream's leader is killed in the middle.
/// 2. Some publishes fail, and may have been taken.
/// 3. Another server leads. Every event that was accepted comes, once and in order.
#[tokio::test]
async fn the_death_of_the_streams_leader_loses_no_accepted_event() {
    let mut cluster = NatsCluster::start().await.unwrap();
    cluster.make_stream("EVENTS").await.unwrap();
    let servers = cluster.servers.iter().map(fantail_testkit::NatsServer::url).collect();
    let reach = NatsReach { servers, ..NatsReach::default() };
    let mut settings = NatsSettings::new(reach, Some("EVENTS".into())).unwrap();
    settings.probe_interval = Duration::from_millis(800);
    settings.response_deadline = Duration::from_secs(2);
    let mut node = LogNode::start_with(settings.clone());
    node.follow(&["a"]).await;

    let mut publisher = NatsPublisher::connect(settings.clone()).await.ok();
    let mut accepted = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    for number in 0..300 {
        if number == 100 {
            cluster.kill_leader_of("EVENTS").await.unwrap();
        }
        let publication = Publication::new([channel("a")], Event::text(number.to_string()));
        let is_taken = match &mut publisher {
            Some(publisher) => publisher.publish(&publication).await.is_ok(),
            None => false,
        };
        if is_taken {
            accepted.push(number.to_string());
        } else {
            assert!(Instant::now() < deadline, "no other server leads the stream");
            sleep(Duration::from_millis(50)).await;
            publisher = NatsPublisher::connect(settings.clone()).await.ok();
        }
    }
    assert!(accepted.len() > 120, "{} of 300 were accepted", accepted.len());
    node.until_data(accepted.last().unwrap()).await;
    let came = node.data();
    let mut rest = came.iter();
    for number in &accepted {
        assert!(rest.any(|other| other == number), "{number} was accepted and did not come in its place: {came:?}");
    }
    assert!(node.told().iter().all(|line| !line.starts_with("gap ") && line != "term"), "{:?}", node.told());
}
