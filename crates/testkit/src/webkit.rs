//! The command line of WebKitGTK's small browser, on a display that nobody sees.

use std::{path::Path, process::Command};

/// Where Debian has it, by the version of its interface.
const PROGRAM: &str = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser";

/// The command that opens `url` with this empty directory as its home.
pub(crate) fn command(home: &Path, url: &str) -> Command {
    let mut command = Command::new("xvfb-run");
    command.args(["--auto-servernum", PROGRAM, "--ignore-tls-errors", url]);
    command.env("HOME", home).env("XDG_RUNTIME_DIR", home);
    // There is no graphics card.
    command.env("LIBGL_ALWAYS_SOFTWARE", "1").env("WEBKIT_DISABLE_COMPOSITING_MODE", "1");
    // A proxy from the environment must not come between the page and loopback.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}
