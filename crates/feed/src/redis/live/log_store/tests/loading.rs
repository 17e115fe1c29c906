//! How the text comes into the server, and which of two stays.

use fantail_testkit::{RedisServer, Reply};

use super::lane::{STATE, TestLane, publication};
use super::{FORMS, LibraryForm};
use crate::redis::live::library::Library;
use crate::redis::live::log_store::LogStore;
use crate::redis::reach::{Link, Purpose};
use crate::{LogRetention, RedisSettings};

/// A library of another version, which answers with it whatever is asked.
fn library(version: u64) -> String {
    let function = |name: &str| format!("redis.register_function('fantail_{name}', function() return {version} end)\n");
    let functions = ["publish", "state", "configure", "above"].map(function).concat();
    let version = format!(
        "redis.register_function{{function_name='fantail_version',callback=function() return {version} end,flags={{'no-writes'}}}}"
    );
    format!("#!lua name=fantail\n{functions}{version}\n")
}

async fn version(lane: &mut TestLane) -> i64 {
    lane.integer(&["FCALL", "fantail_version", "0"]).await
}

#[tokio::test]
async fn an_older_library_is_replaced_and_a_newer_one_left_alone() {
    let mut lane = TestLane::start(LibraryForm::Functions).await;
    let ours = version(&mut lane).await;
    for (there, expected) in [(0, ours), (99, 99)] {
        lane.redis(&["FUNCTION", "LOAD", "REPLACE", &library(there)]).await;
        lane.reconnect().await;
        assert_eq!(version(&mut lane).await, expected);
    }
}

#[tokio::test]
async fn a_library_that_is_there_is_not_loaded_again() {
    let mut lane = TestLane::start(LibraryForm::Functions).await;
    let term = lane.publish(&["a"], "x").await.term;
    for _ in 0..3 {
        lane.reconnect().await;
        assert_eq!(lane.publish(&["a"], "x").await.term, term);
    }
}

#[tokio::test]
async fn a_foreign_library_of_our_name_is_an_error_and_stays() {
    let server = RedisServer::start().await.unwrap();
    let foreign = "#!lua name=fantail\nredis.register_function('other', function() return 1 end)";
    server.command(&["FUNCTION", "LOAD", foreign]).await.unwrap();
    let error = super::lane::open(&server.url(), LibraryForm::Functions).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    assert_eq!(server.command(&["FCALL", "other", "0"]).await.unwrap(), Reply::Integer(1));
}

#[tokio::test]
async fn functions_that_redis_forgot_are_loaded_again_by_the_next_call() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        lane.publish(&["a"], "1").await;
        lane.redis(&["FUNCTION", "FLUSH"]).await;
        lane.redis(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(lane.publish(&["a"], "2").await.number, 2, "{form:?}");
        assert_eq!(lane.chain("a").await.len(), 2);
    }
}

/// As a server before Redis 7 answers.
#[tokio::test]
async fn a_server_without_functions_is_given_the_script() {
    let arguments = ["--rename-command", "FCALL", "", "--rename-command", "FUNCTION", ""];
    let server = RedisServer::start_with(&arguments).await.unwrap();
    let mut link = Link::open(&RedisSettings::parse(&server.url()).unwrap(), Purpose::Publish, |_| true).await.unwrap();
    let retention = LogRetention { events_max: 1, ..LogRetention::default() };
    let store = LogStore::load(&link, &fantail_wire::LaneName::default(), retention).await.unwrap();
    for number in 1..=2 {
        let publication = publication(&["a"], fantail_wire::Event::text("x"));
        let (id, _) = store.publish(&mut link.connection, &publication).await.unwrap();
        assert_eq!(id.number, number);
    }
    let kept = server.command(&["XLEN", "fantail-stream:{0}:a"]).await.unwrap();
    assert_eq!(kept, Reply::Integer(1));
}

/// Without a `run_id` from its caller the script asks INFO, and finds the same.
#[tokio::test]
async fn the_script_finds_the_run_id_by_itself() {
    let mut lane = TestLane::start(LibraryForm::Script).await;
    let id = lane.publish(&["a"], "x").await;
    let sha = Library::sha();
    let reply = lane.redis(&["EVALSHA", sha, "1", STATE, "state", ""]).await;
    assert_eq!(reply.array().unwrap()[0].text().unwrap(), id.term.as_str());
    let reply = lane.redis(&["EVALSHA", sha, "1", STATE, "delete", ""]).await;
    assert_eq!(reply, Reply::Error("ERR fantail: the first argument is publish, state, configure or above".into()));
}
