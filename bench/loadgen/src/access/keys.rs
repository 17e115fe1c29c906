//! Keys of a run, and the tokens that `fantail token mint` signs with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// A folder with a private and a public key for each algorithm; it goes with this.
pub(super) struct Keys {
    program: PathBuf,
    folder: PathBuf,
}

impl Keys {
    pub(super) fn make(program: &Path) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("fantail-bench-keys-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let keys = Self { program: program.to_owned(), folder };
        openssl(&["rand", "-hex", "-out", &keys.path("HS256", "private"), "32"])?;
        std::fs::copy(keys.path("HS256", "private"), keys.path("HS256", "public"))?;
        for (algorithm, kind) in [
            ("ES256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..]),
            ("EdDSA", &["-algorithm", "ed25519"]),
        ] {
            let (private, public) = (keys.path(algorithm, "private"), keys.path(algorithm, "public"));
            openssl(&[&["genpkey", "-out", &private], kind].concat())?;
            openssl(&["pkey", "-in", &private, "-pubout", "-out", &public])?;
        }
        Ok(keys)
    }

    /// The flags of a server behind `--access`.
    pub(super) fn flags(&self, algorithm: &str) -> Vec<String> {
        let key = format!("{algorithm}:{}", self.path(algorithm, "public"));
        ["token", "--token-query", "token", "--token-keys", &key].map(str::to_owned).to_vec()
    }

    /// A token for these channels, with more words for the command line.
    pub(super) fn mint(&self, algorithm: &str, channels: &str, more: &[&str]) -> anyhow::Result<String> {
        let key = self.path(algorithm, "private");
        let words = ["token", "mint", "--key-file", &key, "--algorithm", algorithm, "--sub", "bench", "--channels"];
        let output = Command::new(&self.program).args(words).arg(channels).args(more).output();
        let output = output.context("cannot run fantail token mint")?;
        ensure!(output.status.success(), "no token: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn path(&self, algorithm: &str, part: &str) -> String {
        self.folder.join(format!("{algorithm}.{part}")).display().to_string()
    }
}

fn openssl(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("openssl").args(words).output().context("openssl is needed here")?;
    ensure!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
