//! Small files that an operator names: secrets and certificates.
//!
//! An error tells which setting named which file and what is wrong with it, never what stands in it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No password and no bundle of certificates is larger; a device or a log named by mistake is.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {}: {reason}", .path.display())]
pub struct FileError {
    setting: &'static str,
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is larger than 1 MiB, so it is not the file that was meant")]
    TooLarge,
    #[error("is empty; write the secret into it, as the only line")]
    Empty,
    #[error("is not UTF-8 text of one line")]
    NotALine,
    #[error("holds no PEM block of a {0}")]
    NoPem(&'static str),
}

/// A secret of one line. A line break at its end belongs to the editor that wrote it.
pub(crate) fn read_text(setting: &'static str, path: &Path) -> Result<String, FileError> {
    let told = |reason| FileError { setting, path: path.to_owned(), reason };
    let bytes = read(path).map_err(told)?;
    let text = String::from_utf8(bytes).map_err(|_| told(Reason::NotALine))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    match text {
        "" => Err(told(Reason::Empty)),
        text if text.contains(['\n', '\r']) => Err(told(Reason::NotALine)),
        text => Ok(text.to_owned()),
    }
}

/// PEM blocks, of which at least one ends with `what`: `CERTIFICATE` or `PRIVATE KEY`.
pub(crate) fn read_pem(setting: &'static str, path: &Path, what: &'static str) -> Result<Vec<u8>, FileError> {
    let told = |reason| FileError { setting, path: path.to_owned(), reason };
    let bytes = read(path).map_err(told)?;
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{what}-----"));
    let found = String::from_utf8_lossy(&bytes).lines().any(begins);
    if found { Ok(bytes) } else { Err(told(Reason::NoPem(what))) }
}

fn read(path: &Path) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(Reason::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    fn file_with(bytes: &[u8]) -> tempfile::TempPath {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file.into_temp_path()
    }

    #[test]
    fn a_password_is_a_line_without_its_line_break() {
        for (bytes, password) in [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("a b\r\n", "a b"), (" x ", " x ")]
        {
            assert_eq!(read_text("redis_password_file", &file_with(bytes.as_bytes())).unwrap(), password);
        }
    }

    #[test]
    fn a_file_that_cannot_be_meant_is_named_with_its_setting_and_not_quoted() {
        let large = vec![b'x'; (FILE_BYTES_MAX + 1) as usize];
        for (bytes, reason) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"hunter2\nhunter2\n", "one line"),
            (b"hunter2\xff", "one line"),
            (&large, "larger than 1 MiB"),
        ] {
            let path = file_with(bytes);
            let error = read_text("redis_password_file", &path).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("hunter2"), "{error}");
            assert!(error.starts_with(&format!("redis_password_file {}: ", path.display())), "{error}");
        }
        let error = read_text("redis_password_file", Path::new("/no/such/file")).unwrap_err().to_string();
        assert!(error.contains("/no/such/file: cannot be read: No such file"), "{error}");
    }

    #[test]
    fn a_key_is_not_taken_for_a_certificate() {
        let path = file_with(b"-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----\n");
        assert!(read_pem("redis_tls_key", &path, "PRIVATE KEY").is_ok());
        let error = read_pem("redis_tls_ca", &path, "CERTIFICATE").unwrap_err().to_string();
        assert!(error.contains("holds no PEM block of a CERTIFICATE") && !error.contains("hunter2"), "{error}");
    }
}
