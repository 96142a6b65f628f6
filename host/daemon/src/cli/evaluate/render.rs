//! An evaluation for people, for build servers and for comments on a change.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use pilothouse_files::evaluation::{Evaluation, IndicatorResult, ObjectiveStatus, change, number};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::cli::terminal::printable;
use crate::cli::{CliError, Exit, Terminal};

fn status(result: &IndicatorResult) -> &'static str {
    match result.status {
        ObjectiveStatus::Pass => "pass",
        ObjectiveStatus::Warning => "warning",
        ObjectiveStatus::Fail if result.key_sli => "fail (key)",
        ObjectiveStatus::Fail => "fail",
        ObjectiveStatus::Info => "info",
    }
}

fn name(result: &IndicatorResult) -> &str {
    if result.display_name.is_empty() { &result.value.metric } else { &result.display_name }
}

fn value(result: &IndicatorResult) -> String {
    match result.value.success {
        true => format!("{} {}", number(result.value.value), result.unit).trim_end().to_owned(),
        false => "–".to_owned(),
    }
}

/// Says what it was before, and by how much it has changed.
fn before(result: &IndicatorResult) -> String {
    let Some(before) = result.value.compared_value else { return String::new() };
    match change(before, result.value.value).filter(|_| result.value.success) {
        Some(change) => format!("{} ({change})", number(before)),
        None => number(before),
    }
}

fn criteria(result: &IndicatorResult) -> String {
    result.pass_targets.iter().map(|target| target.criteria.as_str()).collect::<Vec<_>>().join(" ")
}

fn cells(result: &IndicatorResult) -> [String; 6] {
    let score = match result.status {
        ObjectiveStatus::Info => String::new(),
        _ => format!("{}/{}", number(result.score), result.weight),
    };
    [name(result).to_owned(), value(result), before(result), criteria(result), status(result).to_owned(), score]
}

const HEADINGS: [&str; 6] = ["OBJECTIVE", "VALUE", "BEFORE", "PASS", "RESULT", "SCORE"];

/// Writes a table, and the verdict with its reasons under it.
pub(super) fn table(evaluation: &Evaluation, terminal: &mut Terminal) -> Result<(), CliError> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(HEADINGS);
    for result in &evaluation.indicator_results {
        table.add_row(cells(result).map(|cell| printable(&cell)));
    }
    for line in table.lines() {
        terminal.line(line.trim_end())?;
    }
    terminal.line("")?;
    terminal.line(&evaluation.message)
}

/// Writes Markdown: the verdict, a table, and what was not met.
pub(super) fn markdown(evaluation: &Evaluation) -> String {
    let mut text = format!("**{}**\n\n", escaped(&evaluation.message));
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    text.push_str(&row(&HEADINGS.map(str::to_lowercase)));
    text.push_str("|---|---|---|---|---|---|\n");
    for result in &evaluation.indicator_results {
        text.push_str(&row(&cells(result).map(|cell| escaped(&cell))));
    }
    text
}

/// Takes their meaning from the signs that mean something in Markdown, in a table or in HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' => {
                escaped.push('\\');
                escaped.push(character);
            }
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

/// Writes JUnit's XML: a test case for each objective, and one for the score.
pub(super) fn junit(evaluation: &Evaluation) -> Result<String, CliError> {
    let mut suite = TestSuite::new("evaluation");
    let case = |name: &str, failed: bool, message: &str| {
        let mut status = match failed {
            true => TestCaseStatus::non_success(NonSuccessKind::Failure),
            false => TestCaseStatus::success(),
        };
        if failed {
            status.set_message(message);
        }
        let mut case = TestCase::new(name, status);
        case.set_classname("evaluation");
        case.set_system_out(message);
        case
    };
    for result in &evaluation.indicator_results {
        suite.add_test_case(case(name(result), result.status == ObjectiveStatus::Fail, &result.explanation));
    }
    let failed = evaluation.result == pilothouse_files::result::TaskResult::Fail;
    suite.add_test_case(case("total score", failed, &evaluation.message));
    let mut report = Report::new("pilothouse");
    report.add_test_suite(suite);
    report.to_string().map_err(|error| CliError::new(Exit::Failed, "the report cannot be written").caused_by(&error))
}
