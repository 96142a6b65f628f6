//! Outbound HTTP: to named connections, and to hosts that were granted.
//!
//! A connection is addressed as `https://<name>.connection.internal/<path>`, with the plugin's own name for it; the host
//! puts in the real address and the credentials. Requests happen at least once: the same delivery can come again, so send
//! an idempotency key where the other side takes one ([`crate::Context::delivery_id`]).
//!
//! Never here: redirects (the host does not follow them either), cookies, TLS, credentials.

mod wire;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::describe_json_error;
use crate::{Failure, INSIDE_COMPONENT, OUTSIDE, reject, retry};

/// Largest response body read unless [`Request::body_bytes_max`] says otherwise: far more than an API answers, and far less
/// than the memory of an instance (64 MiB by default).
pub const BODY_BYTES_MAX_DEFAULT: usize = 4 * 1024 * 1024;

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The host refused: the address is not granted, or is one that the grant does not reach. Names the grant if the host did.
    Denied(String),
    /// The request cannot be sent as it is: a bad URL, header or body.
    Invalid(String),
    /// The response body is longer than this many bytes.
    BodyTooLarge(usize),
    /// No answer within the time allowed.
    Timeout,
    /// The other side could not be reached, or broke off.
    Unavailable(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(reason) => write!(f, "the request was denied: {reason}"),
            Self::Invalid(reason) => write!(f, "the request cannot be sent: {reason}"),
            Self::BodyTooLarge(limit) => write!(f, "the response body is longer than {limit} bytes"),
            Self::Timeout => f.write_str("no response in time"),
            Self::Unavailable(reason) => write!(f, "no response: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    /// A timeout and an unreachable peer are worth another attempt; the rest is not.
    fn from(error: Error) -> Self {
        match error {
            Error::Timeout | Error::Unavailable(_) => retry(error.to_string()),
            _ => reject(error.to_string()),
        }
    }
}

/// A request to send.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Absolute URL with scheme `http` or `https`.
    pub url: String,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// Longest wait for the connection, for the first byte, and between bytes; the host's own limit when absent.
    pub timeout: Option<Duration>,
    /// Largest response body read.
    pub body_bytes_max: usize,
    /// Why the body could not be made, reported by [`Request::send`].
    problem: Option<String>,
}

impl Request {
    /// Starts a request with any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            body_bytes_max: BODY_BYTES_MAX_DEFAULT,
            problem: None,
        }
    }

    /// Starts a `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// Starts a `POST`.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// Starts a `PUT`.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// Starts a `DELETE`.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a parameter to the URL's query, percent-encoded.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.url.push(if self.url.contains('?') { '&' } else { '?' });
        percent_encode(name, &mut self.url);
        self.url.push('=');
        percent_encode(value, &mut self.url);
        self
    }

    /// Sets the body as JSON, and the content type. What cannot be written as JSON is reported by [`Request::send`].
    #[must_use]
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body = body,
            Err(error) => self.problem = Some(format!("the body cannot be written as JSON: {error}")),
        }
        self.header("content-type", "application/json")
    }

    /// Sets the body as `application/x-www-form-urlencoded`, and the content type.
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let mut body = String::new();
        for (name, value) in fields {
            if !body.is_empty() {
                body.push('&');
            }
            percent_encode(name, &mut body);
            body.push('=');
            percent_encode(value, &mut body);
        }
        self.body = body.into_bytes();
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Sets the body; set `content-type` as well.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the longest wait for the connection, for the first byte, and between bytes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the largest response body read.
    #[must_use]
    pub fn body_bytes_max(mut self, limit: usize) -> Self {
        self.body_bytes_max = limit;
        self
    }

    /// Sends the request and reads the whole response. A status of 4xx or 5xx is a response, not an error.
    ///
    /// # Errors
    /// The host denied it, the peer did not answer, or the answer is too large.
    pub fn send(self) -> Result<Response, Error> {
        if let Some(problem) = self.problem {
            return Err(Error::Invalid(problem));
        }
        if !INSIDE_COMPONENT {
            return Err(Error::Unavailable(OUTSIDE.to_owned()));
        }
        wire::send(self)
    }
}

/// A response, read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields in order, names as sent; values that are not UTF-8 with replacement characters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the first header field of that name, in any letter case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Tells whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the body as text, with replacement characters where it is not UTF-8.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// A retry, since a peer that answers something else is often a proxy in trouble. Never quotes the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            retry(format!("the response (status {}) is not as expected: {}", self.status, describe_json_error(&error)))
        })
    }

    /// Returns the response if its status is 2xx, and a failure that fits the status if not.
    ///
    /// # Errors
    /// A retry for 408, 425, 429 and 5xx, after the time that the peer asked for; a reject for all else.
    pub fn success(self) -> Result<Self, Failure> {
        if self.is_success() {
            return Ok(self);
        }
        let reason = format!("the peer answered with status {}", self.status);
        if matches!(self.status, 408 | 425 | 429 | 500..) {
            return Err(Failure::Retry { reason, after: self.retry_after() });
        }
        Err(reject(reason))
    }

    /// Returns how long the peer asks to wait (`Retry-After`), in either of its forms.
    ///
    /// A date counts from the response's own `Date`, so that clocks that differ do no harm; without one it is not read.
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.header("retry-after")?.trim();
        if let Ok(seconds) = value.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        let until = seconds_of_http_date(value)?;
        let now = seconds_of_http_date(self.header("date")?.trim())?;
        Some(Duration::from_secs(until.saturating_sub(now)))
    }
}

/// Reads the preferred form of an HTTP date (RFC 9110 §5.6.7), `Sun, 06 Nov 1994 08:49:37 GMT`, as seconds since 1970.
fn seconds_of_http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let month_name = parts.next()?;
    let month = MONTHS.iter().position(|it| *it == month_name)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':').map(|it| it.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if parts.next()? != "GMT" || !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Years are counted from March, so that the leap day is the last day of a year.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    /// 1970-01-01 in days counted as above.
    const EPOCH_DAYS: u64 = 719_468;
    Some((days - EPOCH_DAYS) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Appends `text` with all but RFC 3986's unreserved characters percent-encoded.
fn percent_encode(text: &str, to: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push('%');
            for digit in [byte >> 4, byte & 15] {
                to.push(char::from(HEX.get(usize::from(digit)).copied().unwrap_or(b'0')));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Response { status, headers, body: Vec::new() }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        assert_eq!(response(429, &[("Retry-After", "7")]).retry_after(), Some(Duration::from_secs(7)));
        let dates = [("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")];
        assert_eq!(response(503, &dates).retry_after(), Some(Duration::from_secs(30)));
        assert_eq!(response(503, &[("retry-after", "soon")]).retry_after(), None);
    }

    #[test]
    fn an_http_date_is_the_second_that_the_standard_says() {
        assert_eq!(seconds_of_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds_of_http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds_of_http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(seconds_of_http_date("yesterday"), None);
    }

    #[test]
    fn too_many_requests_is_retried_and_not_found_is_not() {
        let failure = response(429, &[("retry-after", "3")]).success().unwrap_err();
        assert!(matches!(failure, Failure::Retry { after: Some(after), .. } if after.as_secs() == 3));
        assert!(matches!(response(404, &[]).success(), Err(Failure::Reject(_))));
        assert!(matches!(response(502, &[]).success(), Err(Failure::Retry { .. })));
        assert!(response(204, &[]).success().is_ok());
    }

    #[test]
    fn a_query_is_percent_encoded() {
        let request = Request::get("http://x/q").query("query", "rate(a{b=\"c d\"})").query("é", "1");
        assert_eq!(request.url, "http://x/q?query=rate%28a%7Bb%3D%22c%20d%22%7D%29&%C3%A9=1");
    }
}
