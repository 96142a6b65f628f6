//! Reads values and earlier results in the forms that people and events have them in.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Earlier, Evaluation, IndicatorValue, Values, Window};
use crate::result::TaskResult;
use crate::slo;
use crate::yaml::Problem;

/// Most values read; an SLO has at most as many objectives.
pub const VALUES_MAX: usize = crate::slo::OBJECTIVES_MAX;

/// Reads values: an object `{"<sli>": number | null, …}`, a `get-sli.finished` event, or such an event's data.
///
/// A text that is a number is one; `NaN`, infinities and `null` are missing values.
///
/// # Errors
/// One sentence that says what cannot be read.
pub fn values(json: &Value) -> Result<Values, String> {
    let Value::Object(members) = json else {
        return Err(
            "this is no JSON object; write `{\"<sli>\": number}`, or give a `get-sli.finished` event".to_owned()
        );
    };
    let data = match members.get("data") {
        Some(Value::Object(data)) if is_event(members) => data,
        _ => members,
    };
    match data.contains_key("get-sli") {
        true => provider(data),
        false if is_event(members) => {
            let ty = members.get("type").and_then(Value::as_str).unwrap_or_default();
            provider(data).map_err(|why| format!("the event `{ty}`: {why}; give a `get-sli.finished` event"))
        }
        false => plain(members),
    }
}

/// Reads the data of a `get-sli.finished` event.
///
/// # Errors
/// The provider could not do its work, or what it sent cannot be read.
pub fn answer(data: &Value) -> Result<Values, String> {
    provider(data.as_object().ok_or("its data is no JSON object")?)
}

fn is_event(members: &Map<String, Value>) -> bool {
    members.contains_key("specversion") && members.contains_key("type")
}

/// Reads the answer of a provider, with its status and result.
fn provider(data: &Map<String, Value>) -> Result<Values, String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let message = text(data.get("message"));
    let status = text(data.get("status"));
    if matches!(status.as_str(), "errored" | "aborted") {
        return Err(match message.is_empty() {
            true => format!("the SLI provider's status is `{status}`"),
            false => format!("the SLI provider's status is `{status}`: {message}"),
        });
    }
    let answer = data.get("get-sli").ok_or("it has no `data.get-sli`")?;
    let list = match answer.get("indicatorValues") {
        None | Some(Value::Null) => &[],
        Some(Value::Array(list)) => list.as_slice(),
        Some(_) => return Err("`get-sli.indicatorValues` is no list".to_owned()),
    };
    bounded(list.len())?;
    let indicators: Result<Vec<IndicatorValue>, String> = list.iter().map(indicator).collect();
    let failed = matches!(text(data.get("result")).as_str(), "fail" | "failed");
    Ok(Values {
        indicators: indicators?,
        window: Window { start: text(answer.get("start")), end: text(answer.get("end")) },
        failed: failed.then_some(message),
    })
}

fn bounded(count: usize) -> Result<(), String> {
    if count > VALUES_MAX {
        return Err(format!("there are {count} values, over the limit of {VALUES_MAX}"));
    }
    Ok(())
}

fn indicator(value: &Value) -> Result<IndicatorValue, String> {
    let metric = value.get("metric").and_then(Value::as_str).filter(|metric| !metric.is_empty());
    let metric = metric.ok_or("an entry of `indicatorValues` has no `metric`")?;
    let mut one = one(metric, value.get("value").unwrap_or(&Value::Null))?;
    one.success &= value.get("success").is_none_or(|success| !is_false(success));
    if let Some(message) = value.get("message").and_then(Value::as_str).filter(|message| !message.is_empty()) {
        message.clone_into(&mut one.message);
    }
    if !one.success {
        one.value = 0.0;
    }
    Ok(one)
}

fn is_false(value: &Value) -> bool {
    matches!(value, Value::Bool(false)) || value.as_str() == Some("false")
}

fn plain(members: &Map<String, Value>) -> Result<Values, String> {
    bounded(members.len())?;
    let indicators: Result<Vec<IndicatorValue>, String> =
        members.iter().map(|(name, value)| one(name, value)).collect();
    Ok(Values { indicators: indicators?, ..Values::default() })
}

/// Reads one value.
fn one(metric: &str, value: &Value) -> Result<IndicatorValue, String> {
    let number =
        match value {
            Value::Null => None,
            Value::Number(number) => number.as_f64(),
            Value::String(text) => Some(text.trim().parse::<f64>().map_err(|_| {
                format!("the value of `{metric}` is the text `{}`; write a number or null", short(text))
            })?),
            _ => return Err(format!("the value of `{metric}` is no number; write a number or null")),
        };
    let (value, message) = match number {
        Some(number) if number.is_finite() => (Some(number), String::new()),
        Some(number) => (None, format!("the value is {number}, which cannot be judged")),
        None => (None, "the value is null".to_owned()),
    };
    Ok(IndicatorValue {
        metric: metric.to_owned(),
        value: value.unwrap_or_default(),
        compared_value: None,
        success: value.is_some(),
        message,
    })
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Reads an earlier result: an `evaluation.finished` event, its data, or the object that an evaluation is.
///
/// # Errors
/// One sentence that says what cannot be read.
pub fn earlier(json: &Value) -> Result<Earlier, String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_event = json.as_object().is_some_and(is_event);
    let data = if is_event { json.get("data").unwrap_or(&Value::Null) } else { json };
    let object = data.get("evaluation").unwrap_or(data);
    if !object.is_object() || object.get("indicatorResults").is_none() && object.get("result").is_none() {
        return Err("this is no evaluation: give an `evaluation.finished` event, or what `evaluate` printed".to_owned());
    }
    let evaluation = Evaluation::deserialize(&with_defaults(object))
        .map_err(|error| format!("the evaluation cannot be read: {error}"))?;
    // V1 compared by the result of the event, which is the same unless somebody changed one of them.
    let result = match text(data.get("result")).as_str() {
        "pass" => TaskResult::Pass,
        "warning" => TaskResult::Warning,
        "fail" | "failed" => TaskResult::Fail,
        _ => evaluation.result,
    };
    let of = |value: &IndicatorValue| {
        (value.success && value.value.is_finite()).then(|| (value.metric.clone(), value.value))
    };
    let values: BTreeMap<String, f64> = evaluation.indicator_results.iter().filter_map(|it| of(&it.value)).collect();
    Ok(Earlier { id: text(json.get("id")), result, values })
}

/// Puts in what V1 left out or wrote as `null`, so that one odd member does not cost the whole result.
fn with_defaults(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(results) = object.get_mut("indicatorResults").and_then(Value::as_array_mut) {
        for result in results.iter_mut() {
            let Some(members) = result.as_object_mut() else { continue };
            members.retain(|_, value| !value.is_null());
            if let Some(value) = members.get_mut("value").and_then(Value::as_object_mut) {
                value.retain(|_, value| !value.is_null());
            }
        }
    }
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| !value.is_null());
        members.entry("score").or_insert(Value::from(0.0));
    }
    object
}

/// Why documents could not be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The SLO file has these errors.
    Slo(Vec<Problem>),
    /// The values.
    Values(String),
    /// The earlier result with this number, counted from 0 in the order in which they were given.
    Earlier(usize, String),
}

/// Judges documents: an SLO file, values, and earlier results with the oldest first. Gives the warnings about the file too.
///
/// # Errors
/// Which document cannot be read, and why.
pub fn evaluate(slo_file: &[u8], sli: &Value, previous: &[Value]) -> Result<(Evaluation, Vec<Problem>), Unreadable> {
    let (slo, problems) = slo::read(slo_file);
    let Some(slo) = slo else { return Err(Unreadable::Slo(problems)) };
    let values = values(sli).map_err(Unreadable::Values)?;
    let mut earlier = Vec::new();
    for (index, document) in previous.iter().enumerate() {
        earlier.push(self::earlier(document).map_err(|why| Unreadable::Earlier(index, why))?);
    }
    earlier.reverse();
    Ok((super::evaluate(&slo, slo_file, &values, &earlier), problems))
}
