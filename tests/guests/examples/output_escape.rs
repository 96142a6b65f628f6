//! Hostile: writes, reads and removes outside of its output directory `files`, and reports each refusal. A test may
//! give paths of its own (symlinks that it made) in the setting `paths`.
#![forbid(unsafe_code)]

use pilothouse_guests::report;
use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, outputs};

const PATHS: [&str; 10] =
    ["../escape", "/etc/passwd", "a/../../escape", "", ".", "a/./b", "a//b", "a\u{0}b", "..\\escape", "a/"];

#[derive(serde::Deserialize, Default)]
struct Settings {
    #[serde(default)]
    paths: Vec<String>,
}

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        let settings: Settings = pilothouse_sdk::settings()?;
        let mut answers = Vec::new();
        for path in PATHS.into_iter().map(str::to_owned).chain(settings.paths) {
            let write = outputs::write("files", &path, "owned").err().map(|error| error.to_string());
            let read = outputs::read("files", &path).err().map(|error| error.to_string());
            let remove = outputs::remove("files", &path).err().map(|error| error.to_string());
            answers.push(serde_json::json!({ "path": path, "write": write, "read": read, "remove": remove }));
        }
        report(&answers)
    }
}

pilothouse_sdk::plugin!(Guest);
