//! A storm from its beginning to the verdict.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use fantail_testkit::proxy::Cut;
use fantail_testkit::{
    Broker, ChannelSet, Defect, End, Error, Fantail, FaultProxy, FaultyServer, Http2Front, PATIENCE, PublisherRules,
    Random, ReaderHabit, ReaderRules, RedisServer, TlsReaders, Trial, TrialPublisher, TrialReader, Verdict, Way, http,
};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::keeper::keep;
use crate::operator;

/// How often the connection to Redis is cut in a storm with Redis.
pub(crate) const CUTS: u64 = 2;

/// One event of a publisher in so many comes behind a burst.
const BURST_IN: u64 = 150;

/// The number of channels of each kind.
const BUSY: usize = 3;
const ORDINARY: usize = 47;
const RARE: usize = 10;

/// Threads for the clients, apart from the one that publishes.
const CLIENT_THREADS: u64 = 2;
/// The interval of closing events, until every client has got one.
const CLOSING_INTERVAL: Duration = Duration::from_millis(300);

/// The kind of a storm.
#[derive(Debug, Clone)]
pub(crate) struct Disturbances {
    pub(crate) clients: u64,
    pub(crate) publishers: u64,
    /// The longest pause of a publisher between two events, in milliseconds.
    pub(crate) pause_ms_max: u64,
    pub(crate) duration: Duration,
    pub(crate) ends: Ends,
}

/// The streams that the node ends before their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Never,
    /// Streams that an operator chooses.
    Kicks,
    /// Those, and streams that are too slow.
    KicksAndSlow,
}

/// The state that all parts of a storm share.
#[derive(Debug)]
pub(crate) struct Storm {
    pub(crate) disturbances: Disturbances,
    pub(crate) trial: Trial,
    pub(crate) channel_set: ChannelSet,
    /// The address of streams.
    pub(crate) public: [SocketAddr; 1],
    /// Their address for HTTP/1.0.
    public_1_0: [SocketAddr; 1],
    tls: Option<TlsReaders>,
    pub(crate) internal: [SocketAddr; 1],
    pub(crate) broker: Broker,
    /// A server in front of the node breaks lines of steady readers.
    breaks_lines: bool,
}

/// The seed that was asked for, or a new one.
pub(crate) fn seed() -> u64 {
    let asked = std::env::var("FANTAIL_STORM_SEED").ok();
    let seed = asked.map_or_else(|| Random::from_entropy().next_u64(), |seed| seed.parse().unwrap());
    println!("FANTAIL_STORM_SEED={seed}");
    seed
}

impl Storm {
    pub(crate) fn new(disturbances: &Disturbances, node: &Fantail, seed: u64) -> Self {
        Self {
            disturbances: disturbances.clone(),
            trial: Trial::new(seed),
            channel_set: ChannelSet::new(BUSY, ORDINARY, RARE),
            public: [node.public()],
            public_1_0: [node.public()],
            tls: None,
            internal: [node.internal()],
            broker: Broker::None,
            breaks_lines: false,
        }
    }

    /// Some publishers publish to Redis directly.
    pub(crate) fn through(self, redis: &RedisServer) -> Self {
        Self { broker: Broker::Redis { servers: vec![redis.addr()], has_log: false }, ..self }
    }

    /// Some connections, or all, come over TLS.
    pub(crate) fn over_tls(self, tls: TlsReaders) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Connections of HTTP/1.1 without TLS come through a server that makes them streams of few HTTP/2 connections.
    pub(crate) fn through_http2(self, front: &Http2Front) -> Self {
        Self { public: [front.addr()], ..self }
    }

    /// Puts a server with a defect in front of the node for HTTP/1.1.
    pub(crate) fn behind(self, server: &FaultyServer, defect: Defect) -> Self {
        let breaks_lines = matches!(defect, Defect::Cut | Defect::Tear);
        Self { public: [server.addr()], breaks_lines, ..self }
    }

    /// Runs to its end and is judged. `broker` is the way to Redis, to be cut.
    pub(crate) async fn run(self, node: &Fantail, broker: Option<&FaultProxy>) -> Verdict {
        allow_many_descriptors();
        let storm = Arc::new(self);
        let clients: Vec<_> = (0..CLIENT_THREADS).map(|number| storm.release_clients(number)).collect();
        let mut actors = JoinSet::new();
        for number in 0..storm.disturbances.publishers {
            actors.spawn(TrialPublisher::new(&storm, storm.trial.random(1, number)).publish_until_the_end());
        }
        if storm.disturbances.ends != Ends::Never {
            actors.spawn(operator::kick_until_over(Arc::clone(&storm), storm.trial.random(2, 0)));
        }
        storm.wait(broker).await;

        let _keepers = keep(&storm).await;
        storm.trial.end_publishing();
        storm.trial.end();
        while let Some(ended) = actors.join_next().await {
            ended.unwrap();
        }
        storm.tell_that_it_is_over(&clients).await;
        for thread in clients {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        storm.judge(node)
    }

    /// Lets time pass, and cuts the connection to Redis in between.
    async fn wait(&self, broker: Option<&FaultProxy>) {
        let part = self.disturbances.duration / (CUTS as u32 + 1);
        sleep(part).await;
        for cut in [Cut::Reset, Cut::Fin].into_iter().cycle().take(CUTS as usize) {
            if let Some(broker) = broker {
                broker.cut(cut).await.unwrap();
            }
            sleep(part).await;
        }
    }

    fn release_clients(self: &Arc<Self>, thread: u64) -> thread::JoinHandle<()> {
        let storm = Arc::clone(self);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut clients = JoinSet::new();
                for number in (thread..storm.disturbances.clients).step_by(CLIENT_THREADS as usize) {
                    clients.spawn(TrialReader::new(Arc::clone(&storm), number, storm.trial.random(3, number)).live());
                }
                while let Some(ended) = clients.join_next().await {
                    ended.unwrap();
                }
            });
        })
    }

    /// Publishes closing events until all clients are gone. One is not enough: a client that breaks off at that moment
    /// misses it.
    async fn tell_that_it_is_over(self: &Arc<Self>, clients: &[thread::JoinHandle<()>]) {
        let mut publisher = TrialPublisher::new(self, self.trial.random(4, 0));
        let started = tokio::time::Instant::now();
        while !clients.iter().all(thread::JoinHandle::is_finished) {
            publisher.close(Way::Node(0), &self.channel_set.all()).await;
            if started.elapsed() > PATIENCE {
                let left = http(self.internal[0], "GET", "/connections", &[], "").await.unwrap().text();
                panic!("seed {}: streams are left that do not get the closing events: {left}", self.trial.seed());
            }
            sleep(CLOSING_INTERVAL).await;
        }
    }

    fn judge(&self, node: &Fantail) -> Verdict {
        let offences = self.trial.offences();
        assert!(offences.is_empty(), "seed {}: {}", self.trial.seed(), offences.join("\n"));
        let verdict = self.trial.ledger.judge();
        let resumed = self.trial.resumed.load(Ordering::Relaxed);
        let encrypted = self.trial.encrypted.load(Ordering::Relaxed);
        let (seed, pid) = (self.trial.seed(), node.pid());
        println!("seed {seed}, node {pid}: resumed {resumed}, encrypted {encrypted}, {verdict}");
        assert!(resumed * 4 > self.disturbances.clients, "hardly a stream was resumed");
        let one_in = self.tls.as_ref().map_or(0, |tls| tls.one_in);
        assert!(encrypted * 4 * one_in >= self.disturbances.clients * one_in.min(1), "hardly a stream was encrypted");
        verdict
    }
}

impl PublisherRules for Storm {
    fn trial(&self) -> &Trial {
        &self.trial
    }

    fn nodes(&self) -> &[SocketAddr] {
        &self.internal
    }

    fn broker(&self) -> &Broker {
        &self.broker
    }

    fn choose_for_event(&self, random: &mut Random) -> Vec<&str> {
        self.channel_set.choose_for_event(random)
    }

    /// More events at once than a short log holds, and than a shard takes out of a log at a time.
    fn choose_burst(&self, random: &mut Random) -> Option<Vec<&str>> {
        if !random.chance(1, BURST_IN) {
            return None;
        }
        let channels = [self.channel_set.choose_busy(random)[0], self.channel_set.choose(random)[0]];
        Some((0..100 + random.below(100)).map(|_| channels[random.below(2) as usize]).collect())
    }

    fn pause_ms_max(&self) -> u64 {
        self.disturbances.pause_ms_max
    }
}

impl ReaderRules for Storm {
    fn trial(&self) -> &Trial {
        &self.trial
    }

    fn choose_habit(&self, random: &mut Random) -> ReaderHabit {
        match random.below(100) {
            0..40 => ReaderHabit::Steady,
            40..97 => ReaderHabit::Restless,
            _ => ReaderHabit::Sleepy,
        }
    }

    fn choose_channels(&self, habit: ReaderHabit, random: &mut Random) -> Vec<&str> {
        if habit == ReaderHabit::Sleepy {
            self.channel_set.choose_busy(random)
        } else {
            self.channel_set.choose(random)
        }
    }

    fn http_1_0_in(&self) -> u64 {
        4
    }

    fn addresses(&self, http_1_0: bool) -> &[SocketAddr] {
        if http_1_0 { &self.public_1_0 } else { &self.public }
    }

    fn tls(&self) -> Option<&TlsReaders> {
        self.tls.as_ref()
    }

    fn away_after(&self) -> Option<Duration> {
        None
    }

    /// The server spoils the streams of steady readers alone.
    fn may_find_unknown_lines(&self, habit: ReaderHabit) -> bool {
        self.breaks_lines && habit == ReaderHabit::Steady
    }

    fn may_end(&self, error: &Error, in_mid_block: bool) -> bool {
        match error {
            Error::Ended(End::Clean) => self.disturbances.ends != Ends::Never && !in_mid_block,
            Error::Ended(End::Reset) => self.disturbances.ends == Ends::KicksAndSlow,
            _ => false,
        }
    }
}

/// Each client is a descriptor, and many systems allow only a thousand at first.
fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}
