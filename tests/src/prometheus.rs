//! A real Prometheus and a real Alertmanager for a test.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::PATIENCE;

/// A running Prometheus; it stops with this value.
pub struct Prometheus {
    child: Child,
    /// Its base URL.
    pub url: String,
}

impl Prometheus {
    /// Starts Prometheus in `folder` with a configuration, and waits until it is ready.
    ///
    /// # Errors
    /// There is none on this machine, or it does not become ready.
    pub async fn start(folder: &Path, config: &str) -> Result<Self> {
        let path = folder.join("prometheus.yml");
        std::fs::write(&path, config)?;
        let address = free_address()?;
        let log = std::fs::File::create(folder.join("prometheus.log"))?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-lifecycle")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("Prometheus cannot be started; `cargo xtask setup` installs it")?;
        let this = Self { child, url: format!("http://{address}") };
        let until = Instant::now() + PATIENCE;
        // A second call finds the provider installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build()?;
        loop {
            let ready = client.get(format!("{}/-/ready", this.url)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(this);
            }
            if Instant::now() > until {
                let said = std::fs::read_to_string(folder.join("prometheus.log")).unwrap_or_default();
                bail!("Prometheus is not ready; it said:\n{said}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running Alertmanager; it stops with this value.
pub struct Alertmanager {
    child: Child,
    /// Its base URL.
    pub url: String,
}

impl Alertmanager {
    /// Starts Alertmanager in `folder` at an address, with a configuration that `amtool` takes for good.
    ///
    /// # Errors
    /// There is none on this machine, or the configuration is refused.
    pub fn start(folder: &Path, address: SocketAddr, config: &str) -> Result<Self> {
        let path = folder.join("alertmanager.yml");
        std::fs::write(&path, config)?;
        let checked = Command::new("amtool").arg("check-config").arg(&path).output()?;
        if !checked.status.success() {
            bail!("amtool refuses the configuration: {}", String::from_utf8_lossy(&checked.stdout));
        }
        let log = std::fs::File::create(folder.join("alertmanager.log"))?;
        let program = ["prometheus-alertmanager", "alertmanager"].into_iter().find(|name| is_on_path(name));
        let child = Command::new(program.context("there is no Alertmanager; `cargo xtask setup` installs it")?)
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child, url: format!("http://{address}") })
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Returns an address on loopback that nobody uses now.
///
/// # Errors
/// There is none.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
