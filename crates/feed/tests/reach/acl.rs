//! Users with the least rights, with too few, and with a password that changes.

use fantail_feed::{FeedState, PublishError, RedisPublisher, RedisReach, RedisSettings};
use fantail_testkit::{RedisServer, Reply};
use fantail_wire::EventFields;

use crate::feed_node::{FeedNews, FeedNode, channel, eventually, publication, text};
use crate::log;
use crate::patience::{count, hellos, impatient, losses, until_failed, until_state};

const PAGE: &str = include_str!("../../../../docs/redis.md");
const PASSWORD: &str = "hunter2-of-the-acl";

/// Makes the user that the page about Redis tells to make, with our password.
async fn documented_user(redis: &RedisServer, user: &str) {
    let begin = format!("ACL SETUSER {user} ");
    let line = PAGE.lines().map(str::trim).find(|line| line.starts_with(&begin)).unwrap();
    set_user(redis, &line.replace(">change-me", &format!(">{PASSWORD}"))).await;
}

async fn set_user(redis: &RedisServer, command: &str) {
    let words: Vec<_> = command.split_whitespace().collect();
    assert_eq!(redis.command(&words).await.unwrap(), Reply::Simple("OK".into()), "{command}");
}

fn reach(redis: &RedisServer, user: &str, password: &str) -> RedisReach {
    let (username, password) = (Some(user.into()), Some(password.into()));
    RedisReach { url: format!("redis://{}", redis.addr()), username, password, ..RedisReach::default() }
}

#[tokio::test]
async fn the_documented_user_may_do_all_that_a_node_does() {
    let redis = RedisServer::start().await.unwrap();
    documented_user(&redis, "fantail").await;
    let mut node = impatient(reach(&redis, "fantail", PASSWORD));
    node.follow(&["a", "b"]).await;
    redis.publish("fantail:a", "1").await.unwrap();
    node.data(1).await;
    node.feed.publish(&publication(&["a"], text("2"))).await.unwrap();
    node.feed.publish(&publication(&["a", "b"], text("3"))).await.unwrap();
    assert_eq!(node.data(3).await, ["1", "2", "3"]);
    node.feed.unfollow(&channel("b"));
    redis.wait_for_subscribers("fantail:b", 0).await.unwrap();

    let publishes = async || {
        let stats = redis.command(&["INFO", "commandstats"]).await.unwrap().text().unwrap();
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
        calls.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    };
    let before: u64 = publishes().await;
    eventually("several probes", async || publishes().await >= before + 5).await;
    let denied = redis.command(&["INFO", "stats"]).await.unwrap().text().unwrap();
    // CLIENT SETINFO is asked for once by each of the two connections, two words each; nobody minds the answer.
    for (what, times) in denied.lines().filter_map(|line| line.strip_prefix("acl_access_denied_")?.split_once(':')) {
        let harmless = if what == "cmd" { 4 } else { 0 };
        assert!(times.parse::<u64>().unwrap() <= harmless, "{what} was denied {times} times");
    }
    let counters = node.feed.counters();
    assert_eq!((losses(&node), count(&counters.probes_lost), count(&counters.follows_refused)), (0, 0, 0));
    assert!(!log::whole().contains("cannot probe redis"), "{}", log::lines_with("cannot probe"));
}

#[tokio::test]
async fn the_documented_publisher_may_publish_and_nothing_else() {
    let redis = RedisServer::start().await.unwrap();
    documented_user(&redis, "publisher").await;
    let settings = || RedisSettings::new(reach(&redis, "publisher", PASSWORD)).unwrap();
    let mut publisher = RedisPublisher::connect(settings()).await.unwrap();
    let mut node = FeedNode::following(&redis.url(), &["a"]).await;
    assert_eq!(publisher.publish(&publication(&["a"], text("1"))).await.unwrap().subscribers, Some(1));
    assert_eq!(node.data(1).await, ["1"]);
    let typed = EventFields { data: "2".into(), event: Some("tick".into()), ..EventFields::default() };
    let refused = publisher.publish(&publication(&["a"], typed)).await.unwrap_err();
    assert!(matches!(&refused, PublishError::Unavailable(reason) if reason.contains("NoPerm")), "{refused}");
}

#[tokio::test]
async fn channels_that_the_user_may_not_read_are_told_and_counted_and_others_are_followed() {
    let redis = RedisServer::start().await.unwrap();
    let rights =
        "-@all +subscribe +unsubscribe +publish resetchannels &fantail-service:* &fantail:open &fantail-event:open";
    set_user(&redis, &format!("ACL SETUSER few on >{PASSWORD} {rights}")).await;
    let mut node = impatient(reach(&redis, "few", PASSWORD));
    node.feed.follow(&channel("closed-of-acl"));
    node.follow(&["open"]).await;
    eventually("the refusal", async || count(&node.feed.counters().follows_refused) == 1).await;
    until_state(&mut node, FeedState::Connected, 1).await;
    let told = log::lines_with("closed-of-acl");
    assert!(told.contains("ERROR") && told.contains("allow its user the redis channels fantail:*"), "{told}");
    assert_eq!(node.times(&FeedNews::Followed("closed-of-acl".into())), 0);

    set_user(&redis, "ACL SETUSER few &fantail:* &fantail-event:*").await;
    node.follow(&["closed-of-acl"]).await;
    redis.publish("fantail:closed-of-acl", "x").await.unwrap();
    assert_eq!(node.data(1).await, ["x"]);
}

/// Such a node follows all the same. It cannot find out that its master was a replica between two looks.
#[tokio::test]
async fn a_user_who_may_not_ask_info_is_warned_of_once_a_connection() {
    let redis = RedisServer::start().await.unwrap();
    documented_user(&redis, "fantail").await;
    set_user(&redis, "ACL SETUSER fantail -info").await;
    let mut node = impatient(reach(&redis, "fantail", PASSWORD));
    node.follow(&["a"]).await;
    let before = hellos(&redis).await;
    eventually("ten looks", async || hellos(&redis).await >= before + 10).await;
    let warnings = || log::lines_with(&redis.addr().to_string()).matches("does not tell its replication id").count();
    assert_eq!((losses(&node), warnings()), (0, 1), "that of the subscription");
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    until_state(&mut node, FeedState::Connected, 2).await;
    redis.publish("fantail:a", "x").await.unwrap();
    assert_eq!(node.data(1).await, ["x"]);
    assert_eq!(warnings(), 2);
}

#[tokio::test]
async fn a_user_who_may_not_subscribe_at_all_is_told_by_each_try() {
    let redis = RedisServer::start().await.unwrap();
    set_user(&redis, &format!("ACL SETUSER deaf on >{PASSWORD} -@all +publish allchannels")).await;
    let mut node = impatient(reach(&redis, "deaf", PASSWORD));
    node.feed.follow(&channel("a"));
    until_failed(&node, &redis.addr().to_string(), "has no permissions to run the 'subscribe' command").await;
    set_user(&redis, "ACL SETUSER deaf +subscribe").await;
    until_state(&mut node, FeedState::Connected, 1).await;
}

/// 1. A node follows with a password from a file.
/// 2. The password is changed in Redis, and the node's connections are cut: it tries and is refused.
/// 3. The file is changed as well: the next try succeeds, without a restart.
#[tokio::test]
async fn a_password_that_changes_in_redis_and_then_in_its_file_needs_no_restart() {
    let redis = RedisServer::start().await.unwrap();
    documented_user(&redis, "fantail").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let reach = RedisReach {
        url: format!("redis://{}", redis.addr()),
        username: Some("fantail".into()),
        password_file: Some(file.clone()),
        ..RedisReach::default()
    };
    let mut node = impatient(reach);
    node.follow(&["a"]).await;

    set_user(&redis, "ACL SETUSER fantail resetpass >hunter2-the-second").await;
    let killed = redis.command(&["CLIENT", "KILL", "USER", "fantail"]).await.unwrap();
    assert_eq!(killed, Reply::Integer(2));
    until_failed(&node, &redis.addr().to_string(), "check user and password").await;
    assert_eq!(losses(&node), 1);
    let told = log::lines_with(&redis.addr().to_string());
    assert!(told.contains("WRONGPASS"), "{told}");

    std::fs::remove_file(&file).unwrap();
    let failures = count(&node.feed.counters().connect_failures);
    eventually("tries without a file", async || count(&node.feed.counters().connect_failures) >= failures + 2).await;
    std::fs::write(&file, "hunter2-the-second").unwrap();
    until_state(&mut node, FeedState::Connected, 2).await;
    eventually("publishing", async || node.feed.publish(&publication(&["a"], text("x"))).await.is_ok()).await;
    assert_eq!(node.data(1).await, ["x"]);
    assert!(!log::whole().contains("hunter2"), "{}", log::lines_with("hunter2"));
}
