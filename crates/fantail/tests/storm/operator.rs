//! An operator who ends streams at random.

use std::sync::Arc;
use std::time::Duration;

use fantail_testkit::{Random, http};
use tokio::time::sleep;

use crate::disturbances::Storm;

/// Ends a few streams now and then until the storm is over.
pub(crate) async fn kick_until_over(storm: Arc<Storm>, mut random: Random) {
    while !storm.trial.is_over() {
        let listing = http(storm.internal[0], "GET", "/connections?limit=300", &[], "").await.unwrap().json().unwrap();
        let connections = listing["connections"].as_array().unwrap();
        for _ in 0..3 {
            if let Some(connection) = random.pick(connections) {
                let path = format!("/connections/{}", connection["id"].as_str().unwrap());
                let answer = http(storm.internal[0], "DELETE", &path, &[], "").await.unwrap();
                // It may have ended by itself meanwhile.
                assert!([200, 404].contains(&answer.status), "{}", answer.text());
            }
        }
        sleep(Duration::from_millis(random.below(200))).await;
    }
}
