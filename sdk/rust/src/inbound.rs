//! Requests of tools that send no CloudEvents, and what becomes of them.

use serde::de::DeserializeOwned;

use crate::Event;
use crate::shim::inbound_bindings::exports::pilothouse::plugin::inbound as wit;

/// A request whose caller the host has verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// What stands behind the route's name, without a leading `/`.
    pub path: String,
    /// What stands behind `?`.
    pub query: String,
    /// Names in lower case. Those that prove who calls are left out.
    pub headers: Vec<(String, String)>,
    /// The body, at most 1 MiB.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns a header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// It is not as `T` needs it; the text is for the caller.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("the body is not as expected: {error}"))
    }
}

/// What a request becomes.
#[derive(Clone, Debug, Default)]
pub struct Received {
    events: Vec<Event>,
    response: Option<Response>,
    decisions: Vec<wit::Decision>,
}

#[derive(Clone, Debug)]
struct Response {
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

impl Received {
    /// Makes nothing of it: a request that is not of interest.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds an event. With an `id` that the tool repeats when it sends again, the repeat has no effect.
    #[must_use]
    pub fn event(mut self, event: impl Into<Event>) -> Self {
        self.events.push(event.into());
        self
    }

    /// Decides an approval in the name of a person, as the tool knows them. The operator says which token that is.
    #[must_use]
    pub fn decision(mut self, approval: &str, approve: bool, comment: &str, user: &str) -> Self {
        let [approval, comment, user] = [approval, comment, user].map(str::to_owned);
        self.decisions.push(wit::Decision { approval, approve, comment, user });
        self
    }

    /// Answers the caller otherwise than with 202; the status is from 200 to 299, the body has at most 64 KiB.
    #[must_use]
    pub fn response(mut self, status: u16, content_type: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        self.response = Some(Response { status, content_type: content_type.into(), body: body.into() });
        self
    }
}

impl From<wit::Request> for Request {
    fn from(request: wit::Request) -> Self {
        let wit::Request { method, path, query, headers, body } = request;
        Self { method, path, query, headers, body }
    }
}

impl From<Received> for wit::Received {
    fn from(received: Received) -> Self {
        let response = received.response.map(|it| wit::Response {
            status: it.status,
            content_type: it.content_type,
            body: it.body,
        });
        Self { events: received.events.into_iter().map(Into::into).collect(), response, decisions: received.decisions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_by_its_headers_and_as_json() {
        let headers = vec![("x-kind".to_owned(), "push".to_owned())];
        let request = Request { headers, body: b"{\"a\":1}".to_vec(), ..Request::default() };
        assert_eq!(request.header("x-kind"), Some("push"));
        assert_eq!(request.json::<serde_json::Value>(), Ok(serde_json::json!({ "a": 1 })));
        assert!(request.json::<Vec<u8>>().unwrap_err().contains("not as expected"));
    }
}
