//! Makes recording rules and alerts of an objective's error budget: multi-window, multi-burn-rate, as the SRE workbook has it
//! (chapter 5, "Alerting on SLOs").
//!
//! Each alert looks at a long window, so that a short bump is none, and at a short one, so that it ends soon after the trouble.

use std::collections::BTreeMap;

use pilothouse_sdk::files::slo::{ErrorBudget, Objective};

use crate::rules::{Alert, Recording, quoted};
use crate::slo::Queries;
use pilothouse_sdk::files::place::Place;
use pilothouse_sdk::files::query::{self, Scope};

/// What the recorded series is called; its labels say which objective it is of.
const RECORD: &str = "pilothouse:sli_error:ratio_rate";

/// An alert: its speed, and two pairs of windows, each with the share of the budget that is spent in the long one.
struct Speed {
    name: &'static str,
    pairs: [(Window, Window, f64); 2],
}

/// A window as Prometheus writes it, and its length in seconds.
type Window = (&'static str, u32);

const SPEEDS: [Speed; 2] = [
    Speed { name: "fast", pairs: [(("1h", 3_600), ("5m", 300), 0.02), (("6h", 21_600), ("30m", 1_800), 0.05)] },
    Speed { name: "slow", pairs: [(("1d", 86_400), ("2h", 7_200), 0.1), (("3d", 259_200), ("6h", 21_600), 0.1)] },
];

/// Makes the rules of an objective with a budget.
///
/// # Errors
/// Why there can be none.
pub fn rules(
    objective: &Objective,
    budget: &ErrorBudget,
    queries: &Queries,
    place: &Place,
    filters: &[(String, String)],
    more_labels: &BTreeMap<String, String>,
) -> Result<(Vec<Recording>, Vec<Alert>), String> {
    if queries.get(&objective.sli).is_some_and(|query| !query.contains("$DURATION_SECONDS")) {
        return Err(
            "its query has no `$DURATION_SECONDS`, so it cannot be asked over the windows of a budget".to_owned()
        );
    }
    let labels = BTreeMap::new();
    let own: BTreeMap<String, String> =
        [("project", &place.project), ("stage", &place.stage), ("service", &place.service), ("sli", &objective.sli)]
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .into();
    let mut windows: Vec<Window> =
        SPEEDS.iter().flat_map(|speed| &speed.pairs).flat_map(|pair| [pair.0, pair.1]).collect();
    windows.sort_unstable_by_key(|(_, seconds)| *seconds);
    windows.dedup();
    let mut recordings = Vec::new();
    for (name, seconds) in windows {
        let window = format!("{seconds}s");
        let scope = Scope { place, deployment: "primary", labels: &labels, filters, window: &window };
        let query = query::of(&objective.sli, queries, &scope)?;
        let expr = if budget.of_good { format!("1 - ({query})") } else { query };
        recordings.push(Recording { record: format!("{RECORD}{name}"), expr, labels: own.clone() });
    }
    let alerts = SPEEDS.iter().map(|speed| alert(speed, objective, budget, place, &own, more_labels)).collect();
    Ok((recordings, alerts))
}

fn alert(
    speed: &Speed,
    objective: &Objective,
    budget: &ErrorBudget,
    place: &Place,
    own: &BTreeMap<String, String>,
    more_labels: &BTreeMap<String, String>,
) -> Alert {
    let allowed = (100.0 - budget.target) / 100.0;
    let selector: Vec<String> = own.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
    let selector = selector.join(",");
    #[expect(clippy::cast_precision_loss, reason = "a window is at most 400 days")]
    let of_window = budget.window_seconds as f64;
    let broken = |(long, short, share): &(Window, Window, f64)| {
        let limit = number(share * of_window / f64::from(long.1) * allowed);
        format!("({RECORD}{}{{{selector}}} > {limit} and {RECORD}{}{{{selector}}} > {limit})", long.0, short.0)
    };
    let expr = speed.pairs.iter().map(broken).collect::<Vec<_>>().join(" or ");
    let name = objective.display_name.as_ref().filter(|name| !name.is_empty()).unwrap_or(&objective.sli);
    let mut labels = own.clone();
    labels.extend(
        [("severity", "webhook"), ("burn", speed.name), ("deployment", "primary")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    labels.extend(more_labels.clone());
    let days = budget.window_seconds / 86_400;
    let description = format!(
        "{name} of {} in {}/{} spends its error budget ({}% over {days} days) {}",
        place.service,
        place.project,
        place.stage,
        number(100.0 - budget.target),
        if speed.name == "fast" { "so fast that it is gone within days" } else { "faster than it may" },
    );
    let annotations = [("summary", format!("{name}: error budget")), ("description", description)];
    Alert {
        alert: format!("{}_budget_{}", objective.sli, speed.name),
        expr,
        // The windows are what makes it wait.
        hold: "0s".to_owned(),
        labels,
        annotations: annotations.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

/// Writes a number with as many digits as mean something.
fn number(value: f64) -> String {
    let text = format!("{value:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::read_slo;

    fn made(budget: &str, query: &str) -> Result<(Vec<Recording>, Vec<Alert>), String> {
        let slo = read_slo(&format!(
            "spec_version: '1.0'\nobjectives: [{{sli: errors, errorBudget: {budget}}}]\ntotal_score: {{pass: 90%}}\n"
        ))
        .unwrap();
        let place = Place { project: "shop".to_owned(), stage: "prod".to_owned(), service: "cart".to_owned() };
        let queries = BTreeMap::from([("errors".to_owned(), query.to_owned())]);
        let objective = &slo.objectives[0];
        rules(objective, &objective.error_budget.unwrap(), &queries, &place, &[], &BTreeMap::new())
    }

    #[test]
    fn a_budget_of_thirty_days_has_the_limits_of_the_workbook() {
        let (recordings, alerts) = made("{target: 99.9%, window: 30d}", "sum(rate(e[$DURATION_SECONDS]))").unwrap();
        let names: Vec<&str> = recordings.iter().map(|it| it.record.rsplit("rate").next().unwrap()).collect();
        assert_eq!(names, ["5m", "30m", "1h", "2h", "6h", "1d", "3d"]);
        assert_eq!(recordings[2].expr, "sum(rate(e[3600s]))");
        let selector = r#"{project="shop",service="cart",sli="errors",stage="prod"}"#;
        let of = |window: &str| format!("pilothouse:sli_error:ratio_rate{window}{selector}");
        assert_eq!(
            alerts[0].expr,
            format!(
                "({} > 0.0144 and {} > 0.0144) or ({} > 0.006 and {} > 0.006)",
                of("1h"),
                of("5m"),
                of("6h"),
                of("30m")
            )
        );
        assert!(alerts[1].expr.contains("> 0.003 and") && alerts[1].expr.contains("> 0.001 and"), "{}", alerts[1].expr);
        assert_eq!(
            alerts.iter().map(|it| it.alert.as_str()).collect::<Vec<_>>(),
            ["errors_budget_fast", "errors_budget_slow"]
        );
    }

    #[test]
    fn a_share_of_good_is_turned_round_and_a_query_without_a_window_is_refused() {
        let (recordings, _) = made("{target: 99, ratioOf: good}", "ok[$DURATION_SECONDS]").unwrap();
        assert_eq!(recordings[0].expr, "1 - (ok[300s])");
        assert!(made("{target: 99}", "ok").unwrap_err().contains("$DURATION_SECONDS"));
    }
}
