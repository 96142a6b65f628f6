//! A Git server over HTTP: the real `git http-backend`, behind a small CGI server that asks for a user and a password.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

/// A Git server on loopback; it stops with its value.
pub struct GitServer {
    /// Its address, without a path.
    pub url: String,
    folder: TempDir,
    // The server ends with its runtime.
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    root: PathBuf,
    backend: PathBuf,
    /// What `Authorization` must be; nothing is asked for when absent.
    authorization: Option<String>,
}

impl GitServer {
    /// Starts a server that lets in who sends this as `Authorization` header, or everybody.
    ///
    /// # Errors
    /// Git is not installed, or no port is free.
    pub fn start(authorization: Option<&str>) -> Result<Self> {
        let folder = TempDir::new()?;
        let backend = PathBuf::from(git(folder.path(), &["--exec-path"])?.trim()).join("git-http-backend");
        let authorization = authorization.map(str::to_owned);
        let shared = Arc::new(Shared { root: folder.path().to_owned(), backend, authorization });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = Router::new().fallback(serve).with_state(shared);
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

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if shared.authorization.as_ref().is_some_and(|wanted| *wanted != header("authorization")) {
        return answer(StatusCode::UNAUTHORIZED, &[("www-authenticate", "Basic realm=\"git\"")], Vec::new());
    }
    let environment = [
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("GIT_PROJECT_ROOT", shared.root.display().to_string()),
        ("GIT_HTTP_EXPORT_ALL", "1".to_owned()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".to_owned()),
        ("GIT_PROTOCOL", header("git-protocol")),
        ("REMOTE_USER", "pilothouse".to_owned()),
        ("REQUEST_METHOD", method.to_string()),
        ("PATH_INFO", uri.path().to_owned()),
        ("QUERY_STRING", uri.query().unwrap_or_default().to_owned()),
        ("CONTENT_TYPE", header("content-type")),
        ("HTTP_CONTENT_ENCODING", header("content-encoding")),
    ];
    match cgi(&shared.backend, environment, &body).await {
        Ok(output) => parse(&output),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, &[], error.to_string().into_bytes()),
    }
}

async fn cgi<const N: usize>(program: &Path, environment: [(&str, String); N], body: &[u8]) -> Result<Vec<u8>> {
    let mut child = tokio::process::Command::new(program)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("the input is a pipe")?;
    let (written, output) = tokio::join!(
        async move {
            let written = stdin.write_all(body).await;
            drop(stdin);
            written
        },
        child.wait_with_output()
    );
    // A program that has enough closes its input early.
    let _ = written;
    Ok(output?.stdout)
}

/// Makes an answer of a CGI program's output (RFC 3875 §6): headers, an empty line, the body.
fn parse(output: &[u8]) -> Response<Body> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let head = String::from_utf8_lossy(output.get(..end).unwrap_or_default()).into_owned();
    let headers: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    let status = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("status"));
    let code = status.and_then(|(_, value)| value.split(' ').next()?.parse().ok()).unwrap_or(200);
    answer(
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        &headers,
        output.get(end + 4..).unwrap_or_default().to_vec(),
    )
}

fn answer(status: StatusCode, headers: &[(&str, &str)], body: Vec<u8>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("status")) {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body)).unwrap_or_default()
}
