//! A listening socket, of TCP or of a unix path, and the connections that it accepts.
//!
//! Behind the accept both are stream sockets, and the program reads and writes them alike. So a unix socket is carried in
//! tokio's type for TCP. It has no peer address: its client is on this machine, and counts as 127.0.0.1.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// Bound, and known to no runtime yet.
pub(crate) enum BoundSocket {
    Ip(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// A socket that its runtime waits on.
pub(crate) enum ListeningSocket {
    Ip(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// The name of a unix socket in the file system. It goes away with this, unless another process has taken it over.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

/// A socket that listens under a name that nobody knows yet.
#[derive(Debug)]
pub(crate) struct StagedSocket {
    own_file: SocketFile,
    /// The name that it is to have.
    path: PathBuf,
}

impl BoundSocket {
    /// Hands it to the runtime of this thread.
    pub(crate) fn listen(self) -> anyhow::Result<ListeningSocket> {
        let listening = match self {
            Self::Ip(socket) => tokio::net::TcpListener::from_std(socket).map(ListeningSocket::Ip),
            Self::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(ListeningSocket::Unix),
        };
        listening.context("cannot take the listener")
    }

    /// The same socket for another thread.
    pub(crate) fn share(&self) -> io::Result<Self> {
        match self {
            Self::Ip(socket) => socket.try_clone().map(Self::Ip),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }
}

impl ListeningSocket {
    /// The next connection, and its peer.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            Self::Ip(socket) => socket.accept().await,
            Self::Unix(socket) => {
                let (connection, _) = socket.accept().await?;
                // Other than with TCP, the listener hands the size of its buffer on to nobody.
                let size = SockRef::from(socket).send_buffer_size()? / 2;
                SockRef::from(&connection).set_send_buffer_size(size)?;
                let connection = std::net::TcpStream::from(OwnedFd::from(connection.into_std()?));
                Ok((TcpStream::from_std(connection)?, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
            }
        }
    }
}

/// Binds a unix socket under a name of its own beside `path`, and listens. [`StagedSocket::take_name`] then takes the name `path`:
/// one that a dead process has left, and with `takes_over` that of a living one as well.
pub(crate) fn bind_unix(
    path: &Path,
    mode: u32,
    takes_over: bool,
    backlog: i32,
) -> anyhow::Result<(Socket, StagedSocket)> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            bail!("{} is there and is no socket", path.display());
        }
        if !takes_over && has_listener(path)? {
            bail!("another process listens there");
        }
    }
    let mut own_name = path.as_os_str().to_owned();
    own_name.push(format!(".{}", std::process::id()));
    let own_path = PathBuf::from(own_name);
    // Only a process of the same number that is gone can have left it.
    let _ = fs::remove_file(&own_path);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(&own_path)?)?;
    let own_file = SocketFile { identity: identity(&own_path)?, path: own_path };
    fs::set_permissions(&own_file.path, fs::Permissions::from_mode(mode)).context("cannot set its permissions")?;
    socket.listen(backlog)?;
    Ok((socket, StagedSocket { own_file, path: path.to_owned() }))
}

/// Whether a process listens at a socket. Only a refusal says that none does.
fn has_listener(path: &Path) -> anyhow::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        // Its backlog is full.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error).context("cannot tell whether another process listens there"),
        Ok(()) => Ok(true),
    }
}

impl StagedSocket {
    /// Takes the name, in one step: no client ever finds it missing.
    pub(crate) fn take_name(self) -> anyhow::Result<SocketFile> {
        let Self { mut own_file, path } = self;
        fs::rename(&own_file.path, &path).with_context(|| format!("cannot name the socket {}", path.display()))?;
        own_file.path = path;
        Ok(own_file)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // A file that stays is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_only_where_that_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let bind = |takes_over| {
            let (socket, staged) = bind_unix(&path, 0o600, takes_over, 1)?;
            anyhow::Ok((socket, staged.take_name()?))
        };
        let (first, first_file) = bind(false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind(false).unwrap_err().to_string().contains("another process listens there"));
        let (_second, second_file) = bind(true).unwrap();
        drop((first, first_file));
        assert!(path.exists(), "the name is the second one's");
        drop(second_file);
        assert!(!path.exists());
        drop(bind(false).map(|(socket, file)| (socket, std::mem::forget(file))).unwrap());
        assert!(path.exists() && bind(false).is_ok(), "what a killed process leaves is replaced");
    }

    #[test]
    fn a_start_that_fails_leaves_the_name_to_the_process_that_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (_running, staged) = bind_unix(&path, 0o600, true, 1).unwrap();
        let _file = staged.take_name().unwrap();
        let before = identity(&path).unwrap();
        drop(bind_unix(&path, 0o600, true, 1).unwrap());
        assert_eq!(identity(&path).unwrap(), before);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "its own name is gone");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        fs::write(&path, "dear diary").unwrap();
        assert!(bind_unix(&path, 0o600, true, 1).err().unwrap().to_string().contains("is no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "dear diary");
    }
}
