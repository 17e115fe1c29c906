//! Following is a wish: confirmed when Redis does it, asked for once, given up when it is let go.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fantail_feed::RedisSettings;
use fantail_testkit::{Random, RedisServer};

use crate::feed_node::{FeedNews, FeedNode, channel, eventually};

const CHANNELS: usize = 8;

async fn subscribe_commands(server: &RedisServer) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]).await.unwrap().text().unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_subscribe:calls="));
    calls.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn a_channel_costs_one_subscribe_however_often_it_is_followed() {
    let server = RedisServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a"]).await;
    let before = subscribe_commands(&server).await;
    for _ in 0..100 {
        node.feed.follow(&channel("b"));
    }
    node.follow(&["a", "b"]).await;
    node.follow(&["a", "b"]).await;
    assert_eq!(subscribe_commands(&server).await - before, 1);
    assert_eq!(server.pubsub_numsub("fantail:b").await.unwrap(), 1);
    assert_eq!(server.pubsub_numsub("fantail-event:b").await.unwrap(), 1);
}

#[tokio::test]
async fn an_unfollowed_channel_has_no_subscriber_left_and_says_nothing_more() {
    let server = RedisServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a", "b"]).await;
    node.feed.unfollow(&channel("a"));
    server.publish("fantail:a", "unfollow means now").await.unwrap();
    server.wait_for_subscribers("fantail:a", 0).await.unwrap();
    server.wait_for_subscribers("fantail-event:a", 0).await.unwrap();
    server.publish("fantail:b", "x").await.unwrap();
    assert_eq!(node.data(1).await, ["x"]);
}

#[tokio::test]
async fn ten_thousand_channels_are_asked_for_in_a_few_commands() {
    let server = RedisServer::start().await.unwrap();
    let names: Vec<_> = (0..10_000).map(|number| format!("c/{number}")).collect();
    let mut node = FeedNode::start(&server.url());
    let before = subscribe_commands(&server).await;
    for name in &names {
        node.feed.follow(&channel(name));
    }
    node.wait_for("all confirmations", |told| {
        told.iter().filter(|told| matches!(told, FeedNews::Followed(_))).count() >= 10_000
    })
    .await;
    let commands = subscribe_commands(&server).await - before;
    assert!(commands <= 22, "{commands} commands");
}

/// 1. A user may subscribe to `open/…` only.
/// 2. A client asks for another channel, in one batch with permitted ones.
/// 3. The permitted ones are followed, the connection stands, and nothing is asked in a loop.
/// 4. The channel is permitted, followed again, and comes.
#[tokio::test]
async fn a_forbidden_channel_keeps_neither_others_nor_the_feed_out() {
    let server = RedisServer::start().await.unwrap();
    let user = ["ACL", "SETUSER", "edge", "on", ">secret", "+@all"];
    let allow = |name| format!("&{name}");
    let allowed = ["fantail:open/*", "fantail-event:open/*", "fantail-service:*"].map(allow);
    let arguments: Vec<_> = user.into_iter().chain(allowed.iter().map(String::as_str)).collect();
    assert_eq!(server.command(&arguments).await.unwrap().text().unwrap(), "OK");

    let mut node = FeedNode::start(&format!("redis://edge:secret@{}", server.addr()));
    for name in ["open/1", "open/2", "closed", "open/3"] {
        node.feed.follow(&channel(name));
    }
    node.follow(&["open/1", "open/2", "open/3"]).await;
    eventually("the refusal", async || node.feed.counters().follows_refused.load(Relaxed) == 1).await;
    server.publish("fantail:open/3", "x").await.unwrap();
    assert_eq!(node.data(1).await, ["x"]);
    assert_eq!((node.times(&FeedNews::Lost), node.times(&FeedNews::Followed("closed".into()))), (0, 0));

    server.command(&["ACL", "SETUSER", "edge", "&fantail:closed", "&fantail-event:closed"]).await.unwrap();
    node.follow(&["closed"]).await;
    assert_eq!(node.feed.counters().follows_refused.load(Relaxed), 1);
}

/// 5,000 random follows, unfollows and publishes over few channels, so that old answers meet new wishes all the time.
#[tokio::test]
async fn whatever_is_published_while_a_channel_is_confirmed_arrives_through_any_churn() {
    let seed = Random::from_entropy().next_u64();
    println!("seed {seed}");
    let mut random = Random::from_seed(seed);
    let server = RedisServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["seed"]).await;
    let mut publisher = server.connection().await.unwrap();
    let names: Vec<_> = (0..CHANNELS).map(|number| format!("c{number}")).collect();
    // Of each followed channel: where in the record it was asked for, and what was published since it was confirmed.
    let mut asked: HashMap<usize, (usize, Vec<String>)> = HashMap::new();
    for step in 0..5_000 {
        let number = usize::try_from(random.below(CHANNELS as u64)).unwrap();
        match random.below(4) {
            0 => {
                let from = node.intake.lock().told.len();
                node.feed.follow(&channel(&names[number]));
                asked.entry(number).or_insert((from, Vec::new()));
            }
            1 => {
                if let Some((from, owed)) = asked.remove(&number) {
                    // Half of the time what is owed is waited for, the other half it is let go with the channel.
                    if random.below(2) == 0 {
                        arrived(&mut node, &names[number], from, &owed).await;
                    }
                    node.feed.unfollow(&channel(&names[number]));
                }
            }
            _ => {
                let followed = FeedNews::Followed(names[number].clone());
                if let Some((from, owed)) = asked.get_mut(&number)
                    && node.intake.lock().told[*from..].contains(&followed)
                {
                    owed.push(step.to_string());
                }
                let (prefix, payload) = match random.below(2) {
                    0 => ("fantail:", step.to_string()),
                    _ => ("fantail-event:", format!("{{\"data\":\"{step}\"}}")),
                };
                publisher.publish(&format!("{prefix}{}", names[number]), payload.as_bytes()).await.unwrap();
            }
        }
    }
    for (number, (from, owed)) in asked {
        arrived(&mut node, &names[number], from, &owed).await;
    }
    let order: Vec<u64> = node.events().iter().map(|(_, event)| event.data.parse().unwrap()).collect();
    assert!(order.is_sorted_by(|one, next| one < next), "each event once and in order");
    assert!(order.len() > 500, "only {} events arrived: the test did not test", order.len());
    assert_eq!(node.times(&FeedNews::Lost), 0);
}

async fn arrived(node: &mut FeedNode, name: &str, from: usize, owed: &[String]) {
    let what = format!("the arrival of {owed:?} on {name}");
    node.wait_for(&what, |told| {
        let data: Vec<_> = told[from..].iter().filter_map(|told| data_on(told, name)).collect();
        owed.iter().all(|owed| data.contains(&owed.as_str()))
    })
    .await;
}

fn data_on<'a>(told: &'a FeedNews, name: &str) -> Option<&'a str> {
    match told {
        FeedNews::Event(channels, event) if channels == &[name] => Some(&event.data),
        _ => None,
    }
}

/// 1. A channel is followed.
/// 2. Its right is taken away, which ends the connection, and the channel is refused on the next one.
/// 3. The right is given back, and nobody asks for the channel: its streams are still open.
#[tokio::test]
async fn a_channel_that_was_refused_comes_back_when_its_right_does() {
    let server = RedisServer::start().await.unwrap();
    let user = ["ACL", "SETUSER", "edge", "on", ">secret", "+@all", "&*"];
    server.command(&user).await.unwrap();
    let mut settings = RedisSettings::parse(&format!("redis://edge:secret@{}", server.addr())).unwrap();
    settings.probe_interval = Duration::from_millis(100);
    let mut node = FeedNode::start_with(settings);
    node.follow(&["a"]).await;
    server.command(&["ACL", "SETUSER", "edge", "resetchannels", "&fantail-service:*"]).await.unwrap();
    eventually("the refusal", async || node.feed.counters().follows_refused.load(Relaxed) >= 1).await;
    let from = node.intake.lock().told.len();
    server.command(&["ACL", "SETUSER", "edge", "allchannels"]).await.unwrap();
    node.wait_for("the channel", |told| told[from..].contains(&FeedNews::Followed("a".into()))).await;
    server.publish("fantail:a", "again").await.unwrap();
    assert_eq!(node.data(1).await, ["again"]);
}
