//! An event must arrive if it is published once a stream's head has come. It is published that very instant, again and
//! again, on channels that are new, followed, or just being left.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use fantail_testkit::{PATIENCE, Random, SseClient};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::mode::Mode;
use crate::quiet_setup::QuietSetup;
use fantail_testkit::trial::{PubsubForm, Sender, Way};

/// The number of clients at a time.
const ACTORS: u64 = 48;
/// Channels that are followed all the time, and ones that come and go.
const FOLLOWED: u64 = 60;
const COMING_AND_GOING: u64 = 400;
/// So short that a follow and an unfollow of the same channel meet.
const FLAGS: [&str; 2] = ["--linger", "20ms"];
/// One stream in so many comes over TLS, where its opening takes another way.
const TLS_ONE_IN: u64 = 10;
/// Addresses to connect from: one has too few ports for so many connections in a minute.
const SOURCES: u64 = 50;

/// The outcome in one mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenResults {
    /// The events that were accepted behind the head of an open stream.
    pub times: u64,
    /// Those that did not come.
    pub missed: u64,
    /// Those with a gap in their place.
    pub declared: u64,
    /// The time that it all took.
    pub took: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    accepted: AtomicU64,
    missed: AtomicU64,
    declared: AtomicU64,
}

/// Repeats it so many times in one mode.
pub async fn run(fantail: &Path, mode: Mode, times: u64, seed: u64) -> Result<OpenResults> {
    let began = Instant::now();
    let setup = Arc::new(QuietSetup::start(fantail, mode, &FLAGS).await?);
    let _followers = follow(&setup).await?;
    let counts = Arc::new(Counts::default());
    let mut actors = JoinSet::new();
    for number in 0..ACTORS {
        let random = Random::from_seed(seed ^ (number << 32));
        actors.spawn(act(Arc::clone(&setup), Arc::clone(&counts), random, times));
    }
    while let Some(ended) = actors.join_next().await {
        ended??;
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (missed, declared) = (count(&counts.missed), count(&counts.declared));
    Ok(OpenResults { times: count(&counts.accepted), missed, declared, took: began.elapsed() })
}

/// Keeps some channels followed on every node.
async fn follow(setup: &QuietSetup) -> Result<Vec<SseClient>> {
    let names: Vec<_> = (0..FOLLOWED).map(|number| format!("channel=followed/{number}")).collect();
    let mut followers = Vec::new();
    for node in &setup.nodes {
        followers.push(SseClient::connect(node.public(), &format!("/sse?{}", names.join("&"))).await?);
    }
    Ok(followers)
}

async fn act(setup: Arc<QuietSetup>, counts: Arc<Counts>, mut random: Random, times: u64) -> Result<()> {
    let mut sender = setup.sender();
    loop {
        let number = counts.begun.fetch_add(1, Ordering::Relaxed);
        if number >= times {
            return Ok(());
        }
        let channels: Vec<_> = (0..if random.chance(1, 4) { 3 } else { 1 })
            .map(|place| match random.below(3) {
                0 => format!("fresh/{number}.{place}"),
                1 => format!("followed/{}", random.below(FOLLOWED)),
                _ => format!("coming/{}", random.below(COMING_AND_GOING)),
            })
            .collect();
        let way = match random.below(3) {
            0 if setup.mode != Mode::Memory => Way::Broker,
            1 => Way::Node(setup.nodes.len() - 1),
            _ => Way::Node(0),
        };
        sender.prepare(way).await?;
        try_once(&setup, &counts, &mut random, &mut sender, way, number, &channels).await?;
    }
}

async fn try_once(
    setup: &QuietSetup,
    counts: &Counts,
    random: &mut Random,
    sender: &mut Sender,
    way: Way,
    number: u64,
    channels: &[String],
) -> Result<()> {
    let node = &setup.nodes[random.below(setup.nodes.len() as u64) as usize];
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1 + random.below(SOURCES) as u8));
    let path = format!("/sse?channel={}", channels.join("&channel="));
    let request = match node.tls().filter(|_| random.chance(1, TLS_ONE_IN)) {
        Some(address) => SseClient::request(address, &path).over_tls(&setup.trust),
        None => SseClient::request(node.public(), &path),
    };
    let mut stream = request.from(source).send().await?;
    let status = stream.wait_for_head(PATIENCE).await?.status;
    let data = format!("event {number}");
    let Some(channel) = random.pick(channels) else { bail!("there is a channel") };
    let form = if random.chance(1, 2) { PubsubForm::Envelope } else { PubsubForm::Plain };
    sender.send(way, &[channel], &data, form).await?;
    if status != 200 {
        bail!("a stream was answered with {status}");
    }
    counts.accepted.fetch_add(1, Ordering::Relaxed);
    loop {
        match stream.next_event(PATIENCE).await {
            Ok(event) if event.data == data => break,
            Ok(event) if event.event == "fantail.gap" => {
                counts.declared.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) => {
                eprintln!("missed: {data}, published by {way:?} to {channel} of {path}: {error}");
                counts.missed.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
    Ok(stream.reset()?)
}
