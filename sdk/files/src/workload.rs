//! The workload file of the plugin `jmeter`: what each test strategy runs. What is accepted is what the plugin accepts.

use std::collections::BTreeMap;

use crate::member::{
    is_not, members, no_empty, number_of, place, read as read_file, scalar, shown, spec_version, too_many, whole,
};
use crate::yaml::fields::Fields;
use crate::yaml::{Node, Problem};

/// Most workloads of a file; one per test strategy.
pub const WORKLOADS_MAX: usize = 100;
/// Most properties of a workload; they are given to JMeter in a file.
pub const PROPERTIES_MAX: usize = 1_000;
/// Most users of one test, as the plugin has it: JMeter needs a thread for each.
pub const USERS_MAX: u32 = 100_000;

/// The workloads of a file, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workloads {
    /// The workloads; no two have one strategy.
    pub workloads: Vec<Workload>,
}

/// What one test strategy runs. What the file leaves out has the plugin's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// The test strategy in lower case.
    pub strategy: String,
    /// Number of concurrent users.
    pub users: Option<u32>,
    /// How often each user runs through the script.
    pub loops: Option<u32>,
    /// Pause between requests, in milliseconds.
    pub think_time_ms: Option<u32>,
    /// The script's path in the project.
    pub script: Option<String>,
    /// Largest share of requests that may fail, from 0 to 1.
    pub accepted_error_rate: Option<f64>,
    /// Largest mean response time in milliseconds; 0 means no limit.
    pub mean_ms_max: Option<f64>,
    /// More JMeter properties.
    pub properties: BTreeMap<String, String>,
}

/// Reads a workload file. The first part is `None` if there is an error that stops a run.
pub fn read(bytes: &[u8]) -> (Option<Workloads>, Vec<Problem>) {
    read_file(bytes, Problem::stops_a_run, file)
}

fn file(node: &Node, problems: &mut Vec<Problem>) -> Option<Workloads> {
    no_empty(node, "the workload file", &["workloads"], problems);
    let mut fields = Fields::of(node, "the workload file", problems)?;
    spec_version(&mut fields, node.at, "0.1.0");
    let items = fields.list("workloads").unwrap_or_default();
    let at = place(&mut fields, "workloads", node.at);
    fields.finish();
    if items.is_empty() {
        problems
            .push(Problem::warning(at, "the file has no `workloads`: only the strategies with defaults can be run"));
    }
    if items.len() > WORKLOADS_MAX {
        problems.push(too_many(at, "`workloads`", items.len(), WORKLOADS_MAX));
        return None;
    }
    let mut workloads: Vec<Workload> = Vec::new();
    for item in items {
        let Some(found) = workload(item, problems) else { continue };
        if workloads.iter().any(|known| known.strategy == found.strategy) {
            let message = format!("there are two workloads for `{}`; only the first one is run", found.strategy);
            problems.push(Problem::write_error(item.at, message));
        }
        workloads.push(found);
    }
    Some(Workloads { workloads })
}

fn workload(node: &Node, problems: &mut Vec<Problem>) -> Option<Workload> {
    let mut fields = Fields::of(node, "a workload", problems)?;
    let strategy = fields.required_text("teststrategy").map(|text| text.to_lowercase());
    let what = strategy.as_deref().map_or("a workload".to_owned(), |text| format!("workload `{}`", shown(text)));
    fields.rename(&what);
    let users = whole(&mut fields, "vuser", &what, 1..=USERS_MAX);
    let loops = whole(&mut fields, "loopcount", &what, 1..=u32::MAX);
    let think_time_ms = whole(&mut fields, "thinktime", &what, 0..=u32::MAX);
    let script = fields.text("script");
    let share = "a share of the requests from 0 to 1, such as 0.05";
    let accepted_error_rate = number(&mut fields, "acceptederrorrate", &what, 1.0, share);
    let mean_ms_max = number(&mut fields, "avgrtvalidation", &what, f64::MAX, "milliseconds, or 0 for no limit");
    let properties = fields.get("properties");
    fields.finish();
    no_empty(node, &what, &["properties"], problems);
    let properties = properties.map(|node| self::properties(node, &what, problems)).unwrap_or_default();
    let strategy = strategy?;
    Some(Workload { strategy, users, loops, think_time_ms, script, accepted_error_rate, mean_ms_max, properties })
}

fn number(fields: &mut Fields<'_, '_>, name: &'static str, of: &str, max: f64, wanted: &str) -> Option<f64> {
    let node = fields.get(name)?;
    let found = scalar(node).and_then(number_of).filter(|number| (0.0..=max).contains(number));
    if found.is_none() {
        fields.problems().push(is_not(name, of, node, wanted));
    }
    found
}

fn properties(node: &Node, of: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let what = format!("`properties` of {of}");
    let members = members(node, &what, problems);
    if members.len() > PROPERTIES_MAX {
        problems.push(too_many(node.at, &what, members.len(), PROPERTIES_MAX));
        return BTreeMap::new();
    }
    let mut found = BTreeMap::new();
    for member in members {
        let bad = |it: char| it.is_whitespace() || it.is_control() || "=:#!\\".contains(it);
        if member.key.is_empty() || member.key.chars().any(bad) {
            let name = shown(&member.key);
            let message = format!("`{name}` is not a property name; leave out blanks, `=`, `:`, `#`, `!` and `\\`");
            problems.push(Problem::error(member.at, message));
        }
        match scalar(&member.node) {
            Some(text) => {
                found.insert(member.key.clone(), text.to_owned());
            }
            None => problems.push(is_not(&member.key, &what, &member.node, "a text, a number, `true` or `false`")),
        }
    }
    found
}
