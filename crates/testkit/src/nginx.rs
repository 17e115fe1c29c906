//! A real nginx in front of an upstream, with nothing configured but `proxy_pass` unless asked.
//!
//! Most people's nginx is not tuned for event streams, and Fantail must work behind it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    PATIENCE,
    child::{Child, ProgramOutput},
    error::{Doing, Result},
    port::free_port,
};

const STARTS_MAX: usize = 10;
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A running nginx; killed with its workers on drop.
#[derive(Debug)]
pub struct Nginx {
    // Before the directory, so that the process is gone when the directory is removed.
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Nginx {
    /// Starts one whose only directive in the location is `proxy_pass`.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        Self::start_with(upstream, "").await
    }

    /// Starts one with more lines in the location, for instance `proxy_buffering off;`.
    pub async fn start_with(upstream: SocketAddr, location_lines: &str) -> Result<Self> {
        Self::start_site(|port| {
            format!(
                "server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://{upstream};
            {location_lines}
        }}
    }}"
            )
        })
        .await
    }

    /// Starts one with this text inside of `http`, for instance a file from `deploy`. The text gets the port to listen
    /// on, at 127.0.0.1.
    pub async fn start_site(site: impl Fn(u16) -> String) -> Result<Self> {
        let mut starts = 1;
        loop {
            let directory = TempDir::with_prefix("fantail-nginx-").doing("making a directory for nginx")?;
            // If root starts it, nginx hands its work to another user, who must be able to enter.
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(directory.path(), open).doing("opening the nginx directory")?;
            let port = free_port()?;
            let path = directory.path().join("nginx.conf");
            fs::write(&path, configuration(&site(port))).doing("writing nginx.conf")?;
            let mut nginx = Self { child: launch(directory.path(), &path)?, directory, port };
            match nginx.ready().await {
                Ok(()) => return Ok(nginx),
                // Another process took the port between our look and nginx's bind.
                Err(_) if nginx.port_was_taken() && starts < STARTS_MAX => starts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Its address.
    pub const fn addr(&self) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }

    /// Its error log so far.
    pub fn error_log(&self) -> String {
        self.child.output().stderr
    }

    /// Waits until its error log holds `text`. The line may come later than the answer that it is about.
    pub async fn wait_for_error_log(&mut self, text: &str, limit: Duration) -> Result<()> {
        let what = format!("it logged {text:?}");
        let holds = |output: &ProgramOutput| output.stderr.contains(text).then_some(());
        self.child.find_in_output(limit, &what, holds).await
    }

    async fn ready(&mut self) -> Result<()> {
        let pid_file = self.directory.path().join("nginx.pid");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return self.child.find_in_output(PATIENCE, "it was ready", |_| None::<()>).await;
            }
            // nginx writes the file once it is bound, so an accepted connection is certainly its own.
            if pid_file.exists() && TcpStream::connect(self.addr()).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Err(self.child.failed(&format!("did not accept within {PATIENCE:?}")))
    }

    fn port_was_taken(&self) -> bool {
        self.child.output().stderr.contains("Address already in use")
    }
}

fn launch(prefix: &Path, configuration: &Path) -> Result<Child> {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(prefix).arg("-c").arg(configuration).args(["-e", "stderr"]);
    Child::spawn("nginx", &mut command)
}

/// Everything outside the site only keeps nginx inside its directory and in the foreground.
fn configuration(site: &str) -> String {
    format!(
        "daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {site}
}}
"
    )
}
