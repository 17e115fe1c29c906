//! Data from standard input: all of it, or line by line as it comes.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Stdin};

/// The most that one event takes from standard input: the largest event that a node can be set to accept.
const DATA_BYTES_MAX: u64 = 64 << 20;

pub(super) struct Input(BufReader<Stdin>);

impl Default for Input {
    fn default() -> Self {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let _ = writeln!(io::stderr(), "fantail: reading from the terminal; ctrl-d ends");
        }
        Self(BufReader::new(tokio::io::stdin()))
    }
}

impl Input {
    /// Everything up to the end. One line break there is the shell's and not the event's.
    pub(super) async fn all(mut self) -> anyhow::Result<Vec<u8>> {
        let mut data = Vec::new();
        let read = (&mut self.0).take(DATA_BYTES_MAX + 1).read_to_end(&mut data).await;
        read.context("cannot read standard input")?;
        check_size(&data)?;
        strip_line_break(&mut data);
        Ok(data)
    }

    /// The next line without its break. The last one may have none.
    pub(super) async fn next_line(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(DATA_BYTES_MAX + 1).read_until(b'\n', &mut line).await;
        if read.context("cannot read standard input")? == 0 {
            return Ok(None);
        }
        check_size(&line)?;
        strip_line_break(&mut line);
        Ok(Some(line))
    }
}

fn check_size(data: &[u8]) -> anyhow::Result<()> {
    if data.len() as u64 > DATA_BYTES_MAX {
        bail!("data has more than {DATA_BYTES_MAX} bytes");
    }
    Ok(())
}

fn strip_line_break(data: &mut Vec<u8>) {
    if data.pop_if(|byte| *byte == b'\n').is_some() {
        data.pop_if(|byte| *byte == b'\r');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_taken_away() {
        for (data, expected) in [
            ("", ""),
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\r", "a\r"),
            ("a\n\n", "a\n"),
            ("\n", ""),
            ("a\n b", "a\n b"),
        ] {
            let mut stripped = data.as_bytes().to_vec();
            strip_line_break(&mut stripped);
            assert_eq!(stripped, expected.as_bytes(), "{data:?}");
        }
    }
}
