//! Speaks Prometheus' HTTP API: queries, reload, rules, targets. Tells what is worth another attempt from what is not.
//!
//! Never here: what is asked, and what an answer means for a task.

use pilothouse_sdk::http::Response;
use pilothouse_sdk::{Failure, retry};
use serde::Deserialize;

use crate::rules::Alert;
use crate::tools::Tools;

/// Longest text of Prometheus' that a message quotes.
const TEXT_CHARS_MAX: usize = 500;

/// Says why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The delivery fails, with or without another attempt.
    Failure(Failure),
    /// Prometheus does not take what it was asked; in its words.
    Refused(String),
    /// What answers is not a Prometheus that this plugin may use: wrong address or credentials.
    Unusable(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The envelope of each answer under `/api/v1`.
#[derive(Deserialize)]
struct Envelope<D> {
    status: String,
    data: Option<D>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryData {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    value: (f64, String),
}

fn cut(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.trim().chars().take(TEXT_CHARS_MAX).collect()
}

/// Takes the data out of an answer.
fn data<D: for<'de> Deserialize<'de>>(response: &Response) -> Result<D, Trouble> {
    let parsed = serde_json::from_slice::<Envelope<D>>(&response.body);
    match (response.status, parsed) {
        (200..=299, Ok(Envelope { status, data: Some(data), .. })) if status == "success" => Ok(data),
        // 400 is a query that cannot be parsed, 422 one that cannot be executed; both come with an error.
        (400 | 422, Ok(Envelope { error: Some(error), .. })) => Err(Trouble::Refused(cut(&error))),
        (status @ (408 | 425 | 429 | 500..), _) => Err(Trouble::Failure(Failure::Retry {
            reason: format!("Prometheus answered with status {status}"),
            after: response.retry_after(),
        })),
        (401 | 403, _) => Err(Trouble::Unusable(format!(
            "Prometheus refused the credentials (status {}); check the connection `prometheus`",
            response.status
        ))),
        (status, _) => Err(Trouble::Unusable(format!(
            "what answers at the connection `prometheus` is not Prometheus' API (status {status}); check its base URL"
        ))),
    }
}

/// Asks for the value of `expr` at `time` (RFC 3339, or seconds since 1970), by an instant query.
///
/// The inner error says, in one sentence, why there is no value: Prometheus refused the query, or the result is not one
/// finite number.
///
/// # Errors
/// Prometheus could not be asked.
pub fn value(tools: &impl Tools, expr: &str, time: &str) -> Result<Result<f64, String>, Trouble> {
    let response = tools.post("/api/v1/query", &[("query", expr), ("time", time)])?;
    match data::<QueryData>(&response) {
        Ok(data) => Ok(single(data)),
        Err(Trouble::Refused(error)) => Ok(Err(error)),
        Err(trouble) => Err(trouble),
    }
}

/// Takes the one number out of a result.
fn single(data: QueryData) -> Result<f64, String> {
    let text = match data.result_type.as_str() {
        "vector" => {
            let mut series: Vec<Series> = serde_json::from_value(data.result)
                .map_err(|_| "Prometheus sent samples without a value".to_owned())?;
            match (series.pop(), series.len()) {
                (None, _) => return Err("query did not return any values".to_owned()),
                (Some(one), 0) => one.value.1,
                (Some(_), more) => {
                    return Err(format!("query returned multiple values ({}); aggregate them to one", more + 1));
                }
            }
        }
        "scalar" => {
            let (_, text): (f64, String) = serde_json::from_value(data.result)
                .map_err(|_| "Prometheus sent a scalar without a value".to_owned())?;
            text
        }
        other => return Err(format!("query returned a {other}; an instant vector with one value is needed")),
    };
    // `NaN` is 0/0: no requests. `+Inf` is the last bucket of a histogram. Neither is a value that can be judged.
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("query did not return valid values (`{}`)", cut(&text))),
    }
}

/// A time and a value, as Prometheus writes them.
type Sample = (f64, String);

#[derive(Deserialize)]
struct Samples {
    values: Vec<Sample>,
}

/// Asks for the values of `expr` from `start` to `end` (RFC 3339), one per `step` seconds; each with its time, in seconds since
/// 1970. Empty where there is not exactly one series; values that are not finite are left out.
///
/// # Errors
/// Prometheus could not be asked, or refused.
pub fn range(tools: &impl Tools, expr: &str, start: &str, end: &str, step: u64) -> Result<Vec<(f64, f64)>, Trouble> {
    let step = step.to_string();
    let form = [("query", expr), ("start", start), ("end", end), ("step", &step)];
    let data = data::<QueryData>(&tools.post("/api/v1/query_range", &form)?)?;
    let mut series: Vec<Samples> = serde_json::from_value(data.result).unwrap_or_default();
    let one = series.pop().filter(|_| series.is_empty());
    let number = |(at, text): Sample| Some((at, text.parse::<f64>().ok().filter(|value| value.is_finite())?));
    Ok(one.map(|one| one.values.into_iter().filter_map(number).collect()).unwrap_or_default())
}

/// Checks that Prometheus can parse `expr`.
///
/// # Errors
/// It cannot, and says why; or it could not be asked.
pub fn check(tools: &impl Tools, expr: &str) -> Result<(), Trouble> {
    let response = tools.post("/api/v1/query", &[("query", expr)])?;
    match data::<serde_json::Value>(&response) {
        Ok(_) => Ok(()),
        // It parses; that it cannot be executed now (no data, too much data) says nothing about later.
        Err(Trouble::Refused(_)) if response.status == 422 => Ok(()),
        Err(trouble) => Err(trouble),
    }
}

/// Makes Prometheus read its configuration again.
///
/// # Errors
/// [`Trouble::Refused`] with its words when it takes the configuration for wrong.
pub fn reload(tools: &impl Tools) -> Result<(), Trouble> {
    if !tools.reads_files() {
        return Ok(());
    }
    let response = tools.post("/-/reload", &[])?;
    match response.status {
        200..=299 => Ok(()),
        500 => Err(Trouble::Refused(cut(&response.text()))),
        403..=405 => Err(Trouble::Unusable(format!(
            "Prometheus does not let itself be reloaded (status {}); start it with --web.enable-lifecycle",
            response.status
        ))),
        401 => {
            Err(Trouble::Unusable("Prometheus refused the credentials; check the connection `prometheus`".to_owned()))
        }
        status => Err(Trouble::Failure(retry(format!("Prometheus answered the reload with status {status}")))),
    }
}

/// A rule group as Prometheus has loaded it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LoadedGroup {
    /// Its name.
    pub name: String,
    /// The path of its file, as Prometheus sees it.
    pub file: String,
    /// Its rules.
    pub rules: Vec<LoadedRule>,
}

impl LoadedGroup {
    /// Tells whether it is the group with this name and exactly these alerts.
    pub fn is(&self, name: &str, alerts: &[Alert]) -> bool {
        let mut wanted: Vec<&str> = alerts.iter().map(|alert| alert.alert.as_str()).collect();
        let mut found: Vec<&str> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        wanted.sort_unstable();
        found.sort_unstable();
        self.name == name && found == wanted
    }
}

/// A rule as Prometheus has loaded it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LoadedRule {
    /// Its name.
    pub name: String,
}

/// Lists the alert rules that Prometheus has loaded.
///
/// # Errors
/// It could not be asked.
pub fn rules(tools: &impl Tools) -> Result<Vec<LoadedGroup>, Trouble> {
    #[derive(Deserialize)]
    struct Groups {
        groups: Vec<LoadedGroup>,
    }
    data::<Groups>(&tools.get("/api/v1/rules", &[("type", "alert")])?).map(|data| data.groups)
}

/// A target as Prometheus has discovered it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LoadedTarget {
    /// The labels of its samples.
    pub labels: std::collections::BTreeMap<String, String>,
    /// The labels before relabeling; `__address__` is what the file said.
    #[serde(rename = "discoveredLabels")]
    pub discovered: std::collections::BTreeMap<String, String>,
}

impl LoadedTarget {
    /// Tells whether it is this target of this job.
    pub fn is(&self, job: &str, address: &str) -> bool {
        self.labels.get("job").is_some_and(|it| it == job)
            && self.discovered.get("__address__").is_some_and(|it| it == address)
    }
}

/// Lists the targets that Prometheus scrapes.
///
/// # Errors
/// It could not be asked.
pub fn targets(tools: &impl Tools) -> Result<Vec<LoadedTarget>, Trouble> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Targets {
        active_targets: Vec<LoadedTarget>,
    }
    data::<Targets>(&tools.get("/api/v1/targets", &[("state", "active")])?).map(|data| data.active_targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand_in::{StandIn, answer};

    fn asked(status: u16, body: &str) -> Result<Result<f64, String>, Trouble> {
        let tools = StandIn::default();
        tools.answers("/api/v1/query", answer(status, body));
        value(&tools, "q", "2024-01-01T00:00:00Z")
    }

    fn result(kind: &str, result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    }

    #[test]
    fn one_finite_number_is_a_value() {
        assert_eq!(asked(200, &result("vector", r#"[{"metric":{},"value":[1.5,"0.25"]}]"#)), Ok(Ok(0.25)));
        assert_eq!(asked(200, &result("scalar", r#"[1.5,"7"]"#)), Ok(Ok(7.0)));
    }

    #[test]
    fn anything_else_is_no_value_and_says_why() {
        let two = r#"[{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"2"]}]"#;
        let one = |value: &str| format!(r#"[{{"metric":{{}},"value":[1,"{value}"]}}]"#);
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error: unexpected \"x\""}"#;
        let cases = [
            ("none", 200, result("vector", "[]"), "did not return any values"),
            ("two", 200, result("vector", two), "multiple values (2)"),
            ("NaN", 200, result("vector", &one("NaN")), "valid values (`NaN`)"),
            ("infinite", 200, result("vector", &one("+Inf")), "valid values (`+Inf`)"),
            ("matrix", 200, result("matrix", "[]"), "a matrix"),
            ("bad query", 400, refused.to_owned(), "parse error: unexpected"),
            ("cannot execute", 422, refused.to_owned(), "parse error"),
        ];
        for (name, status, body, expected) in cases {
            let message = asked(status, &body).unwrap().unwrap_err();
            assert!(message.contains(expected), "{name}: {message}");
        }
    }

    #[test]
    fn a_prometheus_in_trouble_is_asked_again_and_a_wrong_one_is_not() {
        for status in [429, 500, 502, 503, 504] {
            assert!(matches!(asked(status, "oops"), Err(Trouble::Failure(Failure::Retry { .. }))), "{status}");
        }
        for (status, expected) in
            [(401, "credentials"), (403, "credentials"), (404, "base URL"), (200, "base URL"), (302, "base URL")]
        {
            let Err(Trouble::Unusable(message)) = asked(status, "<html>") else { panic!("{status}") };
            assert!(message.contains(expected), "{status}: {message}");
        }
    }

    #[test]
    fn an_expression_that_parses_is_fine_even_if_it_cannot_be_executed_now() {
        let check = |status| {
            let tools = StandIn::default();
            tools.answers("/api/v1/query", answer(status, r#"{"status":"error","error":"why"}"#));
            check(&tools, "q")
        };
        assert_eq!(check(422), Ok(()));
        assert_eq!(check(400), Err(Trouble::Refused("why".to_owned())));
    }

    #[test]
    fn a_reload_tells_a_bad_configuration_from_a_forbidden_reload() {
        let reload = |status, body| {
            let tools = StandIn::default();
            tools.answers("/-/reload", answer(status, body));
            reload(&tools)
        };
        assert_eq!(reload(200, ""), Ok(()));
        assert_eq!(
            reload(500, "failed to reload config: x\n"),
            Err(Trouble::Refused("failed to reload config: x".to_owned()))
        );
        let Err(Trouble::Unusable(message)) = reload(403, "Lifecycle API is not enabled.") else { panic!() };
        assert!(message.contains("--web.enable-lifecycle"));
        assert!(matches!(reload(503, ""), Err(Trouble::Failure(Failure::Retry { .. }))));
    }
}
