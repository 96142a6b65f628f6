//! Outbound HTTP against a real server on loopback: what is denied, what is added, what is cut.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use pilothouse_core::event::EventBuilder;
use pilothouse_core::grant::{EffectiveGrants, HostRule, Network};
use pilothouse_core::name::{ConnectionName, InstallationName, OutputName};
use pilothouse_core::resource::FilePath;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::resolve::Lookup;
use super::send::{REQUEST_BODY_BYTES_MAX, RESPONSE_BODY_BYTES_MAX, send};
use super::{Clients, Egress};
use crate::log::CallLog;
use crate::outputs::{OutputDirectory, OutputError};
use crate::services::NoServices;
use crate::{
    Connection, EmitError, JobError, JobRequest, JobStatus, LogError, LogPage, LogQuery, ResourceError, ResourceLevel,
    Services,
};

/// A server that records what it gets and answers every request alike.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(response: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, response) = (Arc::clone(&requests), Arc::new(response.into()));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (seen, response) = (Arc::clone(&seen), Arc::clone(&response));
                tokio::spawn(async move {
                    let mut text = Vec::new();
                    let mut piece = vec![0; 64 << 10];
                    // A request ends with its head, or with a body that ends in the word END.
                    while let Ok(length @ 1..) = socket.read(&mut piece).await {
                        text.extend_from_slice(&piece[..length]);
                        let has_body = !text.starts_with(b"GET");
                        if text.ends_with(b"\r\n\r\n") && !has_body
                            || has_body && text.windows(3).any(|it| it == b"END")
                        {
                            break;
                        }
                    }
                    seen.lock().unwrap().push(String::from_utf8_lossy(&text).into_owned());
                    let _ = socket.write_all(&response).await;
                });
            }
        });
        Self { address, requests }
    }

    async fn ok() -> Self {
        Self::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn seen(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Answers each lookup with the next list; the last one stays.
struct Answers(Mutex<VecDeque<Vec<IpAddr>>>);

#[async_trait::async_trait]
impl Lookup for Answers {
    async fn lookup(&self, _name: &str) -> std::io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        Ok(if answers.len() > 1 { answers.pop_front().unwrap() } else { answers.front().cloned().unwrap_or_default() })
    }
}

struct OneConnection(Connection);

#[async_trait::async_trait]
impl Services for OneConnection {
    async fn emit(&self, index: u32, event: EventBuilder) -> Result<(), EmitError> {
        NoServices.emit(index, event).await
    }
    async fn key_value(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        NoServices.key_value(key).await
    }
    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, String> {
        NoServices.keys(after, limit).await
    }
    fn connection(&self, operator_name: &ConnectionName) -> Result<Connection, String> {
        assert_eq!(operator_name.as_str(), "team-channel");
        Ok(self.0.clone())
    }
    fn output_directory(&self, operator_name: &OutputName) -> Result<OutputDirectory, OutputError> {
        NoServices.output_directory(operator_name)
    }
    async fn resource(&self, level: Option<ResourceLevel>, path: &FilePath) -> Result<Vec<u8>, ResourceError> {
        NoServices.resource(level, path).await
    }

    async fn resources(&self, level: ResourceLevel, prefix: &str) -> Result<Vec<(String, u64)>, ResourceError> {
        NoServices.resources(level, prefix).await
    }

    async fn project_services(&self) -> Result<Vec<String>, ResourceError> {
        Ok(Vec::new())
    }

    async fn earlier_events(&self, _: LogQuery) -> Result<LogPage, LogError> {
        Ok(LogPage::default())
    }

    async fn prepare_job(&self, request: JobRequest) -> Result<String, JobError> {
        NoServices.prepare_job(request).await
    }
    async fn job_status(&self, id: &str) -> Result<JobStatus, JobError> {
        NoServices.job_status(id).await
    }
    async fn open_artifact(
        &self,
        id: &str,
        artifact: &str,
    ) -> Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>, JobError> {
        NoServices.open_artifact(id, artifact).await
    }
}

/// What a plugin with these rules and networks can do; every name resolves to the answers in turn.
fn egress(rules: &[&str], networks: &[&str], answers: &[&[&str]]) -> Egress {
    let answers = answers.iter().map(|list| list.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
    Egress {
        installation: InstallationName::new("my-guest").unwrap(),
        grants: Arc::new(EffectiveGrants {
            http: rules.iter().map(|rule| HostRule::parse(rule).unwrap()).collect(),
            networks: networks.iter().map(|network| Network::parse(network).unwrap()).collect(),
            ..EffectiveGrants::default()
        }),
        services: Arc::new(NoServices),
        log: CallLog::new(10_000),
        client: Arc::new(Clients::with_lookup(Arc::new(Answers(Mutex::new(answers))))).client(),
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

/// What a plugin with one connection, `slack`, can do.
fn connected(base_url: &str) -> Egress {
    let mut egress = egress(&[], &[], &[]);
    let names = ["slack", "team-channel"].map(|name| ConnectionName::new(name).unwrap());
    let [own, operators] = names;
    egress.grants =
        Arc::new(EffectiveGrants { connections: BTreeMap::from([(own, operators)]), ..EffectiveGrants::default() });
    let headers = vec![(http::header::AUTHORIZATION, "Bearer of-the-host".parse().unwrap())];
    egress.services = Arc::new(OneConnection(Connection { base_url: base_url.to_owned(), headers }));
    egress
}

fn body(bytes: impl Into<Bytes>) -> WasiBody {
    Full::new(bytes.into()).map_err(Into::into).boxed_unsync()
}

fn request(uri: &str) -> Request<WasiBody> {
    Request::get(uri).body(body("")).unwrap()
}

async fn get(egress: &Egress, uri: &str) -> Result<(u16, String), Error> {
    let response = send(egress, request(uri), RequestOptions::default()).await?;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

async fn denied(egress: &Egress, uri: &str) -> String {
    let result = get(egress, uri).await;
    assert!(matches!(result, Err(Error::HttpRequestDenied)), "{uri}: {result:?}");
    egress.log.take().0.into_iter().map(|line| line.message).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn everything_is_denied_by_default_and_the_log_names_the_grant() {
    let server = Server::ok().await;
    let egress = egress(&[], &[], &[&["127.0.0.1"]]);
    assert_eq!(
        denied(&egress, "https://api.x.io/secret?token=1").await,
        "denied: GET https://api.x.io: add http = [\"https://api.x.io\"] to the grants of `my-guest`"
    );
    let uri = format!("http://localhost:{}/", server.port());
    assert!(denied(&egress, &uri).await.contains(&format!("http = [\"http://localhost:{}\"]", server.port())));
    assert_eq!(
        denied(&egress, "https://slack.connection.internal/x").await,
        "denied: GET https://slack.connection.internal: add slack = \"<the operator's connection>\" under \
         [connections] in the grants of `my-guest`"
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_private_address_needs_a_rule_and_a_network() {
    let server = Server::ok().await;
    let origin = format!("http://svc.example:{}", server.port());
    let uri = format!("{origin}/path?q=1");
    let without = egress(&[&origin], &[], &[&["127.0.0.1"]]);
    assert_eq!(
        denied(&without, &uri).await,
        format!(
            "denied: GET {origin}: the address 127.0.0.1 is loopback: add networks = [\"127.0.0.1/32\"] to the grants \
             of `my-guest`"
        )
    );
    assert!(server.seen().is_empty());
    let with = egress(&[&origin], &["127.0.0.1/32"], &[&["127.0.0.1"]]);
    assert_eq!(get(&with, &uri).await.unwrap(), (200, "ok".to_owned()));
    let seen = server.seen().concat();
    assert!(seen.starts_with("GET /path?q=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("host: svc.example:{}\r\n", server.port())), "{seen}");
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_connected_only_where_it_was_checked() {
    let server = Server::ok().await;
    let origin = format!("http://rebind.example:{}", server.port());
    // The first answer is allowed, and nobody listens there; were the name resolved again before connecting, the
    // second answer would lead to the server.
    let flipping = egress(&[&origin], &["127.0.0.2/32"], &[&["127.0.0.2"], &["127.0.0.1"]]);
    let result = get(&flipping, &origin).await;
    assert!(matches!(result, Err(Error::ConnectionRefused)), "{result:?}");
    assert!(denied(&flipping, &origin).await.contains("127.0.0.1 is loopback"));
    // Of a mixed answer only the open addresses are tried.
    let mixed = egress(&[&origin], &["127.0.0.1/32"], &[&["10.0.0.1", "127.0.0.1"], &["10.0.0.1"]]);
    assert!(get(&mixed, &origin).await.is_ok());
    assert!(denied(&mixed, &origin).await.contains("10.0.0.1 is private"));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn metadata_and_loopback_are_denied_in_every_spelling() {
    // Rules for everything that these hosts could be taken for; no network.
    let rules = [
        "http://169.254.169.254",
        "http://127.0.0.1",
        "http://[::1]",
        "http://localhost",
        "http://metadata.google.internal",
        "http://169.254.169.254.nip.io",
        "http://api.example",
    ];
    let egress = egress(&rules, &[], &[&["169.254.169.254"]]);
    for uri in [
        "http://169.254.169.254/latest/meta-data",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0xA9.0xFE.0xA9.0xFE/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fd00:ec2::254]/",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
        "http://LOCALHOST/",
        "http://localhost./",
        "http://metadata.google.internal/",
        "http://METADATA.google.internal./",
        "http://169.254.169.254.nip.io/",
        "http://api.example@169.254.169.254/",
        "http://user:pw@api.example/",
    ] {
        let log = denied(&egress, uri).await;
        assert!(log.starts_with("denied: ") || log.starts_with("refused: "), "{uri}: {log}");
    }
}

#[tokio::test]
async fn a_redirect_is_shown_to_the_guest_and_not_followed() {
    let target = Server::ok().await;
    let head = format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/\r\n", target.port());
    let server = Server::start(format!("{head}content-length: 0\r\nconnection: close\r\n\r\n")).await;
    let origin = format!("http://a.example:{}", server.port());
    let egress = egress(&[&origin], &["127.0.0.0/8"], &[&["127.0.0.1"]]);
    let response = send(&egress, request(&origin), RequestOptions::default()).await.unwrap();
    assert_eq!(response.status().as_u16(), 302);
    assert!(response.headers().contains_key("location"));
    assert!(!response.headers().contains_key("connection"));
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn a_connection_adds_the_hosts_credentials_and_drops_the_guests() {
    let server = Server::ok().await;
    let egress = connected(&format!("http://127.0.0.1:{}/services/T0", server.port()));
    let mut post = Request::post("https://slack.connection.internal/chat.postMessage?x=1").body(body("END")).unwrap();
    post.headers_mut().insert("authorization", "Bearer of-the-guest".parse().unwrap());
    post.headers_mut().insert("host", "evil.example".parse().unwrap());
    post.headers_mut().insert("connection", "x-hop".parse().unwrap());
    post.headers_mut().insert("x-hop", "1".parse().unwrap());
    post.headers_mut().insert("x-kept", "1".parse().unwrap());
    assert_eq!(send(&egress, post, RequestOptions::default()).await.unwrap().status(), 200);
    let seen = server.seen().concat();
    assert!(seen.starts_with("POST /services/T0/chat.postMessage?x=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("authorization: Bearer of-the-host\r\n") && seen.contains("x-kept: 1"), "{seen}");
    assert!(seen.contains("content-length: 3\r\n"), "{seen}");
    for absent in ["of-the-guest", "evil.example", "x-hop"] {
        assert!(!seen.contains(absent), "{absent}: {seen}");
    }
}

#[tokio::test]
async fn a_guest_cannot_leave_its_connection() {
    let server = Server::ok().await;
    let egress = connected(&format!("http://127.0.0.1:{}/services/T0", server.port()));
    for uri in [
        "https://slack.connection.internal/../other",
        "https://slack.connection.internal/%2e%2e/other",
        "https://slack.connection.internal/..%2fother",
        "https://slack.connection.internal:8443/",
        "http://slack.connection.internal/",
        "https://x@slack.connection.internal/",
        "https://other.connection.internal/",
        "https://a.slack.connection.internal/",
    ] {
        let log = denied(&egress, uri).await;
        assert!(!log.contains("127.0.0.1") && !log.contains("T0"), "{log}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_failure_at_a_connection_never_says_its_address() {
    let egress = connected("http://127.0.0.1:1/services/SECRET");
    let result = get(&egress, "https://slack.connection.internal/").await;
    assert!(matches!(result, Err(Error::ConnectionRefused)), "{result:?}");
    let log = format!("{:?}{result:?}", egress.log.take().0);
    assert!(log.contains("connection `slack`") && !log.contains("SECRET") && !log.contains("127.0.0.1"), "{log}");
}

#[tokio::test]
async fn bodies_over_their_limits_are_cut_off() {
    let size = RESPONSE_BODY_BYTES_MAX + 1;
    let server = Server::start(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n")).await;
    let origin = format!("http://a.example:{}", server.port());
    let announced = egress(&[&origin], &["127.0.0.0/8"], &[&["127.0.0.1"]]);
    assert!(matches!(get(&announced, &origin).await, Err(Error::HttpResponseBodySize(Some(_)))));

    let mut unannounced = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    unannounced.resize(unannounced.len() + usize::try_from(size).unwrap(), b'x');
    let server = Server::start(unannounced).await;
    let origin = format!("http://a.example:{}", server.port());
    let egress = egress(&[&origin], &["127.0.0.0/8"], &[&["127.0.0.1"]]);
    assert!(matches!(get(&egress, &origin).await, Err(Error::HttpResponseBodySize(None))));

    let post = Request::post(&origin).body(body(vec![b'x'; REQUEST_BODY_BYTES_MAX + 1])).unwrap();
    let result = send(&egress, post, RequestOptions::default()).await.map(|_| ());
    assert!(matches!(result, Err(Error::HttpRequestBodySize(None))), "{result:?}");
}

#[tokio::test]
async fn a_server_that_stalls_is_left_at_the_guests_timeouts() {
    let server = Server::start("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://a.example:{}", silent.local_addr().unwrap().port());
    let origin = format!("http://a.example:{}", server.port());
    let egress = egress(&[&origin, &silent], &["127.0.0.0/8"], &[&["127.0.0.1"]]);
    let short = Some(Duration::from_millis(30));
    let options = RequestOptions { connect_timeout: short, first_byte_timeout: short, between_bytes_timeout: short };
    let result = send(&egress, request(&silent), options).await.map(|_| ());
    assert!(matches!(result, Err(Error::ConnectionReadTimeout)), "{result:?}");
    let response = send(&egress, request(&origin), options).await.unwrap();
    let result = response.into_body().collect().await.map(|_| ());
    assert!(matches!(result, Err(Error::ConnectionReadTimeout | Error::HttpResponseIncomplete)), "{result:?}");
}

#[tokio::test]
async fn a_call_has_sixteen_requests_open_at_most() {
    let server = Server::ok().await;
    let origin = format!("http://a.example:{}", server.port());
    let egress = egress(&[&origin], &["127.0.0.0/8"], &[&["127.0.0.1"]]);
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(send(&egress, request(&origin), RequestOptions::default()).await.unwrap());
    }
    let result = get(&egress, &origin).await;
    assert!(matches!(result, Err(Error::ConnectionLimitReached)), "{result:?}");
    open.pop();
    assert!(get(&egress, &origin).await.is_ok());
}

#[tokio::test]
async fn tunnels_and_other_schemes_are_refused() {
    let egress = egress(&["https://a.example"], &[], &[&["1.1.1.1"]]);
    for method in ["CONNECT", "TRACE"] {
        let request = Request::builder().method(method).uri("https://a.example/").body(body("")).unwrap();
        let result = send(&egress, request, RequestOptions::default()).await.map(|_| ());
        assert!(matches!(result, Err(Error::HttpRequestDenied)), "{result:?}");
    }
    denied(&egress, "ftp://a.example/").await;
}

/// The roots of this machine are read; the folder is only looked at to skip machines that have none.
#[test]
fn the_clients_can_be_made() {
    assert!(Clients::new().is_ok() || !Path::new("/etc/ssl").exists());
}
