//! `access`: the cost of deciding who may read. The memory of an idle stream and the CPU of a subscribe, with tokens and with
//! a service that has answered, against a node that lets everyone in; and how clients come back when their tokens end.

mod keys;
mod returning;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use self::keys::Keys;
use self::returning::{Return, ReturningOptions};
use crate::compare::Ratio;
use crate::fleet::{Fleet, Opening};
use crate::http2_options::Http2Options;
use crate::proc::{self, Cpu};
use crate::report::{self, Setting, Table};
use crate::run_verdict::RunVerdict;
use crate::slope::{PerStream, Point, settle};
use crate::suite::server::{Places, Server};
use crate::workload::{ChannelLayout, OpeningOptions};

const SETTLE_PATIENCE: Duration = Duration::from_secs(15);
/// All streams follow one channel, whose name the load generator makes.
const CHANNELS: &str = "bench-*";

/// Options of `access`.
#[derive(Debug, Args)]
pub(crate) struct AccessOptions {
    /// The smaller count of streams
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    from: u32,

    /// The larger count of streams
    #[arg(long, default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(2..))]
    to: u32,

    /// How often each kind of decision is measured, in turn with the others
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Connections begun per second. A server holds the buffers of those that wait for their turn, and so its memory would tell
    /// of a crowd at the door instead of idle streams if they came faster than it takes them
    #[arg(long, value_name = "PER_SECOND", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    connect_rate: u32,

    /// Measure the cost alone, and no clients that come back
    #[arg(long)]
    cost_only: bool,

    #[command(flatten)]
    returning: ReturningOptions,

    /// The folder with the release programs
    #[arg(long, value_name = "FOLDER", default_value = "target/release")]
    programs: PathBuf,

    /// The CPU that the server is bound to
    #[arg(long, value_name = "CPU", default_value = "0")]
    server_cpu: String,

    /// The folder for the results
    #[arg(long, value_name = "FOLDER")]
    results: PathBuf,
}

/// The judge of the right to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Decider {
    Open,
    Token(&'static str),
    /// The service has been asked by each address once, and its answers are kept.
    CachedAnswer,
}

const DECIDERS: [Decider; 5] =
    [Decider::Open, Decider::Token("HS256"), Decider::Token("ES256"), Decider::Token("EdDSA"), Decider::CachedAnswer];

/// One measurement.
#[derive(Debug, Serialize)]
struct Cost {
    decider: String,
    round: u32,
    from: Point,
    to: Point,
    per_stream: PerStream,
    opening: Opening,
    /// Of the server, while it opened the streams between the two counts.
    cpu: Cpu,
    cpu_us_per_subscribe: f64,
}

#[derive(Debug, Serialize)]
struct AccessReport {
    setting: Setting,
    costs: Vec<Cost>,
    returns: Vec<Return>,
}

/// Measures all of it, prints a table and writes the raw figures.
pub(crate) fn access(options: &AccessOptions) -> anyhow::Result<RunVerdict> {
    let programs = options.programs.canonicalize().context("the folder with the programs")?;
    let places = Places {
        programs: programs.clone(),
        peers: PathBuf::new(),
        server_cpu: options.server_cpu.clone(),
        encryption: None,
        http2: Http2Options::HTTP1,
    };
    let keys = Keys::make(&programs.join("fantail"))?;
    let service = serve_answers()?;
    let mut costs = Vec::new();
    for round in 0..options.rounds {
        for decider in DECIDERS {
            costs.push(cost(options, &places, &keys, service, decider, round)?);
        }
    }
    let returns = if options.cost_only { Vec::new() } else { returning::measure(&options.returning, &places, &keys)? };
    let verdict = returning::verdict(&returns);
    let report = AccessReport { setting: Setting::read()?, costs, returns };
    std::fs::create_dir_all(&options.results)?;
    write_report(&options.results, &report)?;
    print!("{}", report.table());
    Ok(verdict)
}

fn write_report(results: &Path, report: &AccessReport) -> anyhow::Result<()> {
    report::write_json(&results.join("raw.json"), report)
}

impl Decider {
    fn name(self) -> String {
        match self {
            Self::Open => "open".to_owned(),
            Self::Token(algorithm) => algorithm.to_owned(),
            Self::CachedAnswer => "kept answer".to_owned(),
        }
    }

    /// The server, and the address of its streams.
    fn start(self, places: &Places, keys: &Keys, service: SocketAddr) -> anyhow::Result<Server> {
        let (mut flags, mut query) = (vec!["--access".to_owned()], String::new());
        match self {
            Self::Open => flags.push("open".into()),
            Self::Token(algorithm) => {
                flags.extend(keys.flags(algorithm));
                query = format!("?token={}", keys.mint(algorithm, CHANNELS, &["--expires-in", "1day"])?);
            }
            Self::CachedAnswer => {
                let url = format!("http://{service}/");
                flags.extend(["origin".into(), "--origin-url".into(), url, "--origin-cache".into(), "1h".into()]);
            }
        }
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let mut server = places.fantail(&flags)?;
        server.target.subscribe = format!("{}{query}", server.target.subscribe).parse()?;
        Ok(server)
    }
}

fn cost(
    options: &AccessOptions,
    places: &Places,
    keys: &Keys,
    service: SocketAddr,
    decider: Decider,
    round: u32,
) -> anyhow::Result<Cost> {
    let server = decider.start(places, keys, service)?;
    let pids = server.target.pids.clone();
    let opening = OpeningOptions { connect_rate: options.connect_rate, ..server.opening(ChannelLayout::Count(1)) };
    let mut fleet = Fleet::start(&server.target, &opening, options.to)?;
    let mut point = |streams: u32| -> anyhow::Result<(Point, Cpu)> {
        let before = proc::cpu(&pids)?;
        let opening = fleet.open(streams - fleet.streams())?;
        let settled = settle(&pids, SETTLE_PATIENCE)?;
        let cpu = proc::cpu(&pids)?.since(before);
        Ok((Point { streams, opening, server: proc::memory(&pids)?, kernel: proc::kernel()?, settled }, cpu))
    };
    let ((from, _), (to, cpu)) = (point(options.from)?, point(options.to)?);
    fleet.reset()?;
    let subscribes = f64::from(to.streams - from.streams);
    let cost = Cost {
        decider: decider.name(),
        round,
        per_stream: PerStream::between(&from, &to),
        opening: to.opening.clone(),
        cpu,
        cpu_us_per_subscribe: cpu.total_us() as f64 / subscribes,
        from,
        to,
    };
    println!(
        "{} {round}: {:.1} B of RSS for one more idle stream, {:.1} us of CPU for a subscribe",
        cost.decider, cost.per_stream.rss, cost.cpu_us_per_subscribe
    );
    Ok(cost)
}

/// A service that allows everything. In each run it is asked once for each address of the load generator.
fn serve_answers() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || answer(socket));
        }
    });
    Ok(address)
}

/// Answers one connection until it is closed.
fn answer(mut socket: TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 204 No Content\r\nFantail-Subject: bench\r\nFantail-Session: s\r\nFantail-Expires-In: 86400\r\n\r\n";
    let (mut head, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = socket.read(&mut bytes) {
        head.extend_from_slice(&bytes[..count]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if socket.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}

impl AccessReport {
    fn table(&self) -> Table {
        let mut table = Table::default();
        let of = |name: &str, figure: fn(&Cost) -> f64| -> Vec<f64> {
            self.costs.iter().filter(|cost| cost.decider == name).map(figure).collect()
        };
        for decider in DECIDERS {
            let name = decider.name();
            let (mut memory, mut cpu) =
                (of(&name, |cost| cost.per_stream.rss), of(&name, |cost| cost.cpu_us_per_subscribe));
            let beside: Vec<_> = of("open", |cost| cost.cpu_us_per_subscribe)
                .into_iter()
                .zip(&cpu)
                .map(|(open, it)| it / open)
                .collect();
            let ratio = Ratio::from_pairs(beside);
            let (memory, cpu) = (median(&mut memory), median(&mut cpu));
            table.row(
                name,
                format!(
                    "{memory:.0} B an idle stream, {cpu:.1} us a subscribe, {:.2} x open ({:.2}-{:.2})",
                    ratio.median, ratio.min, ratio.max
                ),
            );
        }
        for returned in &self.returns {
            table.row(returned.name.clone(), returned.told());
        }
        table
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
