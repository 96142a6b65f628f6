//! The load generator: HTTP/1.1 connections that stay open, on one thread beside the host.
//!
//! Each connection sends a request, waits for its answer, and goes on; with a rate it waits for its turn first. Any answer
//! but 202 ends the measurement.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::stats::percentile;

/// Bytes of one event in JSON.
pub(crate) const EVENT_BYTES: usize = 1_024;
/// What is sent before the measurement counts.
pub(crate) const WARM_UP: Duration = Duration::from_millis(400);

/// Numbers for ids: none comes twice in one run of the bench.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What a request holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// An empty batch of the size of one event: router, token, body, a 202, and nothing stored.
    Nothing,
    /// One event of this type, in structured mode.
    Event(&'static str),
    /// So many events of this type.
    Batch(&'static str, usize),
}

/// A load.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) body: Body,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// Requests per second over all connections; as many as get answers when absent.
    pub(crate) rate: Option<f64>,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded {
    /// Requests answered within the measured time, and the warm-up's beside.
    pub(crate) counted: u64,
    pub(crate) all: u64,
    /// The measured time, in seconds.
    pub(crate) seconds: f64,
    /// Times from sending to the answer, in milliseconds.
    pub(crate) latencies_ms: Vec<f64>,
}

impl Loaded {
    /// Returns requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.counted as f64 / self.seconds
    }

    /// Returns the p99 from sending to the answer.
    pub(crate) fn p99_ms(&self) -> f64 {
        percentile(&mut self.latencies_ms.clone(), 0.99)
    }
}

/// Makes the JSON of one event with a fresh id.
pub(crate) fn event_json(ty: &str) -> String {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let head = format!(
        r#"{{"specversion":"1.0","id":"{id:016x}","source":"/bench","type":"{ty}","datacontenttype":"application/json","data":{{"pad":""#
    );
    let pad = EVENT_BYTES.saturating_sub(head.len() + 3);
    format!("{head}{}\"}}}}", "x".repeat(pad))
}

impl Load {
    /// Runs the load on a thread of its own.
    ///
    /// # Errors
    /// A connection breaks, or an answer is not 202.
    pub(crate) async fn run(self) -> Result<Loaded> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let ran = match runtime {
                Ok(runtime) => runtime.block_on(self.generate()),
                Err(error) => Err(error.into()),
            };
            let _ = tx.send(ran);
        })?;
        rx.await.context("the load generator ended early")?
    }

    async fn generate(self) -> Result<Loaded> {
        let mut connections = JoinSet::new();
        let begun = Instant::now();
        for index in 0..self.connections {
            connections.spawn(self.clone().connection(index, begun));
        }
        let mut loaded = Loaded { seconds: self.duration.as_secs_f64(), ..Loaded::default() };
        while let Some(one) = connections.join_next().await {
            let one = one??;
            loaded.counted += one.counted;
            loaded.all += one.all;
            loaded.latencies_ms.extend(one.latencies_ms);
        }
        Ok(loaded)
    }

    async fn connection(self, index: usize, begun: Instant) -> Result<Loaded> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (from, end) = (begun + WARM_UP, begun + WARM_UP + self.duration);
        let step = self.rate.map(|rate| Duration::from_secs_f64(self.connections as f64 / rate));
        let mut due = begun + step.unwrap_or_default().mul_f64(index as f64 / self.connections as f64);
        let (mut loaded, mut answer) = (Loaded::default(), Vec::with_capacity(1_024));
        loop {
            if let Some(step) = step {
                tokio::time::sleep_until(due.into()).await;
                due += step;
            }
            let sent = Instant::now();
            if sent >= end {
                return Ok(loaded);
            }
            stream.write_all(&self.request()).await?;
            read_answer(&mut stream, &mut answer).await?;
            let now = Instant::now();
            loaded.all += 1;
            if now >= from && now < end {
                loaded.counted += 1;
                loaded.latencies_ms.push((now - sent).as_secs_f64() * 1_000.0);
            }
        }
    }

    fn request(&self) -> Vec<u8> {
        let (mode, body) = match self.body {
            Body::Nothing => ("-batch", format!("[{}]", " ".repeat(EVENT_BYTES - 2))),
            Body::Event(ty) => ("", event_json(ty)),
            Body::Batch(ty, count) => {
                let events: Vec<String> = (0..count).map(|_| event_json(ty)).collect();
                ("-batch", format!("[{}]", events.join(",")))
            }
        };
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\ncontent-type: \
             application/cloudevents{mode}+json\r\ncontent-length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    let mut expected = None;
    loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("the host closed the connection");
        }
        if expected.is_none()
            && let Some(head) = answer.windows(4).position(|part| part == b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(answer.get(..head).unwrap_or_default()).to_ascii_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if !text.starts_with("http/1.1 202") {
                bail!(
                    "the host answered:\n{text}\n{}",
                    String::from_utf8_lossy(answer.get(head..).unwrap_or_default())
                );
            }
            expected = Some(head + 4 + length.context("an answer without a length")?);
        }
        if expected.is_some_and(|expected| answer.len() >= expected) {
            return Ok(());
        }
    }
}
