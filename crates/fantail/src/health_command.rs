//! `fantail health`: one question to a node, for images without a shell.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Request;
use http::header::{HOST, USER_AGENT};
use http_body_util::Full;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::http_client::{self, Server};

/// A node that is busy for longer is not ready.
const DEADLINE: Duration = Duration::from_secs(5);

/// The arguments of one run.
pub(crate) struct HealthCommand {
    pub(crate) asked: Asked,
    /// `/readyz` or `/livez`.
    pub(crate) path: &'static str,
}

/// The node.
pub(crate) enum Asked {
    Server(Server),
    /// A unix socket.
    Socket(PathBuf),
}

/// Asks. An error says why the node is not ready.
pub(crate) fn run(command: HealthCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let asked =
        async { timeout(DEADLINE, command.ask()).await.with_context(|| format!("no answer within {DEADLINE:?}"))? };
    let result = runtime.block_on(asked);
    // A name lookup may still be under way, and nobody needs its answer.
    runtime.shutdown_background();
    result
}

impl HealthCommand {
    async fn ask(self) -> anyhow::Result<()> {
        let (mut sender, name) = match &self.asked {
            Asked::Server(server) => (http_client::connect(server).await?, server.url.authority().to_owned()),
            Asked::Socket(path) => {
                let name = path.display().to_string();
                let socket = UnixStream::connect(path).await.with_context(|| format!("cannot connect to {name}"))?;
                (http_client::speak(socket, &name).await?, name)
            }
        };
        let host = if matches!(self.asked, Asked::Socket(_)) { "localhost" } else { &name };
        let request = Request::get(self.path).header(HOST, host).header(USER_AGENT, http_client::USER_AGENT);
        let request = request.body(Full::<Bytes>::default()).expect("the parts were checked");
        let answer = sender.send_request(request).await.with_context(|| format!("{name} did not answer"))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status();
        bail!("{name} is not ready: {}", http_client::problem(status, answer.into_body()).await)
    }
}
