//! Makes the PromQL text of an indicator: Keptn V1's default queries, and its placeholders in custom ones.
//!
//! Never here: asking Prometheus (`api`).

use std::collections::BTreeMap;

use crate::place::Place;

/// What a query is about.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// Project, stage and service.
    pub place: &'a Place,
    /// The deployment, such as `primary`.
    pub deployment: &'a str,
    /// The event's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Custom filters, name to value; a value may start with `=`, `!=`, `=~` or `!~`.
    pub filters: &'a [(String, String)],
    /// The length of the window as Prometheus has it, such as `60s`, or a variable of who shows the query.
    pub window: &'a str,
}

/// The indicators that have a default query.
pub const DEFAULT_INDICATORS: [&str; 5] =
    ["throughput", "error_rate", "response_time_p50", "response_time_p90", "response_time_p95"];

/// Returns the default query of an indicator.
///
/// As in V1, except that the job is the one whose targets this plugin writes (V1 asked for the canary's, which it never
/// labelled its rules with).
pub fn default(indicator: &str, scope: &Scope<'_>) -> Option<String> {
    let filter = selector(scope);
    let window = format!("[{}]", scope.window);
    let quantile = |quantile: &str| {
        format!(
            "histogram_quantile({quantile},sum(rate(http_response_time_milliseconds_bucket{{{filter}}}{window}))by(le))"
        )
    };
    Some(match indicator {
        "throughput" => format!("sum(rate(http_requests_total{{{filter}}}{window}))"),
        "error_rate" => format!(
            "sum(rate(http_requests_total{{{filter},status!~'2..'}}{window}))/sum(rate(http_requests_total{{{filter}}}{window}))"
        ),
        "response_time_p50" => quantile("0.50"),
        "response_time_p90" => quantile("0.90"),
        "response_time_p95" => quantile("0.95"),
        _ => return None,
    })
}

/// Writes the label matchers: the job, unless a custom filter names one, and the custom filters.
fn selector(scope: &Scope<'_>) -> String {
    let mut matchers = Vec::new();
    if !scope.filters.iter().any(|(name, _)| name == "job") {
        matchers.push(format!("job='{}'", scope.place.job()));
    }
    for (name, value) in scope.filters {
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| value.starts_with(operator));
        let text = unquoted(operator.and_then(|operator| value.strip_prefix(operator)).unwrap_or(value).trim());
        matchers.push(format!("{name}{}'{}'", operator.unwrap_or("="), quotable(text)));
    }
    matchers.join(",")
}

/// Drops quotes around a value: people write them, because the value goes into quotes in the end.
fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).unwrap_or(value)
}

/// Escapes quotes that are not escaped yet. Backslashes stay: a regular expression comes with its own.
fn quotable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        if c == '\'' && !escaped {
            out.push('\\');
        }
        escaped = c == '\\' && !escaped;
        out.push(c);
    }
    out
}

/// Replaces the placeholders of a custom query.
///
/// The longest name that fits wins, and what was put in is not looked at again. (V1 replaced one name after the other in
/// the whole text, so that `$LABEL.build` spoilt `$LABEL.buildId`.)
///
/// # Errors
/// The query asks for a label that the event does not have; names it.
pub fn expand(query: &str, scope: &Scope<'_>) -> Result<String, String> {
    let place = scope.place;
    let mut names: Vec<(String, String)> = Vec::new();
    for (name, value) in scope.filters {
        let value: String = value.chars().filter(|c| !matches!(c, '\'' | '"')).collect();
        names.push((name.to_uppercase(), value.clone()));
        names.push((name.clone(), value));
    }
    let fixed = [
        ("PROJECT", place.project.as_str()),
        ("STAGE", &place.stage),
        ("SERVICE", &place.service),
        ("DEPLOYMENT", scope.deployment),
    ];
    names.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    names.push(("DURATION_SECONDS".to_owned(), scope.window.to_owned()));
    names.extend(scope.labels.iter().map(|(name, value)| (format!("LABEL.{name}"), value.clone())));

    let mut out = String::with_capacity(query.len());
    let mut parts = query.split('$');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        // A filter wins over a fixed name of the same length, as V1 replaced filters first.
        let fitting = names.iter().rev().filter(|(name, _)| !name.is_empty() && part.starts_with(name.as_str()));
        match fitting.max_by_key(|(name, _)| name.len()) {
            Some((name, value)) => {
                out.push_str(value);
                out.push_str(part.get(name.len()..).unwrap_or_default());
            }
            None => {
                if let Some(label) = part.strip_prefix("LABEL.") {
                    let end =
                        label.find(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c)).unwrap_or(label.len());
                    return Err(format!("the event has no label `{}`", label.get(..end).unwrap_or_default()));
                }
                out.push('$');
                out.push_str(part);
            }
        }
    }
    Ok(out)
}

/// Returns the query of an indicator: the custom one with its placeholders replaced, else the default.
///
/// # Errors
/// There is no query for the indicator, or a label that it needs is missing.
pub fn of(indicator: &str, custom: &BTreeMap<String, String>, scope: &Scope<'_>) -> Result<String, String> {
    match custom.get(indicator) {
        Some(query) => expand(query, scope),
        None => default(indicator, scope).ok_or_else(|| {
            format!("unsupported SLI: `{indicator}` is neither in the SLI file nor one of the defaults")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { project: "shop".to_owned(), stage: "dev".to_owned(), service: "cart".to_owned() }
    }

    fn with<T>(filters: &[(&str, &str)], labels: &[(&str, &str)], run: impl Fn(&Scope<'_>) -> T) -> T {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let labels = owned(labels).into_iter().collect();
        run(&Scope { place: &place(), deployment: "primary", labels: &labels, filters: &owned(filters), window: "30s" })
    }

    #[test]
    fn the_defaults_are_keptns() {
        let cases = [
            ("throughput", "sum(rate(http_requests_total{job='cart-shop-dev'}[30s]))"),
            (
                "error_rate",
                "sum(rate(http_requests_total{job='cart-shop-dev',status!~'2..'}[30s]))/sum(rate(http_requests_total{job='cart-shop-dev'}[30s]))",
            ),
            (
                "response_time_p95",
                "histogram_quantile(0.95,sum(rate(http_response_time_milliseconds_bucket{job='cart-shop-dev'}[30s]))by(le))",
            ),
        ];
        for (indicator, expected) in cases {
            assert_eq!(with(&[], &[], |scope| default(indicator, scope)).as_deref(), Some(expected));
        }
        assert!(DEFAULT_INDICATORS.iter().all(|it| with(&[], &[], |scope| default(it, scope)).is_some()));
        assert_eq!(with(&[], &[], |scope| default("memory", scope)), None);
    }

    #[test]
    fn custom_filters_keep_their_operators_and_replace_the_job() {
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[("handler", "Items")], "job='cart-shop-dev',handler='Items'"),
            (&[("job", "mine")], "job='mine'"),
            (&[("a", "=x"), ("b", "!=y")], "job='cart-shop-dev',a='x',b!='y'"),
            (&[("a", "=~x.*"), ("b", "!~'2..'")], "job='cart-shop-dev',a=~'x.*',b!~'2..'"),
            (&[("a", "\"quoted\"")], "job='cart-shop-dev',a='quoted'"),
            (&[("a", "it's")], "job='cart-shop-dev',a='it\\'s'"),
            (&[("a", r"x\\.y\'z")], r"job='cart-shop-dev',a='x\\.y\'z'"),
        ];
        for (filters, expected) in cases {
            assert_eq!(with(filters, &[], selector), expected);
        }
    }

    #[test]
    fn placeholders_are_replaced_once_and_the_longest_name_wins() {
        let filters = [("handler", "'Items'"), ("STAGE", "from-filter")];
        let labels = [("build", "7"), ("buildId", "$PROJECT"), ("a.b", "dotted")];
        let cases = [
            ("$PROJECT-$SERVICE-$DEPLOYMENT", "shop-cart-primary"),
            ("rate(x[$DURATION_SECONDS])", "rate(x[30s])"),
            ("{h='$handler',H='$HANDLER'}", "{h='Items',H='Items'}"),
            ("$STAGE", "from-filter"),
            ("$LABEL.build $LABEL.buildId $LABEL.a.b", "7 $PROJECT dotted"),
            ("a{b=~'x$'} $1 $unknown", "a{b=~'x$'} $1 $unknown"),
            ("no placeholder", "no placeholder"),
        ];
        for (query, expected) in cases {
            assert_eq!(with(&filters, &labels, |scope| expand(query, scope)).as_deref(), Ok(expected), "{query}");
        }
    }

    #[test]
    fn a_label_that_the_event_lacks_is_named() {
        let got = with(&[], &[("x", "1")], |scope| expand("a{b='$LABEL.build-id'}", scope));
        assert_eq!(got.unwrap_err(), "the event has no label `build-id`");
    }

    #[test]
    fn an_indicator_without_any_query_is_unsupported() {
        let custom = BTreeMap::from([("throughput".to_owned(), "mine_$STAGE".to_owned())]);
        assert_eq!(with(&[], &[], |scope| of("throughput", &custom, scope)).as_deref(), Ok("mine_dev"));
        assert!(with(&[], &[], |scope| of("error_rate", &custom, scope)).is_ok());
        assert!(
            with(&[], &[], |scope| of("memory", &custom, scope)).unwrap_err().starts_with("unsupported SLI: `memory`")
        );
    }
}
