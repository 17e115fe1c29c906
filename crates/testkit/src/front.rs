//! A real proxy other than nginx in front of an upstream: `haproxy`, `caddy`, `apache2`, `envoy` or `traefik`.
//!
//! Each runs from a directory of its own, which is removed with it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    PATIENCE,
    child::Child,
    error::{Doing, Result},
    port::free_port,
};

const STARTS_MAX: usize = 10;
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontProgram {
    /// `haproxy`.
    Haproxy,
    /// `caddy`.
    Caddy,
    /// `apache2`.
    Apache,
    /// `envoy`.
    Envoy,
    /// `traefik`.
    Traefik,
}

/// A running proxy; killed with its workers on drop.
#[derive(Debug)]
pub struct Front {
    // Before the directory, so that the process is gone when the directory is removed.
    child: Child,
    _directory: TempDir,
    port: u16,
}

impl Front {
    /// Starts one with this configuration. The text gets the port to listen on, at 127.0.0.1, and the directory into which
    /// these files were copied.
    pub async fn start(
        program: FrontProgram,
        files: &[PathBuf],
        configuration: impl Fn(u16, &Path) -> String,
    ) -> Result<Self> {
        let mut starts = 1;
        loop {
            let directory = TempDir::with_prefix("fantail-front-").doing("making a proxy's directory")?;
            // Its workers may belong to another user.
            let readable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(directory.path(), readable).doing("opening a proxy's directory")?;
            for file in files {
                let name = file.file_name().unwrap_or_default();
                fs::copy(file, directory.path().join(name)).doing("copying a proxy's file")?;
            }
            let port = free_port()?;
            let child = program.launch(directory.path(), &configuration(port, directory.path()), port)?;
            let mut front = Self { child, _directory: directory, port };
            match front.ready().await {
                Ok(()) => return Ok(front),
                // Another process took the port between our look and the proxy's bind.
                Err(_) if front.port_was_taken() && starts < STARTS_MAX => starts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Its address.
    pub const fn addr(&self) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return self.child.find_in_output(PATIENCE, "it was ready", |_| None::<()>).await;
            }
            if TcpStream::connect(self.addr()).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Err(self.child.failed(&format!("did not accept within {PATIENCE:?}")))
    }

    fn port_was_taken(&self) -> bool {
        self.child.output().stderr.to_lowercase().contains("address already in use")
    }
}

impl FrontProgram {
    fn launch(self, directory: &Path, configuration: &str, port: u16) -> Result<Child> {
        // Some tell the form of their file by the end of its name.
        let is_yaml = matches!(self, Self::Envoy | Self::Traefik);
        let path = directory.join(if is_yaml { "configuration.yaml" } else { "configuration" });
        let text = if self == Self::Apache {
            format!("{}{configuration}", apache(directory, port))
        } else {
            configuration.into()
        };
        fs::write(&path, text).doing("writing a proxy's configuration")?;
        let mut command = match self {
            Self::Haproxy => {
                let mut command = Command::new("haproxy");
                // In the foreground, and with its warnings.
                command.arg("-db").arg("-f").arg(&path);
                command
            }
            Self::Caddy => {
                let mut command = Command::new("caddy");
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&path);
                command
            }
            Self::Apache => {
                let mut command = Command::new("apache2");
                command.arg("-DFOREGROUND").arg("-d").arg(directory).arg("-f").arg(&path);
                command
            }
            Self::Traefik => {
                let mut command = Command::new("traefik");
                command.arg("--configFile").arg(&path);
                command
            }
            Self::Envoy => {
                let mut command = Command::new("envoy");
                // Several run at a time, and none is restarted while it is hot.
                command
                    .args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning", "-c"])
                    .arg(&path);
                command
            }
        };
        command.env("HOME", directory).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        Child::spawn(format!("{self:?}"), &mut command)
    }
}

/// The parts of Debian's own configuration that a site needs. Debian's Apache has the other modules inside.
fn apache(directory: &Path, port: u16) -> String {
    let modules = ["mpm_event", "authz_core", "alias", "asis", "headers", "proxy", "proxy_http", "setenvif"];
    let load = |module: &str| format!("LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n");
    let modules: String = modules.into_iter().map(load).collect();
    let directory = directory.display();
    format!(
        "{modules}User www-data
Group www-data
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {directory}/pid
DefaultRuntimeDir {directory}
Mutex file:{directory} default
ErrorLog /dev/stderr
"
    )
}
