//! `fantail-bench-floor`: binds, prints its addresses, serves until SIGTERM, prints its counts.

mod signal;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use fantail_bench_floor::{Floor, Options};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The bare epoll loop: one send per stream and event, nothing else.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where streams connect; port 0 lets the kernel choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9080")]
    listen: SocketAddr,

    /// Where events are posted; port 0 lets the kernel choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9081")]
    publish_listen: SocketAddr,

    /// Send a comment to every stream once in so many seconds, spread evenly
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    keepalive: Option<u64>,

    /// Also deliver messages of this Redis: those on fantail:NAME go to the streams of channel NAME
    #[arg(long, value_name = "ADDRESS")]
    redis: Option<SocketAddr>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let stop = signal::termination().context("cannot watch for SIGTERM")?;
    raise_descriptor_limit().context("cannot raise the descriptor limit to its hard limit")?;
    let floor = Floor::bind(Options {
        listen: arguments.listen,
        publish_listen: arguments.publish_listen,
        keepalive_interval: arguments.keepalive.map(Duration::from_secs),
        redis: arguments.redis,
    })
    .with_context(|| arguments.purpose())?;
    println!("ready listen={} publish={}", floor.stream_address()?, floor.publish_address()?);
    let counts = floor.run(&stop).context("the loop failed")?;
    println!("stopped {counts}");
    Ok(())
}

impl Arguments {
    fn purpose(&self) -> String {
        let from = self.redis.map_or_else(String::new, |address| format!(", with events from redis at {address}"));
        format!("cannot listen on {} and {}{from}", self.listen, self.publish_listen)
    }
}

fn raise_descriptor_limit() -> std::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
