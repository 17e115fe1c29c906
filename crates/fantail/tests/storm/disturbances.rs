//! A storm from its beginning to the verdict.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fantail_testkit::proxy::Cut;
use fantail_testkit::{ChannelSet, Fantail, FaultProxy, Ledger, Mark, PATIENCE, Random, RedisServer, Verdict, http};
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::Client;
use crate::keeper::keep;
use crate::operator;
use crate::publishing;

/// How often the connection to Redis is cut in a storm, where there is one.
pub(crate) const CUTS: u64 = 2;

/// How many channels there are of each kind.
const BUSY: usize = 3;
const ORDINARY: usize = 47;
const RARE: usize = 10;

/// Threads for the clients, apart from the one that publishes.
const CLIENT_THREADS: u64 = 2;
/// How often it is told that the storm is over, until everyone has heard it.
const CLOSING_INTERVAL: Duration = Duration::from_millis(300);

/// What kind of storm.
#[derive(Debug, Clone)]
pub(crate) struct Disturbances {
    pub(crate) clients: u64,
    pub(crate) publishers: u64,
    /// The longest pause of a publisher between two events, in milliseconds.
    pub(crate) pause_ms_max: u64,
    pub(crate) duration: Duration,
    pub(crate) ends: Ends,
}

/// Which streams the node ends before their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// None.
    Never,
    /// Those that an operator chooses.
    Kicks,
    /// Those too, and the ones that are too slow.
    KicksAndSlow,
}

/// What all parts of a storm share.
#[derive(Debug)]
pub(crate) struct Storm {
    pub(crate) disturbances: Disturbances,
    pub(crate) ledger: Ledger,
    pub(crate) channel_set: ChannelSet,
    /// Where streams are opened.
    pub(crate) public: SocketAddr,
    /// And where with HTTP/1.0.
    pub(crate) public_1_0: SocketAddr,
    pub(crate) internal: SocketAddr,
    pub(crate) redis: Option<SocketAddr>,
    /// Held for reading while a new stream is opened: whoever is open when the storm is over gets to hear so.
    pub(crate) joining: RwLock<()>,
    over: AtomicBool,
    closings: Mutex<Vec<(String, Mark)>>,
    /// What clients saw that must not be, besides what the ledger judges.
    offences: Mutex<Vec<String>>,
    pub(crate) resumed: AtomicU64,
    seed: u64,
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
            ledger: Ledger::new(),
            channel_set: ChannelSet::new(BUSY, ORDINARY, RARE),
            public: node.public(),
            public_1_0: node.public(),
            internal: node.internal(),
            redis: None,
            joining: RwLock::new(()),
            over: AtomicBool::new(false),
            closings: Mutex::default(),
            offences: Mutex::default(),
            resumed: AtomicU64::new(0),
            seed,
        }
    }

    /// Publishes to Redis directly, too.
    pub(crate) fn through(self, redis: &RedisServer) -> Self {
        Self { redis: Some(redis.addr()), ..self }
    }

    /// Puts a server in front of the node for HTTP/1.1.
    pub(crate) fn behind(self, public: SocketAddr) -> Self {
        Self { public, ..self }
    }

    /// Runs, comes to its end, and is judged. `broker` is the way to Redis, to be cut.
    pub(crate) async fn run(self, node: &Fantail, broker: Option<&FaultProxy>) -> Verdict {
        allow_many_descriptors();
        let storm = Arc::new(self);
        let clients: Vec<_> = (0..CLIENT_THREADS).map(|number| storm.release_clients(number)).collect();
        let mut actors = JoinSet::new();
        for number in 0..storm.disturbances.publishers {
            actors.spawn(publishing::publish_until_over(Arc::clone(&storm), storm.random(1, number)));
        }
        if storm.disturbances.ends != Ends::Never {
            actors.spawn(operator::kick_until_over(Arc::clone(&storm), storm.random(2, 0)));
        }
        storm.wait(broker).await;

        let _keepers = keep(&storm).await;
        let nobody_joins = storm.joining.write().await;
        storm.over.store(true, Ordering::SeqCst);
        drop(nobody_joins);
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
                    clients.spawn(Client::new(number, storm.random(3, number), Arc::clone(&storm)).live());
                }
                while let Some(ended) = clients.join_next().await {
                    ended.unwrap();
                }
            });
        })
    }

    /// Publishes closing events until all clients are gone. One is not enough: a client may take it just when it breaks
    /// off, and hears nothing then.
    async fn tell_that_it_is_over(&self, clients: &[thread::JoinHandle<()>]) {
        let mut publisher = self.ledger.publisher(self.random(4, 0));
        let started = tokio::time::Instant::now();
        while !clients.iter().all(thread::JoinHandle::is_finished) {
            let event = publisher.compose_for(&self.channel_set.all(), 0);
            self.closings.lock().unwrap().push((event.text.clone(), self.ledger.mark()));
            if publishing::publish_over_http(self.internal, &self.channel_set.all(), &event.text).await {
                publisher.confirm(&event);
            }
            if started.elapsed() > PATIENCE {
                let left = http(self.internal, "GET", "/connections", &[], "").await.unwrap().text();
                panic!("seed {}: streams are left that do not get the closing events: {left}", self.seed);
            }
            sleep(CLOSING_INTERVAL).await;
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Whether this is a closing event, and then what was published up to it.
    pub(crate) fn closing(&self, data: &str) -> Option<Mark> {
        if !self.is_over() {
            return None;
        }
        self.closings.lock().unwrap().iter().find(|(closing, _)| closing == data).map(|(_, mark)| *mark)
    }

    pub(crate) fn offence(&self, what: String) {
        self.offences.lock().unwrap().push(what);
    }

    fn judge(&self, node: &Fantail) -> Verdict {
        let offences = self.offences.lock().unwrap();
        assert!(offences.is_empty(), "seed {}: {}", self.seed, offences.join("\n"));
        let verdict = self.ledger.judge();
        let resumed = self.resumed.load(Ordering::Relaxed);
        println!("seed {}, node {}: resumed {resumed}, {verdict}", self.seed, node.pid());
        assert!(resumed * 4 > self.disturbances.clients, "hardly a stream was resumed");
        verdict
    }

    /// A generator of its own for each part.
    fn random(&self, part: u64, number: u64) -> Random {
        Random::from_seed(self.seed ^ (part << 56) ^ (number << 20))
    }
}

/// Each client is a descriptor, and many systems begin with a thousand.
fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}
