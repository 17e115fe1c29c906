//! The built `fantail` program, run as its users run it.
//!
//! The program prints its bound addresses, so every test gets ports from the system. The caller names the binary: only
//! the crate that builds it knows where it is.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    process::{Command, ExitStatus},
    time::Duration,
};

use crate::{
    PATIENCE,
    child::{Child, ProgramOutput, Signal},
    error::{Error, Result},
};

/// A running fantail; killed on drop.
#[derive(Debug)]
pub struct Fantail {
    child: Child,
    public: SocketAddr,
    internal: SocketAddr,
}

impl Fantail {
    /// Starts `binary`, listening on ports from the system unless `arguments` say otherwise, and waits until it has
    /// printed both addresses. `FANTAIL_*` of the test's own environment is kept out.
    pub async fn start<B: AsRef<OsStr>>(binary: B, arguments: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        let mut child = Self::launch(binary, arguments, env)?;
        let told = child.find_in_output(PATIENCE, "it told its public and internal address", told_addresses);
        let (public, internal) = told.await?;
        Ok(Self { child, public, internal })
    }

    /// Runs `binary` with exactly these arguments until it ends: for bad settings, `--help` and the like.
    pub async fn run_to_end<B: AsRef<OsStr>>(
        binary: B,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Result<(ExitStatus, ProgramOutput)> {
        let mut child = Child::spawn("fantail", Self::command(binary, arguments).envs(env.iter().copied()))?;
        let status = child.wait(PATIENCE).await?;
        child.kill();
        // The pipes are drained at their end; looking for nothing waits for exactly that.
        let _ = child.find_in_output(PATIENCE, "the end", |_| None::<()>).await;
        Ok((status, child.output()))
    }

    /// `binary` with exactly these arguments, to be started in some other way. `FANTAIL_*` of the test's own environment is kept
    /// out: it is meant for tests, and a setting that is none ends the start.
    pub fn command<B: AsRef<OsStr>>(binary: B, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary);
        let is_ours = |name: &OsString| name.to_string_lossy().starts_with("FANTAIL_");
        for name in std::env::vars_os().map(|(name, _)| name).filter(is_ours) {
            command.env_remove(name);
        }
        command.args(arguments);
        command
    }

    /// The address of streams.
    pub const fn public(&self) -> SocketAddr {
        self.public
    }

    /// The address for publishers and operators.
    pub const fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// The address of the health listener, if it has one.
    pub async fn health(&mut self) -> Result<SocketAddr> {
        let find = |output: &ProgramOutput| address_in(&output.stdout, "health");
        self.child.find_in_output(PATIENCE, "it told its health address", find).await
    }

    /// The address of encrypted streams, if it has one.
    pub async fn tls(&mut self) -> Result<SocketAddr> {
        let find = |output: &ProgramOutput| address_in(&output.stdout, "tls");
        self.child.find_in_output(PATIENCE, "it told its encrypted address", find).await
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.child.signal(signal)
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Waits for it to end by itself; the error carries its output.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.child.wait(limit).await
    }

    /// The output so far.
    pub fn output(&self) -> ProgramOutput {
        self.child.output()
    }

    /// Waits until its standard output or error holds `text`.
    pub async fn wait_for_output(&mut self, text: &str, limit: Duration) -> Result<()> {
        let what = format!("it printed {text:?}");
        let holds =
            |output: &ProgramOutput| (output.stdout.contains(text) || output.stderr.contains(text)).then_some(());
        self.child.find_in_output(limit, &what, holds).await
    }

    /// An error that says what went wrong and shows the program's output.
    pub fn failed(&self, what: &str) -> Error {
        self.child.failed(what)
    }

    fn launch<B: AsRef<OsStr>>(binary: B, arguments: &[&str], env: &[(&str, &str)]) -> Result<Child> {
        let mut arguments = arguments.to_vec();
        for option in ["--listen", "--internal-listen"] {
            let given = |argument: &&str| *argument == option || argument.starts_with(&format!("{option}="));
            if !arguments.iter().any(given) {
                arguments.extend([option, "127.0.0.1:0"]);
            }
        }
        Child::spawn("fantail", Self::command(binary, &arguments).envs(env.iter().copied()))
    }
}

fn told_addresses(output: &ProgramOutput) -> Option<(SocketAddr, SocketAddr)> {
    let find = |word| {
        let told = address_in(&output.stdout, word).or_else(|| address_in(&output.stderr, word));
        told.or_else(|| address_in_json(&output.stderr, word))
    };
    Some((find("public")?, find("internal")?))
}

/// The address in the first complete line that starts with `word` and holds `http://IP:PORT`.
fn address_in(text: &str, word: &str) -> Option<SocketAddr> {
    // The last piece has no line end yet, and a port could still grow a digit.
    let complete = &text[..text.rfind('\n')?];
    complete.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(word)?;
        let rest = rest.starts_with(|next: char| !next.is_alphanumeric()).then_some(rest)?;
        let (_, url) = rest.split_once("http://").or_else(|| rest.split_once("https://"))?;
        let end = url.find(|byte: char| byte == '/' || byte.is_whitespace()).unwrap_or(url.len());
        url[..end].parse().ok()
    })
}

/// The same in a complete line of JSON, as the field of that name.
fn address_in_json(text: &str, word: &str) -> Option<SocketAddr> {
    let field = format!("\"{word}\":\"http://");
    let (_, url) = text[..text.rfind('\n')?].split_once(&field)?;
    url.split(['/', '"']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_complete_lines_only() {
        let text = "starting\n  public  http://127.0.0.1:80/sse\ninternal: https://[::1]:8081\npublic http://x";
        assert_eq!(address_in(text, "public"), "127.0.0.1:80".parse().ok());
        assert_eq!(address_in(text, "internal"), "[::1]:8081".parse().ok());
        assert_eq!(address_in("public http://127.0.0.1:80", "public"), None);
        assert_eq!(address_in("publicity http://127.0.0.1:80\n", "public"), None);
        let json = "{\"public\":\"http://127.0.0.1:80/sse\",\"internal\":\"http://[::1]:8081\"}\n";
        assert_eq!(address_in_json(json, "public"), "127.0.0.1:80".parse().ok());
        assert_eq!(address_in_json(json, "internal"), "[::1]:8081".parse().ok());
        assert_eq!(address_in_json(json.trim_end(), "public"), None);
    }
}
