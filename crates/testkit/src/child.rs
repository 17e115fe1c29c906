//! A program that a test started: its output, its signals and its certain end.
//!
//! Each child leads its own process group, so that killing it takes its children along. It is always killed by that
//! group's id, never by name. Every process of the group has ended when `kill` returns. Waits on: two threads that
//! drain its pipes and one that waits for its exit. All three end with the child, and wake every waiter through one
//! `watch` channel.

use std::{
    fs,
    io::Read,
    os::unix::process::CommandExt,
    process::{Child as Process, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, test_kill_process_group, waitid};
use tokio::sync::watch;

pub use rustix::process::Signal;

use crate::{
    PATIENCE,
    error::{Doing, Error, Result},
};

/// The bytes that are kept of each pipe; older output is forgotten first.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// The bytes of it that an error message shows.
const TAIL_BYTES: usize = 8 << 10;
/// How long `kill` waits for grandchildren that left the group to let go of the pipes.
const LAST_BREATH: Duration = Duration::from_secs(2);
/// The pause between two looks at a killed group that the kernel has not ended yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The output of a child so far, and whether it still runs.
#[derive(Debug, Default, Clone)]
pub struct ProgramOutput {
    /// Standard output, decoded leniently.
    pub stdout: String,
    /// Standard error, decoded leniently.
    pub stderr: String,
    /// Whether the process has exited.
    pub exited: bool,
    open_pipes: u8,
}

/// A running program; killed with its whole process group on drop.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: Process,
    status: Option<ExitStatus>,
    output: watch::Receiver<ProgramOutput>,
    /// Closes when the last holder of either pipe is gone. The lock only makes this `Sync`.
    drained: Mutex<mpsc::Receiver<()>>,
}

impl Child {
    /// Starts `command` in its own process group with its output captured.
    pub fn spawn(name: impl Into<String>, command: &mut Command) -> Result<Self> {
        let name = name.into();
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|source| Error::Missing {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })?;
        let (sender, output) = watch::channel(ProgramOutput { open_pipes: 2, ..ProgramOutput::default() });
        let (breath, drained) = mpsc::sync_channel(0);
        if let Some(pipe) = process.stdout.take() {
            drain(pipe, sender.clone(), breath.clone(), |output| &mut output.stdout);
        }
        if let Some(pipe) = process.stderr.take() {
            drain(pipe, sender.clone(), breath, |output| &mut output.stderr);
        }
        watch_exit(&process, sender);
        Ok(Self { name, process, status: None, output, drained: Mutex::new(drained) })
    }

    /// The process id, which is also its group's.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The output so far.
    pub fn output(&self) -> ProgramOutput {
        self.output.borrow().clone()
    }

    /// Sends a signal to the process alone, not to its children.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.status.is_some() {
            return Err(self.failed("cannot be signalled: it has ended"));
        }
        kill_process(self.group(), signal).map_err(Into::into).doing(format!("sending {signal:?} to {}", self.name))
    }

    /// Kills the whole process group at once and waits until it is gone. Does nothing the second time.
    pub fn kill(&mut self) {
        if self.status.is_some() {
            return;
        }
        // The process has not been reaped, so its id cannot have passed to another one. The group may be empty already,
        // which is fine.
        let _ = kill_process_group(self.group(), Signal::KILL);
        self.status = self.process.wait().ok();
        // The signal only asks the kernel, which ends one process after the other. Ports and files are free only after
        // that.
        wait_until_ended(self.group());
        // The last output of all of them is here when the pipes are closed.
        let drained = self.drained.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = drained.recv_timeout(LAST_BREATH);
    }

    /// The exit status, if it has ended.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.process.try_wait().doing(format!("waiting for {}", self.name))?;
        }
        Ok(self.status)
    }

    /// Waits for it to end by itself.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut output = self.output.clone();
        let ended = tokio::time::timeout(limit, output.wait_for(|output| output.exited)).await.is_ok();
        // Its last lines may still be on their way through the pipes, which its children may hold open.
        let _ = tokio::time::timeout(LAST_BREATH, output.wait_for(|output| output.open_pipes == 0)).await;
        match self.try_wait()? {
            Some(status) if ended => Ok(status),
            _ => Err(self.failed(&format!("did not end within {limit:?}"))),
        }
    }

    /// Waits until `find` finds its match in the output; fails at once when the program ends first.
    pub async fn find_in_output<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut find: impl FnMut(&ProgramOutput) -> Option<T>,
    ) -> Result<T> {
        let mut output = self.output.clone();
        let mut found = None;
        let search = output.wait_for(|output| {
            found = find(output);
            // Nothing more can be found only when the pipes are drained too.
            found.is_some() || (output.exited && output.open_pipes == 0)
        });
        let in_time = tokio::time::timeout(limit, search).await.is_ok();
        match found {
            Some(found) => Ok(found),
            None if in_time => Err(self.failed(&format!("ended before {what}"))),
            None => Err(self.failed(&format!("did not reach {what} within {limit:?}"))),
        }
    }

    /// An error about this program with the tail of its output.
    pub fn failed(&self, what: &str) -> Error {
        let output = self.output.borrow();
        let output = format!("stdout: {}\nstderr: {}", tail(&output.stdout), tail(&output.stderr));
        Error::Program { program: format!("{} (pid {})", self.name, self.pid()), what: what.into(), output }
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("{}", self.failed("was running when the test failed"));
        }
    }
}

/// Copies a pipe into the shared output until its last holder is gone. Dropping `_breath` signals that.
fn drain(
    mut pipe: impl Read + Send + 'static,
    sender: watch::Sender<ProgramOutput>,
    breath: mpsc::SyncSender<()>,
    side: fn(&mut ProgramOutput) -> &mut String,
) {
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        let mut partial = Vec::new();
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            partial.extend_from_slice(&buffer[..count]);
            let text = take_whole_characters(&mut partial);
            sender.send_modify(|output| append(side(output), &text));
        }
        sender.send_modify(|output| output.open_pipes -= 1);
        drop(breath);
    });
}

/// Waits until no process of a killed group runs. The kernel sends no event for processes that are not our children.
fn wait_until_ended(group: Pid) {
    let deadline = Instant::now() + PATIENCE;
    // While the group exists, its id is given to no other process, so no foreign process is looked at.
    while test_kill_process_group(group).is_ok() && has_running(group) && Instant::now() < deadline {
        #[allow(clippy::disallowed_methods, reason = "the kernel tells nobody but a parent that a process has ended")]
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Whether a process of the group still runs. One that has ended stays in the group until its new parent reaps it,
/// which some first processes of containers never do.
fn has_running(group: Pid) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let stats = processes.flatten().filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    stats.into_iter().any(|stat| is_running_in(&stat, group))
}

/// Reads `/proc/<pid>/stat`: the id, the name in parentheses, which may hold any character, the state, the parent, the group.
fn is_running_in(stat: &str, group: Pid) -> bool {
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let mut fields = fields.split(' ');
    let (state, of_group) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok()));
    of_group == Some(group.as_raw_nonzero().get()) && !matches!(state, Some("Z" | "X"))
}

fn watch_exit(process: &Process, sender: watch::Sender<ProgramOutput>) {
    let pid = Pid::from_child(process);
    thread::spawn(move || {
        // NOWAIT leaves the zombie for `Child`, which alone reaps, so that the id stays ours until then. If `Child` was
        // faster the child is gone, which means the same.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        sender.send_modify(|output| output.exited = true);
    });
}

/// Takes the decodable part, and leaves a character that the read has cut.
fn take_whole_characters(bytes: &mut Vec<u8>) -> String {
    let cut = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    let rest = bytes.split_off(cut);
    let text = String::from_utf8_lossy(bytes).into_owned();
    *bytes = rest;
    text
}

fn append(kept: &mut String, text: &str) {
    kept.push_str(text);
    if kept.len() > OUTPUT_BYTES_MAX {
        let cut = kept.ceil_char_boundary(kept.len() - OUTPUT_BYTES_MAX / 2);
        kept.drain(..cut);
    }
}

fn tail(text: &str) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(TAIL_BYTES))..]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    fn shell(script: &str) -> Child {
        Child::spawn("a shell", Command::new("/bin/sh").args(["-c", script])).unwrap()
    }

    #[tokio::test]
    async fn output_is_found_while_the_program_runs() {
        let mut child = shell("echo ready 42; exec sleep 600");
        let line = child.find_in_output(PATIENCE, "ready", |output| output.stdout.lines().next().map(String::from));
        assert_eq!(line.await.unwrap(), "ready 42");
        assert_eq!(child.try_wait().unwrap(), None);
    }

    #[tokio::test]
    async fn an_early_end_is_an_error_that_shows_what_was_printed() {
        let mut child = shell("echo broken pipe dream >&2; exit 3");
        let error = child.find_in_output(PATIENCE, "ready", |_| None::<()>).await.unwrap_err().to_string();
        assert!(error.contains("ended before ready") && error.contains("broken pipe dream"), "{error}");
        assert_eq!(child.wait(PATIENCE).await.unwrap().code(), Some(3));
    }

    #[tokio::test]
    async fn a_signal_ends_it_and_the_status_tells() {
        use std::os::unix::process::ExitStatusExt;
        let mut child = shell("exec sleep 600");
        child.signal(Signal::TERM).unwrap();
        assert_eq!(child.wait(PATIENCE).await.unwrap().signal(), Some(15));
        assert!(child.signal(Signal::TERM).is_err());
    }

    /// 1. `dd` holds 64 MiB, and none of the shell's pipes.
    /// 2. The group is killed. The shell ends at once, and `dd` when the kernel has taken its memory back.
    /// 3. `kill` returns. All have ended by then, though only `/proc` tells so.
    #[tokio::test]
    async fn killing_takes_the_grandchildren_along() {
        let mut child = shell(
            "dd if=/dev/zero bs=64M count=1 2>/dev/null | { head -c 1 >/dev/null; echo filled; exec sleep 600; }; true",
        );
        let filled = |output: &ProgramOutput| output.stdout.contains("filled").then_some(());
        child.find_in_output(PATIENCE, "dd had its memory", filled).await.unwrap();
        let group = child.group();
        assert!(has_running(group));
        child.kill();
        assert!(!has_running(group));
    }

    #[test]
    fn a_process_that_has_ended_is_not_taken_for_one_that_runs_whatever_its_name() {
        let group = Pid::from_raw(7).unwrap();
        for (stat, expected) in [
            ("9 (sleep) S 1 7 7 0", true),
            ("9 (sleep) R 1 7 7 0", true),
            ("9 (sleep) Z 1 7 7 0", false),
            ("9 (sleep) X 1 7 7 0", false),
            ("9 (sleep) S 7 8 7 0", false),
            ("9 (a) Z 1 7 b) S 1 7 7 0", true),
            ("", false),
        ] {
            assert_eq!(is_running_in(stat, group), expected, "{stat}");
        }
    }

    #[test]
    fn a_missing_program_says_what_to_do() {
        let error = Child::spawn("nothing", &mut Command::new("/no/such/program")).unwrap_err().to_string();
        assert!(error.contains("/no/such/program") && error.contains("install it"), "{error}");
    }

    #[test]
    fn a_character_cut_by_a_read_is_completed_by_the_next() {
        let mut bytes = "a\u{e9}".as_bytes()[..2].to_vec();
        assert_eq!(take_whole_characters(&mut bytes), "a");
        bytes.push(0xa9);
        assert_eq!(take_whole_characters(&mut bytes), "\u{e9}");
    }
}
