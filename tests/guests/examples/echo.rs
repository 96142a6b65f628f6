//! Returns one event with the data and the extensions that it got, and adds an attribute of each of the seven types.
#![forbid(unsafe_code)]

use pilothouse_sdk::{AttributeValue, Context, Event, Failure, Handler, Outcome, log};

struct Guest;

impl Handler for Guest {
    fn handle(ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        log::info!("echo of {} at attempt {}", event.id, ctx.attempt());
        let mut echo = Event::builder("com.example.echoed.v1")
            .extension("xboolean", AttributeValue::Boolean(true))
            .extension("xinteger", AttributeValue::Integer(i32::MIN))
            .extension("xtext", AttributeValue::Text("text".to_owned()))
            .extension("xbinary", AttributeValue::Binary(vec![0, 127, 255]))
            .extension("xuri", AttributeValue::Uri("https://example.com/a".to_owned()))
            .extension("xurireference", AttributeValue::UriReference("../a".to_owned()))
            .extension("xtimestamp", AttributeValue::Timestamp("2026-01-02T03:04:05Z".to_owned()))
            .build();
        // The host sets its own extensions on what a plugin sends.
        echo.extensions.extend(event.extensions.into_iter().filter(|(name, _)| !name.starts_with("pilothouse")));
        echo.subject = event.subject;
        echo.datacontenttype = event.datacontenttype;
        echo.dataschema = event.dataschema;
        echo.data = event.data;
        Ok(Outcome::none().event(echo))
    }
}

pilothouse_sdk::plugin!(Guest, manifest = "manifests/echo.toml");
