//! Hostile: requests every URL of the setting `urls`, and reports for each what became of it.
#![forbid(unsafe_code)]

use pilothouse_guests::report;
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, http};

#[derive(serde::Deserialize)]
struct Settings {
    urls: Vec<String>,
}

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        let settings: Settings = pilothouse_sdk::settings()?;
        let mut answers = Vec::new();
        for url in settings.urls {
            let answer = match http::Request::get(&url).send() {
                Ok(response) => serde_json::json!({ "url": url, "status": response.status }),
                Err(error) => serde_json::json!({ "url": url, "error": error.to_string() }),
            };
            answers.push(answer);
        }
        report(&answers)
    }
}

pilothouse_sdk::plugin!(Guest);
