//! Hostile: starts the job `script` with parameters and files that no template allows, and reports each refusal.
#![forbid(unsafe_code)]

use pilothouse_guests::report;
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, jobs};

const VALUES: [&str; 6] = ["; rm -rf /", "$(id)", "a\nb", "--output=/etc/passwd", "{scratch}", "a\u{0}b"];
const FILES: [&str; 8] = ["../escape", "/etc/passwd", "a/../../b", "", ".", "a\u{0}b", "a//b", "..\\..\\escape"];

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        let mut refusals = Vec::new();
        let mut attempt = |what: String, job: jobs::Job| {
            let key = refusals.len().to_string();
            let refusal = job.key(key).start().err().map(|error| error.to_string());
            refusals.push(serde_json::json!({ "what": what, "refusal": refusal }));
        };
        for value in VALUES {
            attempt(format!("parameter {value:?}"), jobs::Job::new("script").parameter("name", value));
        }
        attempt("undeclared parameter".to_owned(), jobs::Job::new("script").parameter("undeclared", "1"));
        for file in FILES {
            attempt(format!("file {file:?}"), jobs::Job::new("script").parameter("name", "x").file(file, "content"));
        }
        report(&refusals)
    }
}

pilothouse_sdk::plugin!(Guest);
