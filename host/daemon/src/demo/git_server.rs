//! Git over HTTP: the real `git http-backend` behind a small CGI server. The upstreams of the demo and of the tests.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

struct Shared {
    root: PathBuf,
    backend: PathBuf,
    /// What `Authorization` must be; nothing is asked for when absent.
    authorization: Option<String>,
}

/// Makes a server of the bare repositories below `root`. It lets in who sends `authorization` as the header of that name,
/// or everybody.
///
/// # Errors
/// Git is not installed.
pub async fn router(root: PathBuf, authorization: Option<String>) -> io::Result<Router> {
    let asked = Command::new("git").arg("--exec-path").stdin(Stdio::null()).output().await?;
    let folder = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    let shared = Shared { root, backend: Path::new(&folder).join("git-http-backend"), authorization };
    Ok(Router::new().fallback(serve).with_state(Arc::new(shared)))
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

async fn cgi<const N: usize>(program: &Path, environment: [(&str, String); N], body: &[u8]) -> io::Result<Vec<u8>> {
    let mut child = Command::new(program)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take();
    let write = async move {
        // A program that has enough closes its input early.
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(body).await;
        }
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    Ok(output?.stdout)
}

/// Makes an answer of a CGI program's output (RFC 3875 §6): headers, an empty line, the body.
fn parse(output: &[u8]) -> Response<Body> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let head = String::from_utf8_lossy(output.get(..end).unwrap_or_default()).into_owned();
    let headers: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    let status = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("status"));
    let code = status.and_then(|(_, value)| value.split(' ').next()?.parse().ok()).unwrap_or(200);
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer(code, &headers, output.get(end + 4..).unwrap_or_default().to_vec())
}

fn answer(status: StatusCode, headers: &[(&str, &str)], body: Vec<u8>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("status")) {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body)).unwrap_or_default()
}
