//! The log on a Cluster: it is where its slot is, wherever that goes, and nobody else is listened to.

use std::sync::Arc;

use fantail_feed::{LogRetention, RedisPublisher, RedisReach, RedisSettings};
use fantail_testkit::port::free_port;
use fantail_testkit::{PATIENCE, RedisCluster, RedisServer, Reply};
use fantail_wire::{Event, EventId, Publication};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::log_node::{LogNode, channel};
use crate::node::{publish, settings};

mod moves;

const KEY: &str = "fantail-log:{0}";

/// A node that is told of these nodes of the cluster.
fn seeded(nodes: &[String]) -> RedisSettings {
    let reach = RedisReach { cluster_nodes: nodes.to_vec(), ..RedisReach::default() };
    let like = settings("redis://127.0.0.1");
    let mut settings = RedisSettings::new(reach).unwrap();
    (settings.log, settings.probe_interval) = (like.log, like.probe_interval);
    settings.response_deadline = like.response_deadline;
    settings
}

async fn following(settings: RedisSettings, names: &[&str]) -> LogNode {
    let mut node = LogNode::start_with(settings);
    node.follow(names).await;
    node
}

/// A cluster, the slot of the log, its owner, and another master.
async fn start() -> (RedisCluster, u16, usize, usize) {
    let cluster = RedisCluster::start().await.unwrap();
    let slot = cluster.slot_of(KEY).await.unwrap();
    let owner = cluster.owner_of(slot).await.unwrap();
    (cluster, slot, owner, (owner + 1) % 3)
}

/// Calls the function at one node.
async fn call(server: &RedisServer, data: &str, names: &[&str]) -> Reply {
    let envelope = format!("{{\"data\":\"{data}\"}}");
    let words = [&["FCALL", "fantail_publish", "1", KEY, &envelope], names].concat();
    server.command(&words).await.unwrap()
}

/// Waits until the replica of a master has everything.
async fn replicated(master: &RedisServer) {
    let mut connection = master.connection().await.unwrap();
    // The lines before the last sign of the connection are waited for.
    connection.command(&["PING"]).await.unwrap();
    assert_eq!(connection.command(&["WAIT", "1", "10000"]).await.unwrap(), Reply::Integer(1));
}

fn publication(data: &str) -> Publication {
    Publication::new([channel("a")], Event::text(data))
}

#[track_caller]
fn assert_error(reply: &Reply, beginning: &str) {
    assert!(matches!(reply, Reply::Error(error) if error.starts_with(beginning)), "{beginning}: {reply:?}");
}

async fn shard_subscribers(server: &RedisServer, name: &str) -> i64 {
    let reply = server.command(&["PUBSUB", "SHARDNUMSUB", &format!("{KEY}:{name}")]).await.unwrap();
    reply.array().unwrap()[1].integer().unwrap()
}

fn terms(node: &LogNode) -> usize {
    node.told().iter().filter(|line| *line == "term").count()
}

#[tokio::test]
async fn whichever_node_of_the_cluster_is_named_the_one_with_the_slot_is_followed() {
    let (cluster, _, owner, _) = start().await;
    let mut nodes = Vec::new();
    for server in cluster.nodes() {
        nodes.push(LogNode::following(&server.url(), &["a", "b"]).await);
    }
    nodes.push(following(seeded(&cluster.addresses()), &["a", "b"]).await);
    publish(&cluster.nodes()[owner], "1", &["a"]).await;
    for (at, node) in nodes.iter().enumerate() {
        let receipt = node.feed.publish(&publication(&format!("of-{at}"))).await.unwrap();
        assert_eq!((receipt.id.is_some(), receipt.subscribers), (true, Some(4)), "live, to all of them");
    }
    publish(&cluster.nodes()[owner], "last", &["a", "b"]).await;
    for node in &mut nodes {
        node.until_data("last").await;
        assert_eq!(node.data(), ["1", "of-0", "of-1", "of-2", "of-3", "last"]);
    }
    for (at, server) in cluster.nodes().iter().enumerate() {
        let expected = if at == owner { 4 } else { 0 };
        assert_eq!(shard_subscribers(server, "a").await, expected, "sharded, at the owner alone");
        assert_eq!(server.pubsub_numsub(&format!("{KEY}:a")).await.unwrap(), 0);
    }
}

/// Beside the log what any node of the cluster publishes travels over its bus.
#[tokio::test]
async fn plain_text_from_any_node_of_the_cluster_comes_unnumbered() {
    let (cluster, _, owner, other) = start().await;
    let mut node = LogNode::following(&cluster.nodes()[other].url(), &["a"]).await;
    publish(&cluster.nodes()[owner], "1", &["a"]).await;
    node.until_data("1").await;
    cluster.nodes()[other].publish("fantail:a", "text").await.unwrap();
    node.wait_for("the text", |node| node.told.contains(&"unnumbered a text".to_owned())).await;
}

#[tokio::test]
async fn channels_come_and_go_on_a_cluster_by_hundreds() {
    let (cluster, _, owner, other) = start().await;
    let names: Vec<_> = (0..700).map(|number| format!("c{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut node = LogNode::following(&cluster.nodes()[other].url(), &names).await;
    let redis = &cluster.nodes()[owner];
    for name in &names[..600] {
        node.feed.unfollow(&channel(name));
    }
    node.follow(&["last"]).await;
    tokio::time::timeout(PATIENCE, async {
        while shard_subscribers(redis, "c0").await != 0 || redis.pubsub_numsub("fantail:c0").await.unwrap() != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    for name in ["c0", "c599", "c600", "c699", "last"] {
        publish(redis, &format!("to-{name}"), &[name]).await;
    }
    node.until_data("to-last").await;
    assert_eq!(node.data(), ["to-c600", "to-c699", "to-last"]);
    assert!(node.told().iter().all(|line| !line.starts_with("gap")), "{:?}", node.told());
}

#[tokio::test]
async fn one_seed_that_lives_is_enough() {
    let (cluster, _, owner, other) = start().await;
    let gone = || format!("127.0.0.1:{}", free_port().unwrap());
    let seeds = [gone(), cluster.addresses()[other].clone(), gone()];
    let mut node = following(seeded(&seeds), &["a"]).await;
    publish(&cluster.nodes()[owner], "1", &["a"]).await;
    node.until_data("1").await;
}

/// 1. The master dies, and its replica is made master by the cluster itself.
/// 2. Everything that the replica has comes, and a new term says that its end may be missing.
#[tokio::test]
async fn a_failover_begins_a_term_and_what_the_replica_has_comes() {
    let (mut cluster, master, replica) = RedisCluster::start_with_replica_for(KEY).await.unwrap();
    let slot = cluster.slot_of(KEY).await.unwrap();
    let mut node = following(seeded(&cluster.addresses()), &["a"]).await;
    publish(&cluster.nodes()[master], "1", &["a"]).await;
    node.until_data("1").await;
    replicated(&cluster.nodes()[master]).await;
    cluster.node(master).kill();
    cluster.wait_for_owner(slot, replica).await.unwrap();
    publish(&cluster.nodes()[replica], "2", &["a"]).await;
    node.until_data("2").await;
    assert_eq!(node.data(), ["1", "2"]);
    assert_eq!(terms(&node), 1, "{:?}", node.told());
    // The connection that publishes comes back apart.
    let published = async {
        loop {
            if let Ok(receipt) = node.feed.publish(&publication("3")).await {
                return receipt;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, published).await.unwrap().subscribers, Some(1));
    node.until_data("3").await;
}

/// The old master and the replica change places while both go on: no connection ends, and Redis does not tell the
/// follower of a log that is no part of a slot that moved.
#[tokio::test]
async fn a_failover_by_hand_takes_every_node_along() {
    for how in [&[][..], &["FORCE"], &["TAKEOVER"]] {
        let (cluster, master, replica) = RedisCluster::start_with_replica_for(KEY).await.unwrap();
        let slot = cluster.slot_of(KEY).await.unwrap();
        let mut node = LogNode::following(&cluster.nodes()[(master + 1) % 3].url(), &["a"]).await;
        publish(&cluster.nodes()[master], "1", &["a"]).await;
        node.until_data("1").await;
        replicated(&cluster.nodes()[master]).await;
        cluster.failover(replica, how).await.unwrap();
        cluster.wait_for_owner(slot, replica).await.unwrap();
        publish(&cluster.nodes()[replica], "2", &["a"]).await;
        node.until_data("2").await;
        assert_eq!((node.data(), terms(&node)), (vec!["1".to_owned(), "2".into()], 1), "{how:?}: {:?}", node.told());
    }
}

/// 1. The master is cut off from all others, but not from this node and its publishers. It goes on as if nothing were.
/// 2. The others make its replica the master.
/// 3. No connection ends, and all that is asked of the old master is answered well: only the others know better.
#[tokio::test]
async fn a_master_that_is_cut_off_and_goes_on_is_left_for_the_one_that_the_others_name() {
    let (cluster, master, replica) = RedisCluster::start_with_replica_for(KEY).await.unwrap();
    let slot = cluster.slot_of(KEY).await.unwrap();
    let mut node = following(seeded(&cluster.addresses()), &["a"]).await;
    publish(&cluster.nodes()[master], "1", &["a"]).await;
    node.until_data("1").await;
    replicated(&cluster.nodes()[master]).await;
    cluster.cut_off(master).await.unwrap();
    cluster.failover(replica, &["TAKEOVER"]).await.unwrap();
    cluster.wait_for_owner(slot, replica).await.unwrap();
    let still = call(&cluster.nodes()[master], "accepted-and-lost", &["a"]).await;
    assert!(matches!(still, Reply::Array(_)), "the old master goes on: {still:?}");
    let mut fresh = following(seeded(&cluster.addresses()), &["a"]).await;
    node.wait_for("the new term", |node| node.told.contains(&"term".to_owned())).await;
    publish(&cluster.nodes()[replica], "2", &["a"]).await;
    for node in [&mut node, &mut fresh] {
        node.until_data("2").await;
    }
    assert_eq!(terms(&node), 1, "{:?}", node.told());
    assert!(matches!(call(&cluster.nodes()[master], "x", &["a"]).await, Reply::Array(_)), "and would go on");
}

/// 1. The master stands still: its connections stay open, and tell nothing.
/// 2. The cluster makes its replica the master. A node is told by the others, and goes there.
/// 3. The old master wakes up, and still takes itself for the master for a moment: nobody goes back.
#[tokio::test]
async fn a_master_that_was_away_and_still_names_itself_is_outdone_by_the_others() {
    let (mut cluster, master, replica) = RedisCluster::start_with_replica_for(KEY).await.unwrap();
    let slot = cluster.slot_of(KEY).await.unwrap();
    let mut node = following(seeded(&cluster.addresses()), &["a"]).await;
    publish(&cluster.nodes()[master], "1", &["a"]).await;
    node.until_data("1").await;
    replicated(&cluster.nodes()[master]).await;
    cluster.nodes()[master].stop_signal().unwrap();
    cluster.wait_for_owner(slot, replica).await.unwrap();
    publish(&cluster.nodes()[replica], "2", &["a"]).await;
    node.until_data("2").await;
    cluster.nodes()[master].cont().unwrap();
    let fresh = following(seeded(&cluster.addresses()), &["a"]).await;
    publish(&cluster.nodes()[replica], "3", &["a"]).await;
    for mut node in [node, fresh] {
        node.until_data("3").await;
    }
    cluster.node(master).kill();
}

#[tokio::test]
async fn a_program_that_only_publishes_finds_the_slot_and_follows_it() {
    let (cluster, slot, owner, other) = start().await;
    let url = cluster.nodes()[other].url();
    let mut node = LogNode::following(&url, &["a"]).await;
    let mut named = RedisSettings::parse(&url).unwrap();
    named.log = Some(LogRetention::default());
    for settings in [named, seeded(&cluster.addresses())] {
        let at = cluster.owner_of(slot).await.unwrap();
        let mut publisher = RedisPublisher::connect(settings).await.unwrap();
        let first: EventId = publisher.publish(&publication("before")).await.unwrap().id.unwrap();
        cluster.move_slot(slot, at, if at == owner { other } else { owner }).await.unwrap();
        let second = publisher.publish(&publication("after")).await.unwrap().id.unwrap();
        assert_ne!(first.term, second.term);
        let told = format!("{} a after", second.number);
        node.wait_for("the event", |node| node.told.contains(&told)).await;
    }
    assert_eq!(node.data(), ["before", "after", "before", "after"]);
}

const PUBLISHER: &str = "+fcall +info +time +hmget +hgetall +hset +hdel +zrevrange +zrange +zscore +zcard +zcount +zadd \
    +zremrangebyrank +xlen +xinfo +xadd +xdel +xtrim +pexpire ~fantail-log:{0} ~fantail-tops:{0}";
const NODE: &str = "+subscribe +unsubscribe +publish +multi +exec &fantail:* &fantail-event:* &fantail-service:* \
    +function|load +role +zmscore +zrangebyscore +xrange +xrevrange ~fantail-stream:{0}:*";

/// Makes a user at every node of the cluster.
async fn make_user(cluster: &RedisCluster, name: &str, rights: &[&str]) {
    let words = rights.iter().flat_map(|rights| rights.split_ascii_whitespace());
    let begin = ["ACL", "SETUSER", name, "reset", "on", ">secret", "-@all"];
    let command: Vec<_> = begin.into_iter().chain(words).collect();
    for server in cluster.nodes() {
        assert_eq!(server.command(&command).await.unwrap(), Reply::Simple("OK".into()));
    }
}

fn as_user(name: &str, nodes: &[String]) -> RedisSettings {
    let reach = RedisReach {
        cluster_nodes: nodes.to_vec(),
        username: Some(name.into()),
        password: Some("secret".into()),
        ..RedisReach::default()
    };
    let (like, mut settings) = (settings("redis://127.0.0.1"), RedisSettings::new(reach).unwrap());
    (settings.log, settings.probe_interval) = (like.log, like.probe_interval);
    settings
}

/// The rights that docs/redis.md and docs/publishing.md give.
#[tokio::test]
async fn a_user_with_the_documented_rights_follows_the_log_and_one_of_a_single_channel_publishes_to_it() {
    let (cluster, slot, owner, other) = start().await;
    let in_cluster = "+cluster|nodes +ssubscribe +sunsubscribe +spublish +exists";
    make_user(&cluster, "node", &[PUBLISHER, NODE, in_cluster, "&fantail-log:{0}:*"]).await;
    let only_a = "+spublish +exists ~fantail-stream:{0}:a ~fantail-stream:{0}: &fantail-log:{0}:a";
    make_user(&cluster, "only-a", &[PUBLISHER, only_a]).await;
    let mut node = following(as_user("node", &cluster.addresses()), &["a", "b"]).await;
    let publish_to = async |server: &RedisServer, name: &str| {
        let mut user = server.connection().await.unwrap();
        user.command(&["AUTH", "only-a", "secret"]).await.unwrap();
        user.command(&["FCALL", "fantail_publish", "1", KEY, "{\"data\":\"by-only-a\"}", name]).await.unwrap()
    };
    assert!(matches!(publish_to(&cluster.nodes()[owner], "a").await, Reply::Array(_)));
    assert_error(&publish_to(&cluster.nodes()[owner], "b").await, "ERR fantail: ");
    node.until_data("by-only-a").await;
    // The first that it does elsewhere is to begin a term.
    cluster.move_slot(slot, owner, other).await.unwrap();
    node.wait_for("the new term", |node| node.told.contains(&"term".to_owned())).await;
    cluster.nodes()[other].command(&["HSET", KEY, "run_id", "another"]).await.unwrap();
    let reply = publish_to(&cluster.nodes()[other], "a").await;
    assert!(matches!(reply, Reply::Array(_)), "{reply:?}");
}

#[tokio::test]
async fn a_channel_whose_log_the_user_may_not_read_is_refused_and_the_others_are_followed() {
    let (cluster, _, owner, _) = start().await;
    let in_cluster = "+cluster|nodes +ssubscribe +sunsubscribe +spublish +exists";
    make_user(&cluster, "node", &[PUBLISHER, NODE, in_cluster, "&fantail-log:{0}:a", "&fantail-log:{0}:c"]).await;
    let mut node = LogNode::start_with(as_user("node", &cluster.addresses()));
    node.feed.follow(&channel("b"));
    node.follow(&["a", "c"]).await;
    let redis = &cluster.nodes()[owner];
    for name in ["a", "b", "c"] {
        publish(redis, &format!("to-{name}"), &[name]).await;
    }
    node.until_data("to-c").await;
    assert_eq!(node.data(), ["to-a", "to-c"]);
    let counters = std::sync::Arc::clone(node.feed.counters());
    assert!(counters.follows_refused.load(std::sync::atomic::Ordering::Relaxed) > 0);
    make_user(&cluster, "node", &[PUBLISHER, NODE, in_cluster, "&fantail-log:{0}:*"]).await;
    node.follow(&["b"]).await;
    publish(redis, "again", &["b"]).await;
    node.until_data("again").await;
}

#[tokio::test]
async fn a_user_who_may_not_ask_for_the_slots_is_told_what_to_allow() {
    let (cluster, ..) = start().await;
    make_user(&cluster, "node", &[PUBLISHER, NODE, "&fantail-log:{0}:*"]).await;
    let error = RedisPublisher::connect(as_user("node", &cluster.addresses())).await.unwrap_err().to_string();
    assert!(error.contains("may not be asked by this user; allow it +cluster|nodes"), "{error}");
    let mut by_url = RedisSettings::parse(&format!("redis://node:secret@{}", cluster.nodes()[0].addr())).unwrap();
    by_url.log = Some(LogRetention::default());
    let error = RedisPublisher::connect(by_url).await.unwrap_err().to_string();
    assert!(error.contains("allow it +cluster|nodes"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_not_taken_for_one() {
    let server = RedisServer::start().await.unwrap();
    let error = RedisPublisher::connect(seeded(&[server.addr().to_string()])).await.unwrap_err().to_string();
    assert!(error.contains("no node of the cluster tells which of them to use"), "{error}");
    assert!(error.contains("cluster support disabled"), "{error}");
}

/// A seed that takes another node for the owner of all slots, and says so as if it knew best; and how often it was
/// asked.
async fn lying_seed(owner: &RedisServer) -> (String, watch::Receiver<usize>) {
    let (asked, often) = watch::channel(0);
    let asked = Arc::new(asked);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let map = format!("aaaa {}@1 master - 0 0 99 connected 0-16383\n", owner.addr());
    let map = format!("${}\r\n{map}\r\n", map.len());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (map, asked) = (map.clone(), Arc::clone(&asked));
            tokio::spawn(async move {
                let (read, mut write) = socket.into_split();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let answer = match line.as_str() {
                        "HELLO" => "%1\r\n$5\r\nproto\r\n:3\r\n",
                        "CLIENT" => "+OK\r\n",
                        "CLUSTER" => {
                            asked.send_modify(|asked| *asked += 1);
                            &map
                        }
                        _ => continue,
                    };
                    write.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (addr.to_string(), often)
}

/// A seed names a node that is none of the slot's, or a replica. The named node is asked as well, and knows better.
#[tokio::test]
async fn a_node_that_is_not_the_owner_is_not_followed_whoever_names_it() {
    let (cluster, master, replica) = RedisCluster::start_with_replica_for(KEY).await.unwrap();
    for named in [(master + 1) % 3, replica, master] {
        let (seed, mut asked) = lying_seed(&cluster.nodes()[named]).await;
        let mut node = following(seeded(&[seed]), &["a"]).await;
        assert_eq!(shard_subscribers(&cluster.nodes()[master], "a").await, 1);
        // It goes on to say so, and nobody leaves the owner for that.
        let asked_often = *asked.borrow() + 6;
        tokio::time::timeout(PATIENCE, asked.wait_for(|asked| *asked >= asked_often)).await.unwrap().unwrap();
        let data = format!("named-{named}");
        node.feed.publish(&publication(&data)).await.unwrap();
        node.until_data(&data).await;
        assert!(!node.intake.lock().told.contains(&"lost".to_owned()), "{:?}", node.intake.lock().told);
    }
}

#[tokio::test]
async fn without_a_log_any_master_of_the_cluster_serves() {
    let cluster = RedisCluster::start().await.unwrap();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let settings = RedisReach { cluster_nodes: cluster.addresses(), ..RedisReach::default() };
        nodes.push(RedisPublisher::connect(RedisSettings::new(settings).unwrap()).await.unwrap());
    }
    let mut spy = cluster.nodes()[0].connection().await.unwrap();
    spy.command(&["SUBSCRIBE", "fantail:a"]).await.unwrap();
    for (number, node) in nodes.iter_mut().enumerate() {
        node.publish(&publication(&number.to_string())).await.unwrap();
        let message = spy.reply().await.unwrap();
        assert_eq!(message.array().unwrap()[2].text().unwrap(), number.to_string(), "over the bus, if not from here");
    }
}
