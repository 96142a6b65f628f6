//! A Git server over HTTP, the one of the demo, and what a developer does with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use pilothouse::demo::git_server::router;
use tempfile::TempDir;

/// A Git server on loopback; it stops with its value.
pub struct GitServer {
    /// Its address, without a path.
    pub url: String,
    folder: TempDir,
    // The server ends with its runtime.
    _runtime: tokio::runtime::Runtime,
}

impl GitServer {
    /// Starts a server that lets in who sends this as `Authorization` header, or everybody.
    ///
    /// # Errors
    /// Git is not installed, or no port is free.
    pub fn start(authorization: Option<&str>) -> Result<Self> {
        let folder = TempDir::new()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let authorization = authorization.map(str::to_owned);
        let app = runtime.block_on(router(folder.path().to_owned(), authorization))?;
        runtime.spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, folder, _runtime: runtime })
    }

    /// Makes an empty repository that can be pushed to; returns its address.
    ///
    /// # Errors
    /// Git refused.
    pub fn create(&self, name: &str) -> Result<String> {
        let path = self.path(name);
        git(self.folder.path(), &["init", "--quiet", "--bare", "--initial-branch=main", &path.display().to_string()])?;
        git(&path, &["config", "http.receivepack", "true"])?;
        Ok(format!("{}/{name}.git", self.url))
    }

    /// Returns the folder of a repository.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.git"))
    }

    /// Clones a repository as a developer would; returns the working copy.
    ///
    /// # Errors
    /// Git refused.
    pub fn clone_of(&self, name: &str) -> Result<PathBuf> {
        let copy = self.folder.path().join(format!("{name}-copy"));
        git(
            self.folder.path(),
            &["clone", "--quiet", &self.path(name).display().to_string(), &copy.display().to_string()],
        )?;
        Ok(copy)
    }
}

/// Runs `git` in a folder, with nobody's configuration; returns what it printed.
///
/// # Errors
/// It failed; the error holds what it said.
pub fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(["-c", "user.name=Dev", "-c", "user.email=dev@example.com", "-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::null())
        .output()
        .context("git cannot be started")?;
    if !output.status.success() {
        bail!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Writes a file in a working copy, commits it and pushes it.
///
/// # Errors
/// Git refused.
pub fn push_file(copy: &Path, path: &str, content: &str, message: &str) -> Result<String> {
    let file = copy.join(path);
    std::fs::create_dir_all(file.parent().context("a file has a folder")?)?;
    std::fs::write(file, content)?;
    git(copy, &["add", "--all"])?;
    git(copy, &["commit", "--quiet", "-m", message])?;
    git(copy, &["push", "--quiet", "origin", "HEAD:main"])?;
    Ok(git(copy, &["rev-parse", "HEAD"])?.trim().to_owned())
}
