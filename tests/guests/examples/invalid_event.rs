//! Hostile: returns an event that is not a CloudEvent; the data names the rule to break: `"type"`, `"time"`,
//! `"extension-name"`, `"reserved-name"`, `"datacontenttype"`, `"dataschema"`, `"control-character"`, `"json"`, or
//! `"emit"` for all of them by `emit`, with a report of the refusals.
#![forbid(unsafe_code)]

use pilothouse_guests::{RESULT_TYPE, mode, report};
use pilothouse_sdk::{AttributeValue, Context, Data, Event, Failure, Handler, Outcome};

const RULES: [&str; 8] =
    ["type", "time", "extension-name", "reserved-name", "datacontenttype", "dataschema", "control-character", "json"];

/// Returns an event that is valid but for one rule.
fn broken(rule: &str) -> Event {
    let mut event = Event::builder(RESULT_TYPE).text("application/json", "{}").build();
    match rule {
        "type" => event.ty = String::new(),
        "time" => event.time = Some("yesterday".to_owned()),
        "extension-name" => drop(event.extensions.insert("Not_A_Name".to_owned(), AttributeValue::Integer(1))),
        "reserved-name" => drop(event.extensions.insert("data".to_owned(), AttributeValue::Integer(1))),
        "datacontenttype" => event.datacontenttype = Some("json".to_owned()),
        "dataschema" => event.dataschema = Some("not absolute".to_owned()),
        "control-character" => event.subject = Some("a\u{0}b".to_owned()),
        _ => event.data = Some(Data::Text("{not json".to_owned())),
    }
    event
}

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let rule = mode(&event);
        if rule == "emit" {
            let refusals: Vec<_> =
                RULES.iter().map(|rule| (rule, ctx.emit(broken(rule)).err().map(|error| error.to_string()))).collect();
            return report(&refusals);
        }
        Ok(Outcome::none().event(broken(&rule)))
    }
}

pilothouse_sdk::plugin!(Guest);
