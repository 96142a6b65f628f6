//! A real Prometheus for a test.

use std::net::TcpListener;
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
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
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
