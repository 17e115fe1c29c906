//! The parent's commands. A thread of its own reads them, since standard input may be anything. It wakes the worker's
//! loop for each.

use std::io::BufRead as _;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use anyhow::Context as _;
use mio::Waker;

use crate::message::WorkerCommand;

/// Commands as they come.
#[derive(Debug)]
pub(crate) struct Commands {
    lines: Receiver<String>,
}

impl Commands {
    /// Starts to read. The loop is woken after each line, and once more when the input ends.
    pub(crate) fn read_input(waker: Waker) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let sent = sender.send(line);
                // A failed wake-up cannot be repaired here; the loop looks again at its next timeout.
                let _ = waker.wake();
                if sent.is_err() {
                    return;
                }
            }
            drop(sender);
            let _ = waker.wake();
        });
        Self { lines }
    }

    /// The next command, `None` if there is none yet.
    pub(crate) fn next(&self) -> anyhow::Result<Option<Next>> {
        let line = match self.lines.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Empty) => return Ok(None),
            Err(TryRecvError::Disconnected) => return Ok(Some(Next::End)),
        };
        let command = serde_json::from_str(&line).with_context(|| format!("command {line:?} is not understood"))?;
        Ok(Some(Next::Command(command)))
    }
}

/// The parent's next order.
#[derive(Debug)]
pub(crate) enum Next {
    Command(WorkerCommand),
    /// The input is at its end: leave.
    End,
}
