//! Many channels: followed and left all the time, and all lost at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fantail_testkit::{PATIENCE, Random, Reader, RespConnection, SseClient, Start};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::redis::channels_followed;
use crate::trial_setup::TrialSetup;
use crate::trial_state::{Part, TrialState};
use fantail_testkit::TrialPublisher;
use fantail_testkit::trial::Way;

/// The number of clients that come and go, the channels that each follows, and the number of channels.
const CHURNERS: u64 = 40;
const CHURNED_AT_ONCE: u64 = 30;
const CHURNED: u64 = 3_000;
/// The streams when Redis is killed, and their channels.
const STREAMS: usize = 100;
const CHANNELS_PER_STREAM: usize = 100;

const SMALL: usize = 64;

/// Lets time pass.
pub async fn nothing(_: &mut TrialSetup, hold: Duration) -> Result<()> {
    sleep(hold).await;
    Ok(())
}

/// Follows and leaves as fast as possible. An event that is published the moment a stream is open must come.
pub async fn churn(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let until = Instant::now() + hold;
    let followed = Arc::new(AtomicU64::new(0));
    let mut churners = JoinSet::new();
    for number in 0..CHURNERS {
        let state = Arc::clone(&setup.state);
        let random = state.random(Part::Fault, number);
        churners.spawn(come_and_go(state, random, until, Arc::clone(&followed)));
    }
    while let Some(ended) = churners.join_next().await {
        ended??;
    }
    let per_second = followed.load(Ordering::Relaxed) / hold.as_secs().max(1);
    setup.remarks.push(format!("{per_second} channels followed per second"));
    Ok(())
}

async fn come_and_go(
    state: Arc<TrialState>,
    mut random: Random,
    until: Instant,
    followed: Arc<AtomicU64>,
) -> Result<()> {
    let mut publisher = TrialPublisher::new(&state, Random::from_seed(random.next_u64()));
    while Instant::now() < until {
        let mut channels: Vec<_> = (0..CHURNED_AT_ONCE).map(|_| format!("churn/{}", random.below(CHURNED))).collect();
        channels.sort_unstable();
        channels.dedup();
        let names: Vec<&str> = channels.iter().map(String::as_str).collect();
        let node = random.below(2) as usize;
        let path = format!("/sse?channel={}", names.join("&channel="));
        let mut stream = SseClient::connect(state.public[node], &path).await?;
        if stream.status() != 200 {
            bail!("a stream of {} channels was answered with {}", names.len(), stream.status());
        }
        followed.fetch_add(names.len() as u64, Ordering::Relaxed);
        let reader = state.trial.ledger.reader("churner", &names, Start::Live(state.trial.ledger.mark()));
        let number = publisher.number();
        let way = [Way::Node(0), Way::Node(1), Way::Broker][random.below(3) as usize];
        let channel = *random.pick(&names).context("there are channels")?;
        if publisher.publish(way, &[channel], SMALL).await {
            read_until_from(&state, &mut stream, &reader, number).await;
        }
        reader.left();
        let _ = stream.reset();
    }
    Ok(())
}

/// Reads up to the first event of this publisher.
async fn read_until_from(state: &TrialState, stream: &mut SseClient, reader: &Reader, publisher: u32) {
    loop {
        match stream.next_event(PATIENCE).await {
            Ok(event) => {
                reader.record(&event);
                let payload = fantail_testkit::Payload::parse(&event.data);
                if event.event != "message" || payload.is_ok_and(|payload| payload.publisher == publisher) {
                    return;
                }
            }
            Err(error) => {
                return state.trial.offence(format!("what was published to an open stream did not come: {error}"));
            }
        }
    }
}

/// A hundred streams follow ten thousand channels while Redis is killed and comes back. Each channel gets an event as
/// soon as all are followed again, and each must come.
pub async fn resubscribe(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let state = Arc::clone(&setup.state);
    let name = |number: usize| format!("bulk/{number}");
    let channels: Vec<String> = (0..STREAMS * CHANNELS_PER_STREAM).map(name).collect();
    let names: Vec<&str> = channels.iter().map(String::as_str).collect();
    let mut streams = Vec::new();
    for (number, names) in names.chunks(CHANNELS_PER_STREAM).enumerate() {
        let path = format!("/sse?channel={}", names.join("&channel="));
        let stream = SseClient::connect(state.public[number % 2], &path).await?;
        streams.push((
            state.trial.ledger.reader(format!("bulk {number}"), names, Start::Live(state.trial.ledger.mark())),
            stream,
        ));
    }
    let mut publisher = TrialPublisher::new(&state, state.random(Part::Fault, 0));
    publisher.publish_to_each(Way::Broker, &names, SMALL).await?;

    setup.master().kill();
    sleep(hold).await;
    setup.master().restart().await?;
    setup.heal();
    let healed = Instant::now();
    let mut connection: RespConnection = setup.redis[0].connection().await?;
    // Each channel has at least one Redis channel, and there are others.
    while channels_followed(&mut connection).await? < channels.len() {
        if healed.elapsed() > PATIENCE {
            bail!("10,000 channels are not followed again after {PATIENCE:?}");
        }
        sleep(Duration::from_millis(10)).await;
    }
    for node in &setup.nodes {
        node.wait_until_ready().await?;
    }
    setup.remarks.push(format!("10,000 channels followed again after {:.2} s", healed.elapsed().as_secs_f64()));

    let accepted = publisher.publish_to_each(Way::Broker, &names, SMALL).await?;
    if accepted < channels.len() {
        bail!("only {accepted} events were accepted after the restart");
    }
    let last = publisher.number();
    for (reader, mut stream) in streams {
        let mut awaited = CHANNELS_PER_STREAM;
        while awaited > 0 {
            let event = stream.next_event(PATIENCE).await.context("an event of each of 10,000 channels")?;
            reader.record(&event);
            let payload = fantail_testkit::Payload::parse(&event.data);
            let order_behind = |order: u64| order >= channels.len() as u64;
            if payload.is_ok_and(|payload| payload.publisher == last && order_behind(payload.order)) {
                awaited -= 1;
            }
        }
        reader.stopped(state.trial.ledger.mark());
    }
    Ok(())
}
