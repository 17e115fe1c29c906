//! A CPU profile of the process, in the form that `go tool pprof` reads.
//!
//! The kernel sends a signal for each 1/99 second of CPU time, and the signal's handler notes where the thread was. The rate is odd so that it does
//! not beat with timers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use http::{Method, Request, StatusCode};
use pprof::ProfilerGuardBuilder;
use pprof::protos::Message;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::json_answer::typed_answer;
use crate::problem::{Answer, Problem};

/// The longest profile.
pub(crate) const LONGEST: Duration = Duration::from_mins(1);

/// The time of a profile whose request names none.
const USUAL: Duration = Duration::from_secs(30);

/// Signals per second of CPU time.
const FREQUENCY: i32 = 99;

/// The process has one timer for them.
static IS_BEING_TAKEN: AtomicBool = AtomicBool::new(false);

struct Taking;

impl Taking {
    fn begin() -> Option<Self> {
        (!IS_BEING_TAKEN.swap(true, Ordering::Relaxed)).then_some(Self)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        IS_BEING_TAKEN.store(false, Ordering::Relaxed);
    }
}

/// Takes a profile for as long as the query's `seconds` says.
pub(crate) async fn answer<B>(request: &Request<B>) -> Result<Answer, Problem> {
    if request.method() != Method::GET {
        return Err(Problem::method("GET"));
    }
    let time = time_of(request.uri().query().unwrap_or_default())?;
    let Some(_taking) = Taking::begin() else {
        return Err(Problem::new(StatusCode::CONFLICT, "a profile is being taken, try again when it is done"));
    };
    info!(seconds = time.as_secs(), "a profile is taken");
    take(time).await.map(|profile| typed_answer(StatusCode::OK, "application/octet-stream", profile)).map_err(|error| {
        let error = format!("{error:#}");
        warn!(error, "a profile cannot be taken");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    })
}

async fn take(time: Duration) -> anyhow::Result<Vec<u8>> {
    let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).build().context("the signal cannot be set up")?;
    sleep(time).await;
    // Names are looked up in the program's file, which takes a while.
    spawn_blocking(move || Ok(guard.report().build()?.pprof()?.encode_to_vec())).await?
}

fn time_of(query: &str) -> Result<Duration, Problem> {
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("seconds=")) else { return Ok(USUAL) };
    let seconds = text.parse().map(Duration::from_secs).ok();
    let refused = || Problem::field("seconds", format!("seconds is a number from 1 to {}", LONGEST.as_secs()));
    seconds.filter(|time| !time.is_zero() && *time <= LONGEST).ok_or_else(refused)
}
