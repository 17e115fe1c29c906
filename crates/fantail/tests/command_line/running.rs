//! A run of the program with these arguments and this input, and its outcome.

use std::process::{Command, Stdio};

use fantail_testkit::child::Child;
use fantail_testkit::{Fantail, PATIENCE};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::node::FANTAIL;

/// The outcome of a run.
#[derive(Debug)]
pub(crate) struct FinishedCommand {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program with these arguments.
pub(crate) fn fantail(arguments: &[&str]) -> Command {
    Fantail::command(FANTAIL, arguments)
}

/// A run whose pipes the test holds, to write, read or close; killed on drop.
pub(crate) struct Piped {
    child: tokio::process::Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
}

impl Piped {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::from(fantail(arguments));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let stderr = child.stderr.take().unwrap();
        Self { child, stdin, stdout, stderr }
    }

    pub(crate) async fn say(&mut self, input: impl AsRef<[u8]>) {
        // It may end without having read everything.
        let _ =
            timeout(PATIENCE, self.stdin.as_mut().unwrap().write_all(input.as_ref())).await.expect("it does not read");
    }

    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.stdout.read_line(&mut line)).await.expect("no line comes").unwrap();
        line
    }

    /// Closes both pipes, as a reader that has seen enough. Further output is lost.
    pub(crate) async fn hang_up(self) -> FinishedCommand {
        let Self { mut child, stdin, stdout, mut stderr } = self;
        drop((stdin, stdout));
        let mut told = String::new();
        let ended = async { tokio::join!(stderr.read_to_string(&mut told), child.wait()).1.unwrap() };
        let status = timeout(PATIENCE, ended).await.expect("it does not end").code();
        FinishedCommand { status, stdout: String::new(), stderr: told }
    }

    /// Closes the input, and reads everything up to the end.
    pub(crate) async fn finish(mut self) -> FinishedCommand {
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let ended = async {
            let read = (self.stdout.read_to_string(&mut stdout), self.stderr.read_to_string(&mut stderr));
            tokio::join!(read.0, read.1, self.child.wait()).2.unwrap()
        };
        let status = timeout(PATIENCE, ended).await.expect("it does not end").code();
        FinishedCommand { status, stdout, stderr }
    }
}

/// Runs it to its end with this standard input.
pub(crate) async fn run_with(arguments: &[&str], input: impl AsRef<[u8]>) -> FinishedCommand {
    let mut run = Piped::start(arguments);
    run.say(input).await;
    run.finish().await
}

/// Runs it to its end.
pub(crate) async fn run(arguments: &[&str]) -> FinishedCommand {
    run_with(arguments, "").await
}

/// Starts `fantail subscribe`.
pub(crate) fn subscriber(arguments: &[&str]) -> Child {
    Child::spawn("fantail subscribe", &mut fantail(&[&["subscribe"], arguments].concat())).unwrap()
}

/// Waits until it has printed so many lines in all, and returns them.
pub(crate) async fn lines(child: &mut Child, count: usize) -> Vec<String> {
    let what = format!("it printed {count} lines");
    let enough = |output: &fantail_testkit::child::ProgramOutput| {
        let complete = output.stdout.rfind('\n').map_or("", |end| &output.stdout[..=end]);
        let lines: Vec<_> = complete.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    };
    child.find_in_output(PATIENCE, &what, enough).await.unwrap()
}

/// The same for `--json`.
pub(crate) async fn objects(child: &mut Child, count: usize) -> Vec<Value> {
    lines(child, count).await.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until its standard error has this text.
pub(crate) async fn noted(child: &mut Child, text: &str) {
    let what = format!("it noted {text:?}");
    child.find_in_output(PATIENCE, &what, |output| output.stderr.contains(text).then_some(())).await.unwrap();
}

/// Waits for its end and returns the exit status.
pub(crate) async fn status(child: &mut Child) -> Option<i32> {
    child.wait(PATIENCE).await.unwrap().code()
}

impl FinishedCommand {
    /// The lines of standard output.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}
