//! Those who publish in a storm: over HTTP, or directly to Redis as other programs do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fantail_testkit::ledger::Composed;
use fantail_testkit::{LedgerPublisher, Random, RespConnection, http};
use serde_json::json;
use tokio::time::sleep;

use crate::disturbances::Storm;

/// Publishes one event after the other until the storm is over.
pub(crate) async fn publish_until_over(storm: Arc<Storm>, mut random: Random) {
    let mut publisher = storm.trial.ledger.publisher(random.clone());
    let mut redis = match storm.redis {
        Some(address) => Some(RespConnection::connect(address).await.unwrap()),
        None => None,
    };
    while !storm.trial.is_over() {
        if random.chance(1, 150) {
            publish_burst(&storm, &mut publisher, redis.as_mut(), &mut random).await;
        }
        let channels = storm.channel_set.choose_for_event(&mut random);
        let event = publisher.compose_for(&channels, size(&mut random));
        let accepted = match (&mut redis, channels.as_slice()) {
            (Some(redis), [channel]) if random.chance(1, 2) => {
                publish_to_redis(redis, channel, &event.text, random.chance(1, 2)).await;
                true
            }
            _ => publish_over_http(storm.internal, &channels, &event.text).await,
        };
        if accepted {
            publisher.confirm(&event);
        }
        sleep(Duration::from_millis(random.below(storm.disturbances.pause_ms_max))).await;
    }
}

/// Publishes more events at once than a short log holds, and than a shard takes out of a log at a time.
async fn publish_burst(
    storm: &Storm,
    publisher: &mut LedgerPublisher,
    redis: Option<&mut RespConnection>,
    random: &mut Random,
) {
    let channels = [storm.channel_set.choose_busy(random)[0], storm.channel_set.choose(random)[0]];
    let count = 100 + random.below(100);
    let mut compose = || {
        let channel = channels[random.below(2) as usize];
        (channel, publisher.compose(channel, 64 + random.below(192) as usize))
    };
    let events: Vec<_> = (0..count).map(|_| compose()).collect();
    let mut accepted = vec![true; events.len()];
    if let Some(redis) = redis {
        for (channel, event) in &events {
            redis.send(&["PUBLISH", &format!("fantail:{channel}"), &event.text]).await.unwrap();
        }
        for _ in &events {
            assert!(redis.reply().await.unwrap().integer().is_some());
        }
    } else {
        let item = |(channel, event): &(&str, Composed)| json!({ "channel": channel, "data": event.text });
        let body = serde_json::Value::Array(events.iter().map(item).collect()).to_string();
        let answer = http(storm.internal, "POST", "/publish", &[], body).await.unwrap();
        let results = answer.json().unwrap();
        accepted = results.as_array().unwrap().iter().map(|result| result["status"] == 202).collect();
    }
    for ((_, event), accepted) in events.iter().zip(accepted) {
        if accepted {
            publisher.confirm(event);
        }
    }
}

/// Whether the node took it. It does not while Redis is away; that is no loss, since its publisher knows.
pub(crate) async fn publish_over_http(internal: SocketAddr, channels: &[&str], data: &str) -> bool {
    let answer = if let [channel] = channels {
        http(internal, "POST", &format!("/publish/{channel}"), &[], data).await
    } else {
        http(internal, "POST", "/publish", &[], json!({ "channels": channels, "data": data }).to_string()).await
    };
    let answer = answer.unwrap();
    assert!([202, 503].contains(&answer.status), "{}: {}", answer.status, answer.text());
    answer.status == 202
}

async fn publish_to_redis(redis: &mut RespConnection, channel: &str, data: &str, in_envelope: bool) {
    if in_envelope {
        let payload = json!({ "data": data }).to_string();
        redis.publish(&format!("fantail-event:{channel}"), payload.as_bytes()).await.unwrap();
    } else {
        redis.publish(&format!("fantail:{channel}"), data.as_bytes()).await.unwrap();
    }
}

/// Bytes of an event: mostly small, some that fill a socket.
fn size(random: &mut Random) -> usize {
    let size = match random.below(20) {
        0..14 => 64 + random.below(448),
        14..19 => 512 + random.below(3_584),
        _ => 4_096 + random.below(16_384),
    };
    size as usize
}
