//! The latency of a plugin that gets 100 events per second, as somebody outside sees it: the time from sending an event to
//! reading the event that the plugin returned from the host's live tail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::load::event_json;
use crate::program::Program;
use crate::stats::percentile;

/// Events per second.
const RATE: f64 = 100.0;
/// Longest wait for the last results.
const PATIENCE: Duration = Duration::from_secs(30);
/// Times at which events were due to be sent, by subject, which the echo returns: a sender that is late is the host's delay.
type Sent = Arc<Mutex<HashMap<String, Instant>>>;

/// Sends events of `ty` to the host for `duration`, and returns the p99 until what `installation` returned is seen, in
/// milliseconds. The plugin has to return one event with the subject that it got.
///
/// # Errors
/// The host fails, or a result does not come.
pub(crate) async fn paced_p99_ms(host: &Program, ty: &str, installation: &str, duration: Duration) -> Result<f64> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    let (address, token, ty, installation) = (host.address, host.token.clone(), ty.to_owned(), installation.to_owned());
    std::thread::Builder::new().name("paced".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ran = match runtime {
            Ok(runtime) => runtime.block_on(measure(address, token, ty, installation, duration)),
            Err(error) => Err(error.into()),
        };
        let _ = tx.send(ran);
    })?;
    rx.await.context("the load generator ended early")?
}

async fn measure(
    address: std::net::SocketAddr,
    token: String,
    ty: String,
    installation: String,
    duration: Duration,
) -> Result<f64> {
    let count = (duration.as_secs_f64() * RATE) as usize;
    let sent: Sent = Arc::default();
    let mut tail = BufReader::new(TcpStream::connect(address).await?);
    let path = format!("/v1/events/tail?type=com.example.echoed.v1&source=/plugins/{installation}&data=false");
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n");
    tail.get_mut().write_all(request.as_bytes()).await?;
    let mut line = String::new();
    while !line.starts_with(": connected") {
        line.clear();
        if tail.read_line(&mut line).await? == 0 {
            bail!("the tail ended before it began");
        }
    }
    let senders = tokio::spawn(send(address, token, ty, count, Arc::clone(&sent)));
    let seen = tokio::time::timeout(duration + PATIENCE, see(&mut tail, count, &sent)).await;
    senders.await??;
    match seen {
        Ok(seen) => Ok(percentile(&mut seen?, 0.99)),
        Err(_) => {
            bail!("{} of {count} results did not come", sent.lock().unwrap_or_else(PoisonError::into_inner).len())
        }
    }
}

/// Sends on time, whatever became of the requests before: each on one of a few connections.
async fn send(address: std::net::SocketAddr, token: String, ty: String, count: usize, sent: Sent) -> Result<()> {
    let begun = Instant::now();
    let connections = 16;
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..connections {
        let (token, ty, sent) = (token.clone(), ty.clone(), Arc::clone(&sent));
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut answer = vec![0; 4_096];
            for number in (first..count).step_by(connections) {
                let due = begun + Duration::from_secs_f64(number as f64 / RATE);
                tokio::time::sleep_until(due.into()).await;
                let subject = format!("bench-{number}-end");
                let body = event_json(&ty).replacen("\"data\":", &format!("\"subject\":\"{subject}\",\"data\":"), 1);
                let head = format!(
                    "POST /v1/events HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\ncontent-type: \
                     application/cloudevents+json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                sent.lock().unwrap_or_else(PoisonError::into_inner).insert(subject, due);
                stream.write_all(&[head.into_bytes(), body.into_bytes()].concat()).await?;
                // The answer is short and comes in one piece.
                let length = stream.read(&mut answer).await?;
                let text = String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned();
                if !text.starts_with("HTTP/1.1 202") {
                    bail!("the host answered:\n{text}");
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn see(tail: &mut BufReader<TcpStream>, count: usize, sent: &Sent) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(count);
    let mut line = String::new();
    while times.len() < count {
        line.clear();
        if tail.read_line(&mut line).await? == 0 {
            bail!("the tail ended");
        }
        let Some(at) = line.find("bench-") else { continue };
        let Some(subject) = line.get(at..).and_then(|rest| rest.split_inclusive("-end").next()) else { continue };
        if let Some(sent) = sent.lock().unwrap_or_else(PoisonError::into_inner).remove(subject) {
            times.push(sent.elapsed().as_secs_f64() * 1_000.0);
        }
    }
    Ok(times)
}
