//! `pilothouse event tail`: shows events as they are accepted, and goes on after a broken connection.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use http::Method;
use serde_json::Value;

use super::api::{Api, with_query};
use super::event::{EventFilters, summary};
use super::terminal::Format;
use super::{CliError, Exit, Global, Terminal};

/// Wait before a broken tail is taken up again.
const RECONNECT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct TailCommand {
    #[command(flatten)]
    filters: EventFilters,
    /// Begin after this position instead of now; 0 shows everything that is kept.
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// End after this many events.
    #[arg(long, value_name = "COUNT")]
    count: Option<usize>,
}

impl TailCommand {
    pub(super) async fn run(self, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
        let api = Api::new(global)?;
        let path = with_query("/v1/events/tail", &self.filters.query());
        let mut progress = Progress { last: self.after, left: self.count.unwrap_or(usize::MAX) };
        let mut connected = false;
        while progress.left > 0 {
            let mut request = api.request(Method::GET, &path);
            if let Some(last) = progress.last {
                request = request.header("last-event-id", last.to_string());
            }
            match api.send(request).await {
                Ok(answer) => {
                    connected = true;
                    let reason = follow(answer, &mut progress, terminal).await?;
                    if progress.left > 0 {
                        terminal.note(&format!("the tail ended ({reason}); going on"));
                    }
                }
                // The first failure is an answer; a later one is a host that restarts.
                Err(error) if connected && error.exit() == Exit::Unreachable => {}
                Err(error) => return Err(error),
            }
            if progress.left > 0 {
                tokio::time::sleep(RECONNECT).await;
            }
        }
        Ok(())
    }
}

struct Progress {
    last: Option<u64>,
    left: usize,
}

/// Prints events until the stream ends; returns why it did.
async fn follow(
    answer: reqwest::Response,
    progress: &mut Progress,
    terminal: &mut Terminal,
) -> Result<String, CliError> {
    let mut stream = answer.bytes_stream();
    let mut parser = Parser::default();
    while let Some(Ok(bytes)) = stream.next().await {
        for message in parser.push(&bytes) {
            if message.name == "end" {
                let reason = serde_json::from_str::<Value>(&message.data).unwrap_or_default();
                return Ok(reason.get("reason").and_then(Value::as_str).unwrap_or("no reason given").to_owned());
            }
            let Ok(view) = serde_json::from_str::<Value>(&message.data) else { continue };
            progress.last = message.id.or(progress.last);
            match terminal.format {
                Format::Json => terminal.line(&message.data)?,
                Format::Table => terminal.line(&summary(&view))?,
            }
            progress.left -= 1;
            if progress.left == 0 {
                return Ok(String::new());
            }
        }
    }
    Ok("the connection broke".to_owned())
}

/// A message of a stream of server-sent events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    name: String,
    id: Option<u64>,
    data: String,
}

/// Reads server-sent events, as far as our own host sends them.
#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
    message: Message,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.buffer.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let message = std::mem::take(&mut self.message);
                if !message.data.is_empty() {
                    messages.push(message);
                }
            } else if let Some((field, value)) = line.split_once(':') {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "event" => value.clone_into(&mut self.message.name),
                    "id" => self.message.id = value.parse().ok(),
                    "data" => self.message.data.push_str(value),
                    _ => {}
                }
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_whole_however_the_bytes_are_cut() {
        let text = ": connected\n\nid: 7\ndata: {\"seq\":7}\n\nevent: end\ndata: {}\n\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let messages: Vec<_> = text.as_bytes().chunks(size).flat_map(|chunk| parser.push(chunk)).collect();
            let expected = [
                Message { name: String::new(), id: Some(7), data: "{\"seq\":7}".to_owned() },
                Message { name: "end".to_owned(), id: None, data: "{}".to_owned() },
            ];
            assert_eq!(messages, expected, "in pieces of {size}");
        }
    }
}
