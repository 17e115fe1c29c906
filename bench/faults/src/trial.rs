//! One trial: start everything, let it run, break something, heal it, drain outstanding events, judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use fantail_testkit::{Defect, ReaderHabit, SseClient, TrialReader, Verdict};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::fault::{After, Fault};
use crate::mode::Mode;
use crate::recovery::{self, Recovered};
use crate::trial_setup::TrialSetup;
use crate::trial_state::{Part, TrialState};
use fantail_testkit::TrialPublisher;
use fantail_testkit::trial::Way;

/// How long everything runs before something breaks, and after it recovered.
const CALM: Duration = Duration::from_millis(1_200);
/// The interval of closing events, until every reader has got one.
const CLOSING_INTERVAL: Duration = Duration::from_millis(300);
/// The longest time of closing; a reader without a closing event by then is stuck.
const CLOSING_PATIENCE: Duration = Duration::from_mins(1);

/// The most readers of a trial whose diaries are kept, each with those of the publishers that the verdict names beside
/// it.
const DIARIES_MAX: usize = 3;

/// The settings of one trial.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program under test.
    pub fantail: PathBuf,
    /// The kind of feed.
    pub mode: Mode,
    /// The seed, which repeats the trial as far as the machine's timing allows.
    pub seed: u64,
    /// Whether faults are held for a short time only.
    pub quick: bool,
    /// The number of readers, and of publishers.
    pub crowd: (u64, u64),
    /// The defect of a server in front of the nodes, for trials of the judge.
    pub defect: Defect,
}

/// The outcome of one trial.
#[derive(Debug, Clone)]
pub struct TrialOutcome {
    /// The verdict of the ledger.
    pub verdict: Verdict,
    /// The time until events came again.
    pub recovered: Recovered,
    /// Further faults that the ledger does not judge.
    pub offences: Vec<String>,
    /// Counts that show whether the fault was felt, by name.
    pub felt: Vec<(&'static str, u64)>,
    /// The number of gaps, by their reasons.
    pub gaps: BTreeMap<String, u64>,
    /// Whether accepted events were given up, though the broker kept them.
    pub gave_up: bool,
    /// The diaries of the readers and publishers that the verdict names.
    pub diaries: Vec<(String, Vec<String>)>,
    /// Remarks.
    pub remarks: Vec<String>,
    /// The time of the whole trial.
    pub took: Duration,
}

impl TrialOutcome {
    /// Whether the promise was kept, and something was tried.
    pub fn is_kept(&self) -> bool {
        self.verdict.is_clean() && self.verdict.delivered > 0 && self.offences.is_empty()
    }

    /// One of the counts of what was felt.
    pub fn felt(&self, name: &str) -> u64 {
        self.felt.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }
}

/// Tries one fault.
pub async fn run(fault: &'static Fault, plan: &Plan) -> Result<TrialOutcome> {
    let began = Instant::now();
    let mut setup = TrialSetup::start(&plan.fantail, plan.mode, fault, plan.defect, plan.seed).await?;
    let state = Arc::clone(&setup.state);
    let mut readers = JoinSet::new();
    for (lane, node) in (0..state.channel_sets.len()).flat_map(|lane| [(lane, 0), (lane, 1)]) {
        readers.spawn(watcher(&state, node, lane).live());
    }
    for number in 0..fault.conditions.readers_of(plan.crowd.0) {
        let random = state.random(Part::Reader, number);
        readers.spawn(TrialReader::new(Arc::clone(&state), number, random).live());
    }
    let mut publishers = JoinSet::new();
    for number in 0..plan.crowd.1 {
        publishers.spawn(TrialPublisher::new(&state, state.random(Part::Publisher, number)).publish_until_the_end());
    }
    sleep(CALM).await;
    (fault.play)(&mut setup, fault.hold(plan.quick)).await.with_context(|| fault.name)?;
    let mut publisher = TrialPublisher::new(&state, state.random(Part::Closing, 0));
    let healed = setup.healed.unwrap_or_else(Instant::now);
    let recovered = recovery::measure(&state, &mut publisher, healed).await;
    sleep(CALM).await;

    state.trial.end_publishing();
    while let Some(ended) = publishers.join_next().await {
        note_panic(&state, &ended);
    }
    setup.spoilers.iter().for_each(fantail_testkit::FaultyServer::retire);
    let _keepers = keep(&state).await?;
    state.trial.end();
    tell_that_it_is_over(&state, &mut publisher, &mut readers).await;
    readers.shutdown().await;
    let felt = felt(&setup).await?;
    let judged = Arc::clone(&state);
    let verdict = tokio::task::spawn_blocking(move || judged.trial.ledger.judge()).await?;
    if plan.mode.has_log() && fault.after == After::Promises && verdict.declared > 0 {
        state.trial.offence(format!("{} events were declared lost, and none may be", verdict.declared));
    }
    Ok(TrialOutcome {
        recovered,
        offences: state.trial.offences(),
        felt,
        gaps: state.gaps(),
        diaries: diaries(&state, &verdict),
        gave_up: plan.mode.has_log() && fault.after != After::Loses && verdict.declared > 0,
        remarks: std::mem::take(&mut setup.remarks),
        took: began.elapsed(),
        verdict,
    })
}

/// A reader that watches a lane on a node.
fn watcher(state: &Arc<TrialState>, node: usize, lane: usize) -> TrialReader<TrialState> {
    let number = u64::MAX - (2 * lane + node) as u64;
    let habit = ReaderHabit::Watcher { node, lane };
    TrialReader::with_habit(Arc::clone(state), number, state.random(Part::Reader, number), habit)
}

/// Streams on each node that follow all channels while a trial is closed. A channel that no stream follows would be
/// given up, and its gap would stand behind the event that sends readers away.
async fn keep(state: &Arc<TrialState>) -> Result<Vec<SseClient>> {
    let mut keepers = Vec::new();
    for channel_set in &state.channel_sets {
        let path = format!("/sse?channel={}", channel_set.all().join("&channel="));
        for addr in state.public {
            keepers.push(SseClient::connect(addr, &path).await.context("following all channels at the end")?);
        }
    }
    Ok(keepers)
}

/// Publishes closing events until all readers are gone. One is not enough: a reader that breaks off at that moment
/// misses it.
async fn tell_that_it_is_over(
    state: &Arc<TrialState>,
    publisher: &mut TrialPublisher<TrialState>,
    readers: &mut JoinSet<()>,
) {
    let started = Instant::now();
    for round in 0.. {
        for channel_set in &state.channel_sets {
            publisher.close(Way::Node(round % 2), &channel_set.all()).await;
        }
        let all_gone = async {
            while let Some(ended) = readers.join_next().await {
                note_panic(state, &ended);
            }
        };
        if timeout(CLOSING_INTERVAL, all_gone).await.is_ok() {
            return;
        }
        if started.elapsed() > CLOSING_PATIENCE {
            return state.trial.offence(format!("{} readers do not hear that it is over", readers.len()));
        }
    }
}

/// A task that panicked cannot report it itself.
fn note_panic(state: &TrialState, ended: &Result<(), JoinError>) {
    if let Err(error) = ended {
        state.trial.offence(format!("a reader or publisher of the trial broke down: {error}"));
    }
}

/// The diaries of the first readers with a fault, and of the publishers of the events concerned.
fn diaries(state: &TrialState, verdict: &Verdict) -> Vec<(String, Vec<String>)> {
    let mut readers = BTreeSet::new();
    let mut names = BTreeSet::new();
    for example in &verdict.examples {
        let reader = example.split(": ").next().unwrap_or_default();
        if !readers.contains(reader) && readers.len() == DIARIES_MAX {
            continue;
        }
        readers.insert(reader);
        let publisher = example.split_once(" of ").and_then(|(_, rest)| rest.split_once(')'));
        names.extend([Some(reader), publisher.map(|(publisher, _)| publisher)].into_iter().flatten());
    }
    names.into_iter().filter_map(|name| Some((name.to_owned(), state.trial.diary(name)?))).collect()
}

async fn felt(setup: &TrialSetup) -> Result<Vec<(&'static str, u64)>> {
    let state = &setup.state;
    let mut outages = 0;
    for node in &setup.nodes {
        outages += node.count("fantail_outages_total").await?;
    }
    Ok(vec![
        ("outages", outages),
        ("refused", state.trial.refused.load(Ordering::Relaxed)),
        ("resumed", state.trial.resumed.load(Ordering::Relaxed)),
        ("encrypted", state.trial.encrypted.load(Ordering::Relaxed)),
        ("moved", state.trial.moved.load(Ordering::Relaxed)),
        ("turned_away", state.trial.turned_away.load(Ordering::Relaxed)),
        ("spoiled", setup.spoilers.iter().map(fantail_testkit::FaultyServer::faults).sum()),
    ])
}
