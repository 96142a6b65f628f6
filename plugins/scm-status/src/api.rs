//! The request that sets a status, and what its answer means.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pilothouse_sdk::http::{Request, Response};
use pilothouse_sdk::{Failure, reject};
use serde::Serialize;

use crate::status::{Api, State, Status};

/// Where the API is, for this plugin.
const BASE: &str = "https://scm.connection.internal";
/// The version of GitHub's API that the request is written for.
const GITHUB_VERSION: &str = "2022-11-28";
/// Longest text of an answer that a message quotes.
const TEXT_CHARS_MAX: usize = 200;

/// The members that GitHub and GitLab call differently.
#[derive(Serialize)]
struct Body<'a> {
    state: &'static str,
    description: &'a str,
    /// GitHub.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    /// GitLab.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

fn word(state: State, api: Api) -> &'static str {
    match (state, api) {
        (State::Pending, _) => "pending",
        (State::Success, _) => "success",
        (State::Failure, Api::Github) => "failure",
        (State::Error, Api::Github) => "error",
        (State::Failure | State::Error, Api::Gitlab) => "failed",
    }
}

/// Makes the request.
pub fn request(status: &Status, api: Api) -> Request {
    let Status { repository, commit, state, context, description } = status;
    let state = word(*state, api);
    match api {
        Api::Github => {
            let part = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let path: Vec<String> = repository.split('/').map(part).collect();
            Request::post(format!("{BASE}/repos/{}/statuses/{commit}", path.join("/")))
                .header("accept", "application/vnd.github+json")
                .header("x-github-api-version", GITHUB_VERSION)
                .header("user-agent", "pilothouse")
                .json(&Body { state, description, context: Some(context), name: None })
        }
        Api::Gitlab => {
            let project = utf8_percent_encode(repository, NON_ALPHANUMERIC);
            Request::post(format!("{BASE}/api/v4/projects/{project}/statuses/{commit}")).json(&Body {
                state,
                description,
                context: None,
                name: Some(context),
            })
        }
    }
}

/// Reads the answer.
///
/// # Errors
/// It is worth another attempt, or it is not: then it says what to mend.
pub fn taken(response: &Response) -> Result<(), Failure> {
    let clean =
        |text: &str| text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(TEXT_CHARS_MAX).collect();
    let text: String = clean(&response.text());
    let limited = response.header("x-ratelimit-remaining") == Some("0") || response.retry_after().is_some();
    match response.status {
        200..=299 => Ok(()),
        // GitLab refuses to set the state that a commit has already.
        400 if text.contains("Cannot transition status") => Ok(()),
        403 if limited => again(response, &text),
        408 | 425 | 429 | 500.. => again(response, &text),
        401 | 403 => Err(reject(format!(
            "the token of the connection `scm` may not set a status (status {}): {text}",
            response.status
        ))),
        404 | 422 => Err(reject(format!(
            "the repository or the commit is not known there, or the token does not see it (status {}): {text}",
            response.status
        ))),
        status => Err(reject(format!("the status was not set (status {status}): {text}"))),
    }
}

fn again(response: &Response, text: &str) -> Result<(), Failure> {
    let reason = format!("the API answered with status {}: {text}", response.status);
    Err(Failure::Retry { reason, after: response.retry_after() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Result<(), Failure> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        taken(&Response { status, headers, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn busy_services_are_asked_again_and_refusals_are_final() {
        assert_eq!(answer(201, &[], "{}"), Ok(()));
        assert_eq!(answer(400, &[], "Cannot transition status via :succeed from :success"), Ok(()));
        for (status, headers) in [
            (429, vec![]),
            (500, vec![]),
            (503, vec![]),
            (403, vec![("x-ratelimit-remaining", "0")]),
            (403, vec![("retry-after", "7")]),
        ] {
            assert!(matches!(answer(status, &headers, "x"), Err(Failure::Retry { .. })), "{status} {headers:?}");
        }
        for (status, expected) in
            [(401, "token"), (403, "token"), (404, "not known"), (422, "not known"), (302, "not set")]
        {
            let Err(Failure::Reject(reason)) = answer(status, &[], "x") else { panic!("{status}") };
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
