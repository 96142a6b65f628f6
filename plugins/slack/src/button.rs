//! Reads what Slack sends when somebody presses a button (`block_actions`, as a form with one member `payload`).
//!
//! Never here: whether the request is Slack's, and who may decide. The host has checked the one, and checks the other.

use pilothouse_sdk::{Received, Request};
use serde::Deserialize;

/// Longest name of a person that a comment has.
const NAME_CHARS_MAX: usize = 80;

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    user: Option<User>,
    #[serde(default)]
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    action_id: String,
    #[serde(default)]
    value: String,
}

/// Makes the decisions of a request.
///
/// # Errors
/// It is none of Slack's; the text is for who sent it.
pub fn receive(request: &Request) -> Result<Received, String> {
    let mut form = form_urlencoded::parse(&request.body);
    let done = |received: Received| Ok(received.response(200, "text/plain", ""));
    let Some((_, payload)) = form.find(|(name, _)| name == "payload") else {
        // Slack looks now and then whether the address is still served.
        if form_urlencoded::parse(&request.body).any(|(name, _)| name == "ssl_check") {
            return done(Received::none());
        }
        return Err("the body is no form with a member `payload`, as Slack sends for buttons".to_owned());
    };
    let payload: Payload =
        serde_json::from_str(&payload).map_err(|error| format!("`payload` is not as expected: {error}"))?;
    let mut received = Received::none();
    if payload.kind != "block_actions" {
        return done(received);
    }
    let user = payload.user.filter(|user| !user.id.is_empty()).ok_or("`payload` says no `user.id`")?;
    let name = if user.username.is_empty() { &user.name } else { &user.username };
    let name: String = name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    let comment = format!("in Slack, by {name} ({})", user.id);
    for action in payload.actions.iter().filter(|action| !action.value.is_empty()) {
        received = match action.action_id.as_str() {
            "approve" => received.decision(&action.value, true, &comment, &user.id),
            "decline" => received.decision(&action.value, false, &comment, &user.id),
            // A link is a button too, and opens by itself.
            _ => received,
        };
    }
    done(received)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn send(payload: &Value) -> Result<Received, String> {
        let body =
            form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish();
        receive(&Request { body: body.into_bytes(), ..Request::default() })
    }

    #[test]
    fn what_is_no_button_decides_nothing_and_what_is_not_slacks_is_refused() {
        let press = |id: &str| {
            json!({ "type": "block_actions", "user": { "id": "U1", "username": "ann" },
            "actions": [{ "action_id": id, "value": "a-1" }] })
        };
        for (payload, decisions) in [
            (press("approve"), 1),
            (press("decline"), 1),
            (press("other"), 0),
            (json!({ "type": "view_submission", "user": { "id": "U1" } }), 0),
            (json!({ "type": "block_actions", "user": { "id": "U1" }, "actions": [] }), 0),
        ] {
            let received = format!("{:?}", send(&payload).unwrap());
            assert_eq!(received.matches("approval: \"a-1\"").count(), decisions, "{received}");
        }
        assert!(send(&json!({ "type": "block_actions", "actions": [] })).unwrap_err().contains("user.id"));
        assert!(send(&json!({ "type": 1 })).is_err());
        for body in ["", "payload", "payload=%7B", "x=1"] {
            assert!(receive(&Request { body: body.into(), ..Request::default() }).is_err(), "{body}");
        }
        assert!(receive(&Request { body: b"ssl_check=1&token=x".to_vec(), ..Request::default() }).is_ok());
    }
}
