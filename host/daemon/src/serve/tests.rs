//! What needs a socket: slow and broken clients, and the end of a host.

use std::sync::Arc;

use pilothouse_core::quantity::Span;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

pub(super) struct Running {
    pub(super) address: std::net::SocketAddr,
    token: String,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Drained>,
    _folder: TempDir,
}

fn options(folder: &TempDir, change: impl FnOnce(&mut Config)) -> StartOptions {
    let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
    config.runtime.instances = 16;
    config.runtime.guest_threads = 1;
    change(&mut config);
    let supervisor = SupervisorCommand { program: "/bin/false".into(), arguments: Vec::new() };
    StartOptions { config: Arc::new(config), supervisor, clock: Arc::new(SystemClock) }
}

pub(super) async fn start(change: impl FnOnce(&mut Config)) -> Running {
    let folder = TempDir::new().unwrap();
    let Started { host, first_token } = Host::start(options(&folder, change)).await.unwrap();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(host.run(listener, async {
        let _ = stopped.await;
    }));
    Running { address, token: first_token.unwrap().reveal(), stop, ended, _folder: folder }
}

impl Running {
    /// Sends bytes and reads until the host closes the connection or `until` has been seen.
    pub(super) async fn exchange(&self, bytes: &[u8], until: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A host that refuses early may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        while !text.contains(until) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
            }
        }
        text
    }

    pub(super) fn head(&self, rest: &str) -> String {
        format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/cloudevents+json\r\n{rest}\r\n\r\n",
            self.token
        )
    }
}

pub(super) const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;

#[tokio::test]
async fn a_slow_client_is_answered_408_or_cut_off() {
    let brief = Span(Duration::from_millis(200));
    let running = start(|config| {
        config.limits.header_timeout = brief;
        config.limits.body_timeout = brief;
    })
    .await;
    let body = running.exchange(running.head("content-length: 100").as_bytes(), "body-too-slow").await;
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    // Neither of these ever says enough to be answered; that the read ends proves that they were cut off.
    assert!(!running.exchange(b"POST /v1/events HTTP/1.1\r\nhost: x\r\nx-slow: ", "never").await.contains("202"));
    assert_eq!(running.exchange(b"PR", "never").await, "");
}

#[tokio::test]
async fn broken_requests_are_refused_and_the_host_lives_on() {
    let running = start(|_| {}).await;
    let status = |text: &str| text.split(' ').nth(1).unwrap_or("closed").to_owned();
    let long = "a".repeat(20_000);
    for (bytes, expected) in [
        (running.head("content-length: 3\r\nx-fold: a\r\n b"), "400"),
        (running.head("content-length: 3\r\nx-nul: a\0b"), "400"),
        (running.head("content-length : 3"), "400"),
        (running.head("content-length: 3\r\ncontent-length: 4"), "400"),
        (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), "414"),
        (running.head(&(0..150).map(|number| format!("x-{number}: v")).collect::<Vec<_>>().join("\r\n")), "431"),
        ("garbage\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = running.exchange(bytes.as_bytes(), "HTTP/1.1 ").await;
        assert_eq!(status(&answer), expected, "{}", &bytes[..bytes.len().min(300)]);
    }
    let endless = format!(
        "{}{}",
        running.head("transfer-encoding: chunked"),
        "10000\r\n".to_owned() + &"x".repeat(0x10000) + "\r\n"
    );
    let chunk = "10000\r\n".to_owned() + &"x".repeat(0x10000) + "\r\n";
    let answer = running.exchange((endless + &chunk.repeat(40)).as_bytes(), "body-too-large").await;
    assert_eq!(status(&answer), "413");
    let fine = format!("{}{EVENT}", running.head(&format!("content-length: {}", EVENT.len())));
    assert_eq!(status(&running.exchange(fine.as_bytes(), "\"seq\"").await), "202");
}

#[tokio::test]
async fn http_1_0_pipelining_and_expect_continue_are_understood() {
    let running = start(|_| {}).await;
    let old = format!(
        "POST /v1/events HTTP/1.0\r\nauthorization: Bearer {}\r\ncontent-type: application/cloudevents+json\r\ncontent-length: {}\r\n\r\n{EVENT}",
        running.token,
        EVENT.len()
    );
    assert!(running.exchange(old.as_bytes(), "\"seq\"").await.contains(" 202 "));
    let one = format!("{}{EVENT}", running.head(&format!("content-length: {}", EVENT.len())));
    let health = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let both = running.exchange((one + health).as_bytes(), "\"ok\"").await;
    assert!(both.contains(" 202 ") && both.contains(" 200 "), "{both}");
    let asked = running.head(&format!("expect: 100-continue\r\ncontent-length: {}", EVENT.len()));
    assert!(running.exchange(asked.as_bytes(), "100").await.starts_with("HTTP/1.1 100"));
}

#[tokio::test]
async fn a_second_host_cannot_have_the_port_or_the_data_of_the_first() {
    let folder = TempDir::new().unwrap();
    let first = Host::start(options(&folder, |_| {})).await.unwrap();
    let second = Host::start(options(&folder, |_| {})).await.err().unwrap().to_string();
    assert!(second.contains("locked by another process"), "{second}");
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let taken = bind(listener.local_addr().unwrap()).await.unwrap_err().to_string();
    assert!(taken.contains("--listen"), "{taken}");
    drop(first);
}

#[tokio::test]
async fn a_host_that_is_told_to_stop_lets_requests_end_and_keeps_what_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    let Started { host, first_token } = Host::start(options(&folder, |_| {})).await.unwrap();
    let token = first_token.unwrap().reveal();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(host.run(listener, async {
        let _ = stopped.await;
    }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/cloudevents+json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        EVENT.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The interim answer proves that the request is under way.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    stop.send(()).unwrap();
    stream.write_all(EVENT.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 202 "), "{answer}");
    assert_eq!(ended.await.unwrap(), Drained { requests: true, deliveries: true });

    let again = Host::start(options(&folder, |_| {})).await.unwrap();
    assert!(again.first_token.is_none());
    assert!(again.host.store.event_by_identity("/s", "1").await.unwrap().is_some());
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_at_the_deadline() {
    let running = start(|config| config.drain_timeout = Span(Duration::from_millis(100))).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(running.head("expect: 100-continue\r\ncontent-length: 100").as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    running.stop.send(()).unwrap();
    assert!(!running.ended.await.unwrap().requests);
}

#[tokio::test]
async fn http_2_is_spoken_without_an_upgrade() {
    let running = start(|_| {}).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request =
        client.build().unwrap().post(format!("http://{}/v1/events", running.address)).bearer_auth(&running.token);
    let answer = request.header("content-type", "application/cloudevents+json").body(EVENT).send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 202));
}

#[tokio::test]
async fn beyond_the_limit_a_connection_waits_until_another_one_ends() {
    let running = start(|config| config.limits.connections_max = 1).await;
    let health = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = TcpStream::connect(running.address).await.unwrap();
    first.write_all(health).await.unwrap();
    let mut byte = [0; 1];
    first.read_exact(&mut byte).await.unwrap();
    let second = running.exchange(health, "\"ok\"");
    tokio::pin!(second);
    // The first connection is alive, so the second one has no answer, however often it is asked for.
    for _ in 0..100 {
        assert!(futures_util::poll!(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
    drop(first);
    assert!(second.await.contains(" 200 "));
}
