//! Clients that abuse the protocol: two lengths for one body, streams that are opened to be reset, headers without end.

use super::tests::{EVENT, Running, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// RFC 9113 §7.
const ENHANCE_YOUR_CALM: u8 = 11;
/// `:method GET`, `:path /`, `:scheme http` by their numbers, and `:authority x` (RFC 7541, appendix A).
const GET: [u8; 6] = [0x82, 0x84, 0x86, 0x41, 0x01, b'x'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Sends frames until the host ends the connection; returns the code of its `GOAWAY`.
async fn until_told_to_go(running: &Running, mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u8> {
    let (mut reader, mut writer) = TcpStream::connect(running.address).await.unwrap().into_split();
    writer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    writer.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut code = None;
        let mut head = [0; 9];
        while reader.read_exact(&mut head).await.is_ok() {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            if reader.read_exact(&mut payload).await.is_err() {
                break;
            }
            if head[3] == GO_AWAY {
                code = payload.get(7).copied();
            }
        }
        code
    });
    // Far more than any limit; the host hangs up long before.
    for number in 0..200_000 {
        if writer.write_all(&next(number)).await.is_err() || reading.is_finished() {
            break;
        }
    }
    reading.await.unwrap()
}

async fn lives_on(running: &Running) {
    let fine = format!("{}{EVENT}", running.head(&format!("content-length: {}", EVENT.len())));
    let answer = running.exchange(fine.as_bytes(), "\"seq\"").await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_opened_to_be_reset_end_their_connection_and_no_other() {
    let running = start(|_| {}).await;
    let code = until_told_to_go(&running, |number| {
        let stream = number * 2 + 1;
        let mut both = frame(HEADERS, END_STREAM | END_HEADERS, stream, &GET);
        both.extend(frame(RESET, 0, stream, &[0, 0, 0, 8]));
        both
    })
    .await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    lives_on(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_end_their_connection_and_no_other() {
    let running = start(|_| {}).await;
    let code = until_told_to_go(&running, |number| match number {
        0 => frame(HEADERS, END_STREAM, 1, &GET),
        // One literal header that is not indexed, and always the same.
        _ => frame(CONTINUATION, 0, 1, &[0x00, 0x01, b'a', 0x01, b'b']),
    })
    .await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    lives_on(&running).await;
}

/// RFC 9112 §6.1 and §6.3: `Transfer-Encoding` overrides `Content-Length`, and an encoding that does not end in `chunked` has
/// no length that anybody could agree on.
#[tokio::test]
async fn a_body_with_two_lengths_is_read_by_its_chunks_and_nothing_is_smuggled() {
    let running = start(|_| {}).await;
    let chunked = format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    // By its `Content-Length` the second request would be part of the body of the first.
    let hidden = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let both = running.head(&format!("content-length: {}\r\ntransfer-encoding: chunked", chunked.len() + hidden.len()));
    let answer = running.exchange(format!("{both}{chunked}{hidden}").as_bytes(), "\"ok\"").await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    // Whoever reads by chunks sees two requests: an answer to each, or the connection closed after the first.
    assert!(answer.matches("HTTP/1.1 200").count() <= 1, "{answer}");

    for ambiguous in [
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: identity\r\ncontent-length: 4",
        "transfer-encoding:\u{b}chunked\r\ncontent-length: 4",
        "content-length: +4",
        "content-length: 4, 5",
        "content-length: 0x4",
    ] {
        let answer = running.exchange((running.head(ambiguous) + &chunked).as_bytes(), "HTTP/1.1 ").await;
        assert!(!answer.contains(" 202 "), "{ambiguous}: {answer}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{ambiguous}: {answer}");
    }
    for broken in ["zz\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "5;a=\u{0}\r\nhello\r\n0\r\n\r\n"] {
        let request = running.head("transfer-encoding: chunked") + broken;
        let answer = running.exchange(request.as_bytes(), "HTTP/1.1 ").await;
        assert!(!answer.contains(" 202 "), "{broken:?}: {answer}");
    }
    lives_on(&running).await;
}
