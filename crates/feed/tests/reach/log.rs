//! The log lines of all tests of this program. Each test looks for the address of its own server. The lines are printed
//! too: a failed test shows them.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tracing_subscriber::filter::LevelFilter;

static LINES: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let lines = Arc::<Mutex<Vec<u8>>>::default();
    let writer = LogLines(Arc::clone(&lines));
    let format = tracing_subscriber::fmt().with_ansi(false).with_max_level(LevelFilter::DEBUG);
    tracing::subscriber::set_global_default(format.with_writer(move || writer.clone()).finish()).unwrap();
    lines
});

/// Begins to listen. Called before a node is started.
pub(crate) fn listen() {
    LazyLock::force(&LINES);
}

/// Everything logged so far.
pub(crate) fn whole() -> String {
    String::from_utf8(LINES.lock().clone()).unwrap()
}

/// The lines that hold `part`, one below the other.
pub(crate) fn lines_with(part: &str) -> String {
    whole().lines().filter(|line| line.contains(part)).collect::<Vec<_>>().join("\n")
}

#[derive(Clone)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        // Not to the standard output itself: what `print` prints belongs to the test that runs on this thread.
        print!("{}", String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
