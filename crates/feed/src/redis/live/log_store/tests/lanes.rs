//! Several lanes in one Redis: a channel's events are where its name says, and nowhere else.

use super::FORMS;
use super::lane::{STATE, TestLane};

const OTHER: &str = "fantail-log:{other}";

/// Publishes as any program does, with any key.
async fn publish(lane: &TestLane, key: &str, channels: &[&str]) -> Result<(String, u64), String> {
    let mut arguments: Vec<&[u8]> = vec![b"{\"data\":\"x\"}"];
    arguments.extend(channels.iter().map(|channel| channel.as_bytes()));
    let published = lane.store.library().call(&mut lane.connection(), key, "publish", &arguments).await;
    published.map_err(|error: redis::RedisError| error.to_string())
}

#[tokio::test]
async fn each_lane_has_numbers_and_terms_of_its_own() {
    for form in FORMS {
        let lane = TestLane::start(form).await;
        let mut ids = Vec::new();
        for (key, channel) in [(STATE, "a"), (OTHER, "@other/a"), (OTHER, "@other/b"), (STATE, "@0/a")] {
            ids.push(publish(&lane, key, &[channel]).await.unwrap().0);
        }
        let parts: Vec<_> = ids.iter().map(|id| id.split('.').collect::<Vec<_>>()).collect();
        assert_eq!(parts.iter().map(|parts| parts[2]).collect::<Vec<_>>(), ["1", "1", "2", "2"], "{form:?}");
        assert_eq!((parts[0][0], parts[1][0]), (parts[3][0], parts[2][0]));
        assert_ne!(parts[0][0], parts[1][0], "terms of lanes that begin at the same moment");
    }
}

#[tokio::test]
async fn an_event_in_another_lane_than_its_channel_names_is_refused_and_leaves_no_trace() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let before = lane.dump().await;
        let long = format!("@{}/a", "x".repeat(32));
        for (key, channels, right) in [
            (STATE, &["@other/a"][..], "@other/a is in the lane other; publish to it with the key fantail-log:{other}"),
            (OTHER, &["a"], "a is in the lane 0; publish to it with the key fantail-log:{0}"),
            (OTHER, &["@other/a", "@others/b"], "@others/b is in the lane others"),
            (OTHER, &["@0/a"], "@0/a is in the lane 0"),
            (STATE, &[&long], "is in the lane xxx"),
        ] {
            let error = publish(&lane, key, channels).await.unwrap_err();
            assert!(error.contains(right), "{form:?} {key} {channels:?}: {error}");
        }
        assert_eq!(lane.dump().await, before);
        // No names of lanes: no lane.
        for channel in ["@other", "@o-ther/a", "x@other/a", &format!("@{}/a", "x".repeat(33))] {
            publish(&lane, STATE, &[channel]).await.unwrap();
        }
    }
}

/// Somebody copies or renames keys: two lanes with one term would take each other's ids for their own.
#[tokio::test]
async fn a_state_that_was_copied_from_another_lane_begins_a_term() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let (first, _) = publish(&lane, STATE, &["a"]).await.unwrap();
        lane.redis(&["COPY", STATE, OTHER]).await;
        lane.redis(&["COPY", "fantail-tops:{0}", "fantail-tops:{other}"]).await;
        let (other, _) = publish(&lane, OTHER, &["@other/a"]).await.unwrap();
        assert_ne!(first.split('.').next(), other.split('.').next(), "{form:?}");
    }
}
