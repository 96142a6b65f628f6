//! Makes events of a tool's requests: of JSON with an `order`, and of a form with a `command`. Answers a challenge as Slack
//! wants it. Misbehaves where the body says so.
#![forbid(unsafe_code)]

use pilothouse_sdk::{Context, Event, EventBuilder, Failure, Handler, Outcome, Received, Request, reject, settings};

struct Guest;

impl Handler for Guest {
    fn handle(_: &Context, _: Event) -> Result<Outcome, Failure> {
        Err(reject("it subscribes to nothing"))
    }

    fn receive(request: Request) -> Result<Received, String> {
        if request.header("content-type") == Some("application/x-www-form-urlencoded") {
            let form = String::from_utf8_lossy(&request.body).into_owned();
            let command =
                form.split('&').find_map(|pair| pair.strip_prefix("command=")).ok_or("there is no command")?;
            return Ok(Received::none().event(made(None, &serde_json::json!({ "command": command }))?));
        }
        let body: serde_json::Value = request.json()?;
        let text = |name: &str| body.get(name).and_then(serde_json::Value::as_str);
        if let Some(challenge) = text("challenge") {
            return Ok(Received::none().response(200, "text/plain", challenge));
        }
        match text("do") {
            Some("loop") => loop {
                std::hint::black_box(0);
            },
            Some("trap") => panic!("told to"),
            Some("status") => return Ok(Received::none().response(500, "text/plain", "")),
            Some("spoof") => {
                return Ok(Received::none().event(Event::builder("sh.keptn.event.deployment.triggered")));
            }
            _ => {}
        }
        let order = text("order").ok_or("there is no `order` in the body")?;
        let settings: serde_json::Value = settings().map_err(|error| error.reason().to_owned())?;
        let seen = serde_json::json!({
            "order": order, "settings": settings, "path": request.path, "query": request.query,
            "headers": request.headers.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        });
        Ok(Received::none().event(made(Some(order), &seen)?).response(201, "application/json", "{\"taken\":true}"))
    }
}

fn made(id: Option<&str>, data: &serde_json::Value) -> Result<EventBuilder, String> {
    let builder =
        Event::builder("com.example.order.placed.v1").json(data).map_err(|error| error.reason().to_owned())?;
    Ok(match id {
        Some(id) => builder.id(id),
        None => builder,
    })
}

pilothouse_sdk::plugin!(Guest, inbound, manifest = "manifests/tool_hook.toml");
