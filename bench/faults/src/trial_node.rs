//! One Fantail node that can be killed and started again on its own ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use fantail_testkit::port::free_port;
use fantail_testkit::{Fantail, PATIENCE, Signal, http};
use tokio::time::{Instant, sleep};

const STARTS_MAX: usize = 5;
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The flags of every node. Times are short, so that a trial sees them pass; the drain is as short as two seconds
/// allow.
const FLAGS: &str = "--workers 2 --send-buffer-bytes 4KiB --keepalive-interval 1s --retry 50ms --linger 1s \
                     --follow-deadline 5s --channels-per-stream-max 128 --drain-delay 0s --drain-window 1s \
                     --drain-deadline 5s";

/// A node.
#[derive(Debug)]
pub struct TrialNode {
    binary: PathBuf,
    arguments: Vec<String>,
    public: SocketAddr,
    internal: SocketAddr,
    tls: Option<SocketAddr>,
    fantail: Option<Fantail>,
}

impl TrialNode {
    /// Starts one on ports that stay its own. It has an encrypted one if the flags name certificates.
    pub async fn start(binary: &Path, flags: &[&str]) -> Result<Self> {
        let mut last = anyhow!("it was never tried");
        for _ in 0..STARTS_MAX {
            let mut node = Self::new(binary, flags)?;
            // Another process may take the ports between our look and the node's bind; then other ports are tried.
            match node.launch().await {
                Ok(()) => return Ok(node),
                Err(error) => last = error,
            }
        }
        Err(last.context("starting a node"))
    }

    fn new(binary: &Path, flags: &[&str]) -> Result<Self> {
        let loopback = || Ok::<_, anyhow::Error>(SocketAddr::from(([127, 0, 0, 1], free_port()?)));
        let (public, internal) = (loopback()?, loopback()?);
        let tls = flags.contains(&"--tls-cert").then(loopback).transpose()?;
        let mut arguments = vec!["serve".to_owned()];
        arguments.extend(["--listen".into(), public.to_string(), "--internal-listen".into(), internal.to_string()]);
        arguments.extend(tls.into_iter().flat_map(|tls| ["--tls-listen".into(), tls.to_string()]));
        let own: Vec<&str> = FLAGS.split_whitespace().collect();
        // A flag is given once; the caller's wins over every node's.
        let own = own.chunks(2).filter(|flag| !flags.contains(&flag[0])).flatten();
        arguments.extend(own.chain(flags).map(|word| (*word).to_owned()));
        Ok(Self { binary: binary.into(), arguments, public, internal, tls, fantail: None })
    }

    /// The address of streams.
    pub const fn public(&self) -> SocketAddr {
        self.public
    }

    /// The address of encrypted streams, if it has one.
    pub const fn tls(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// The internal address.
    pub const fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.fantail = None;
    }

    /// Starts it again, with nothing but its flags; kills it first if it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut last = anyhow!("it was never tried");
        for _ in 0..STARTS_MAX {
            match self.launch().await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
            sleep(LOOK_INTERVAL).await;
        }
        Err(last.context("starting a node again"))
    }

    async fn launch(&mut self) -> Result<()> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.fantail = Some(Fantail::start(&self.binary, &arguments, &[]).await?);
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(self.running()?.signal(signal)?)
    }

    /// Asks it to drain, and waits until it has ended well.
    pub async fn drain(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let fantail = self.fantail.as_mut().context("the node does not run")?;
        let status = fantail.wait(PATIENCE).await?;
        if !status.success() {
            bail!("a drained node ended with {status}: {}", fantail.output().stderr);
        }
        self.fantail = None;
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub async fn wait_until_ready(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let answer = http(self.internal, "GET", "/readyz", &[], "").await;
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!("a node is not ready after {PATIENCE:?}: {:?}", answer.map(|answer| answer.text()));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until it says that it is not ready, or for so long. Returns whether it did.
    pub async fn loses_redis_within(&self, limit: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < limit {
            let answer = http(self.internal, "GET", "/readyz", &[], "").await;
            if answer.is_ok_and(|answer| answer.status != 200) {
                return true;
            }
            sleep(LOOK_INTERVAL).await;
        }
        false
    }

    /// One of its counts, labels included in the name.
    pub async fn count(&self, series: &str) -> Result<u64> {
        let text = http(self.internal, "GET", "/metrics", &[], "").await?.text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("there is no metric {series}"))?.parse()?)
    }

    /// Its resident memory, now and at its peak.
    pub fn resident_bytes(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running()?.pid()))?;
        let kib = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let both = kib("VmRSS:").zip(kib("VmHWM:")).context("the kernel does not tell the node's memory")?;
        Ok((both.0 << 10, both.1 << 10))
    }

    /// Its last output, for a report.
    pub fn last_words(&self) -> String {
        let output = self.fantail.as_ref().map(Fantail::output).unwrap_or_default();
        let text = format!("{}{}", output.stdout, output.stderr);
        let lines: Vec<_> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn running(&self) -> Result<&Fantail> {
        self.fantail.as_ref().context("the node does not run")
    }
}
