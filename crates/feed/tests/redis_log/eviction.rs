//! Redis evicts keys of the log: whatever it takes is declared, also between two questions of a node.

use std::time::Duration;

use fantail_feed::Recalled;
use fantail_testkit::{FaultProxy, PATIENCE, RedisServer};

use crate::log;
use crate::log_node::{LogNode, channel};
use crate::node::{publish, settings};

const STREAM: &str = "fantail-stream:{0}:a";
const TOPS: &str = "fantail-tops:{0}";
const STATE: &str = "fantail-log:{0}";

/// The text of the log as a library of a later version, so that it is left alone. After the state was told it loses the
/// keys that are named in the list `evict`, as Redis may take them between two commands.
fn evicting_library() -> String {
    let text = include_str!("../../src/redis/live/fantail.lua");
    let function = |name: &str, body: &str| {
        format!(
            "redis.register_function('fantail_{name}', function(keys, args) return entrance({body}, keys, args) end)\n"
        )
    };
    let functions =
        [("publish", "publish"), ("configure", "configure"), ("above", "look_above"), ("state", "evicting")];
    let functions: String = functions.iter().map(|(name, body)| function(name, body)).collect();
    format!(
        "#!lua name=fantail\n{text}\n\
        local function evicting(keys, args)\n\
          local told = tell_state(keys, args)\n\
          local key = redis.call('RPOP', 'evict')\n\
          while key do redis.call('DEL', key); key = redis.call('RPOP', 'evict') end\n\
          return told\n\
        end\n{functions}\
        redis.register_function{{function_name='fantail_version',callback=function() return 99 end,flags={{'no-writes'}}}}"
    )
}

/// 1. A node is cut off while an event is published to `a`, the newest of all.
/// 2. It comes back and asks for the state. Behind the answer Redis evicts keys.
/// 3. The next event of `a` says that nothing was between the newest number and itself.
#[tokio::test]
async fn events_evicted_while_a_node_repairs_are_declared() {
    for evicted in [&[TOPS][..], &[TOPS, STREAM], &[STREAM], &[STATE], &[STATE, TOPS, STREAM]] {
        let server = RedisServer::start().await.unwrap();
        server.command(&["FUNCTION", "LOAD", &evicting_library()]).await.unwrap();
        let proxy = FaultProxy::start(server.addr()).unwrap();
        let mut node = LogNode::following(&format!("redis://{}", proxy.addr()), &["a"]).await;
        publish(&server, "1", &["a"]).await;
        node.until_data("1").await;
        node.cut_off(&proxy).await;
        publish(&server, "2", &["a"]).await;
        server.command(&[&["LPUSH", "evict"], evicted].concat()).await.unwrap();
        proxy.accept().await.unwrap();
        node.wait_for("the repair", |node| {
            node.told.iter().rev().take_while(|line| *line != "lost").any(|line| line == "followed a")
        })
        .await;
        publish(&server, "3", &["a"]).await;
        node.until_data("3").await;
        let told = node.told();
        let is_told = told.iter().any(|line| line == "term" || line.starts_with("gap a"));
        assert!(node.data().contains(&"2".to_owned()) || is_told, "{evicted:?}: 2 is missing silently: {told:?}");
    }
}

/// Between two checks nobody has noticed that the newest numbers are gone.
#[tokio::test]
async fn a_recall_claims_nothing_once_the_newest_numbers_were_evicted() {
    for evicted in [&[STREAM, TOPS][..], &[STREAM, TOPS, STATE], &[STREAM, STATE]] {
        let server = RedisServer::start().await.unwrap();
        let mut settings = settings(&server.url());
        settings.probe_interval = Duration::from_mins(10);
        let mut node = LogNode::start_with(settings);
        node.follow(&["other"]).await;
        let mut ids = Vec::new();
        for number in 0..10 {
            ids.push(publish(&server, &number.to_string(), &["a"]).await);
        }
        publish(&server, "newest", &["other"]).await;
        node.until_data("newest").await;
        server.command(&[&["DEL"], evicted].concat()).await.unwrap();
        node.feed.recall(&channel("a"), Some(ids[2]), ids[9], 100);
        node.wait_for("the answer", |node| node.recalled.contains_key("a")).await;
        let recalled = node.intake.lock().recalled.remove("a");
        let nothing = Recalled { entries: Vec::new(), from: Some(ids[9]) };
        assert_eq!(recalled, Some(nothing), "{evicted:?}");
    }
}

/// The newest events of a Stream are gone, and an older one is there.
#[tokio::test]
async fn a_recall_does_not_pass_over_what_is_missing_at_the_end() {
    for is_last in [true, false] {
        let server = RedisServer::start().await.unwrap();
        let mut node = LogNode::following(&server.url(), &["other"]).await;
        let mut ids = Vec::new();
        for number in 0..6 {
            ids.push(publish(&server, &number.to_string(), &["a"]).await);
        }
        let entry = format!("{}-{}", ids[5].ms, ids[5].number);
        server.command(&["XDEL", STREAM, &entry]).await.unwrap();
        if !is_last {
            publish(&server, "6", &["a"]).await;
        }
        node.feed.recall(&channel("a"), Some(ids[0]), ids[5], 100);
        node.wait_for("the answer", |node| node.recalled.contains_key("a")).await;
        let recalled = node.intake.lock().recalled.remove("a");
        assert_eq!(recalled, Some(Recalled { entries: Vec::new(), from: Some(ids[5]) }), "last of all: {is_last}");
    }
}

/// As caches often are. Each eviction is declared, but the operator should know what it costs here.
#[tokio::test]
async fn a_redis_that_may_evict_the_numbering_is_warned_of_once_for_each_policy() {
    log::listen();
    let server = RedisServer::start().await.unwrap();
    let set = async |name: &str, value: &str| server.command(&["CONFIG", "SET", name, value]).await.unwrap();
    set("maxmemory", "100mb").await;
    set("maxmemory-policy", "volatile-lru").await;
    let warnings = |policy: &str| {
        let lines = log::lines_with(&server.addr().to_string());
        let is_it = |line: &&str| line.contains("may evict the numbering") && line.contains(policy);
        lines.lines().filter(is_it).count()
    };
    let _node = LogNode::following(&server.url(), &["a"]).await;
    for policy in ["allkeys-lru", "allkeys-random"] {
        assert_eq!(warnings(policy), 0);
        set("maxmemory-policy", policy).await;
        eventually("the warning", async || warnings(policy) > 0).await;
    }
    let before = looks(&server).await;
    eventually("more looks", async || looks(&server).await >= before + 5).await;
    assert_eq!((warnings("allkeys-lru"), warnings("allkeys-random")), (1, 1));
    let _other = LogNode::following(&server.url(), &["a"]).await;
    eventually("a warning of the other node", async || warnings("allkeys-random") == 2).await;
}

/// How often it was asked what it is.
async fn looks(server: &RedisServer) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]).await.unwrap().text().unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hello:calls="));
    calls.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}

async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let looking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "{what} did not happen");
}
