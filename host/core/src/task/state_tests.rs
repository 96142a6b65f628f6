//! Rules of a task's life.

use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn name(text: &str) -> InstallationName {
    InstallationName::new(text).unwrap()
}

fn task(executors: &[&str]) -> (Task, Vec<Action>) {
    let trigger = Trigger {
        id: "t1".into(),
        name: TaskName::new("test").unwrap(),
        run: "r1".into(),
        place: Place::default(),
        executors: executors.iter().map(|text| name(text)).collect(),
        parent: None,
        sequence: None,
        start_timeout: Some(Duration::from_secs(10)),
        depth: 0,
        finish_timeout: Duration::from_secs(60),
    };
    Task::trigger(trigger, NOW)
}

fn finished(result: TaskResult) -> Answer {
    let message = format!("it is {}", result.as_str());
    Answer::Finished(Finished { result, status: TaskStatus::Succeeded, message, ..Finished::errored("") })
}

fn answer(task: &mut Task, installation: &str, answer: Answer) -> Result<Vec<Action>, Refusal> {
    task.step(Input::Answered { installation: name(installation), answer }, NOW)
}

#[test]
fn a_task_without_an_executor_fails_at_once_and_says_so() {
    let (task, actions) = task(&[]);
    let end = task.end.unwrap();
    assert_eq!((end.result, end.status), (TaskResult::Fail, TaskStatus::Errored));
    assert!(end.reason.contains("no installation that executes `test`"), "{}", end.reason);
    assert!(matches!(&actions[..], [Action::SendFinished(None, _), Action::End]));
}

#[test]
fn started_is_sent_once_per_executor() {
    let (mut task, _) = task(&["a", "b"]);
    let mut start = |who: &str| task.step(Input::Started { installation: name(who) }, NOW).unwrap();
    assert_eq!(start("a"), [Action::SendStarted(name("a"))]);
    assert_eq!(start("a"), []);
    assert_eq!(start("b"), [Action::SendStarted(name("b"))]);
}

#[test]
fn a_task_ends_when_every_executor_answered_and_the_worst_result_wins() {
    let (mut task, _) = task(&["a", "b", "c"]);
    assert_eq!(answer(&mut task, "a", finished(TaskResult::Pass)).unwrap().len(), 1);
    assert_eq!(answer(&mut task, "b", finished(TaskResult::Warning)).unwrap().len(), 1);
    assert!(task.is_open());
    let actions = answer(&mut task, "c", finished(TaskResult::Pass)).unwrap();
    assert_eq!(actions.last(), Some(&Action::End));
    let end = task.end.unwrap();
    assert_eq!((end.result, end.reason.as_str()), (TaskResult::Warning, "it is warning"));
}

#[test]
fn the_first_answer_counts_and_only_from_who_was_asked() {
    let (mut task, _) = task(&["a", "b"]);
    answer(&mut task, "a", finished(TaskResult::Pass)).unwrap();
    assert_eq!(answer(&mut task, "a", finished(TaskResult::Fail)), Err(Refusal::Answered(name("a"))));
    assert_eq!(answer(&mut task, "x", finished(TaskResult::Fail)), Err(Refusal::NotBound(name("x"))));
    answer(&mut task, "b", finished(TaskResult::Pass)).unwrap();
    assert!(matches!(answer(&mut task, "b", finished(TaskResult::Fail)), Err(Refusal::Ended { .. })));
    assert_eq!(task.end.unwrap().result, TaskResult::Pass);
}

#[test]
fn an_executor_that_declines_does_not_count_and_when_all_decline_there_is_none() {
    let declined = || Answer::Declined { reason: "not mine".into() };
    let (mut one, _) = task(&["a", "b"]);
    assert_eq!(answer(&mut one, "a", declined()).unwrap(), []);
    answer(&mut one, "b", finished(TaskResult::Pass)).unwrap();
    assert_eq!(one.end.unwrap().result, TaskResult::Pass);

    let (mut all, _) = task(&["a", "b"]);
    answer(&mut all, "a", declined()).unwrap();
    let actions = answer(&mut all, "b", declined()).unwrap();
    assert!(matches!(&actions[..], [Action::SendFinished(None, _), Action::End]));
    let reason = all.end.unwrap().reason;
    assert!(reason.contains("`a` declined: not mine"), "{reason}");
}

#[test]
fn pending_keeps_the_task_open_and_asks_to_be_woken() {
    let (mut task, _) = task(&["a"]);
    let actions = answer(&mut task, "a", Answer::Pending { wake_after_ms: Some(500) }).unwrap();
    assert_eq!(actions, [Action::WakeAt(name("a"), Timestamp::from_millis(1_500))]);
    assert_eq!(answer(&mut task, "a", Answer::Pending { wake_after_ms: None }).unwrap(), []);
    answer(&mut task, "a", finished(TaskResult::Pass)).unwrap();
    assert!(!task.is_open());
}

#[test]
fn a_time_out_answers_for_everyone_who_has_not_and_names_them() {
    let (mut task, _) = task(&["a", "b"]);
    answer(&mut task, "a", finished(TaskResult::Pass)).unwrap();
    let actions = task.step(Input::TimedOut, NOW).unwrap();
    assert!(matches!(&actions[..], [Action::SendFinished(Some(who), _), Action::End] if *who == name("b")));
    let end = task.end.unwrap();
    assert_eq!(end.status, TaskStatus::Errored);
    assert!(end.reason.contains("timed out after 1m") && end.reason.contains("`b`"), "{}", end.reason);
}

#[test]
fn a_delivery_that_is_given_up_or_whose_executor_is_removed_gives_an_errored_answer() {
    let (mut one, _) = task(&["a"]);
    one.step(Input::GaveUp { installation: name("a"), reason: "trap".into() }, NOW).unwrap();
    assert_eq!(one.end.unwrap().reason, "trap");
    let (mut other, _) = task(&["a"]);
    other.step(Input::Removed { installation: name("a") }, NOW).unwrap();
    assert!(other.end.unwrap().reason.contains("removed"));
}

#[test]
fn the_stored_form_is_read_back_and_a_newer_one_is_refused() {
    let (task, _) = task(&["a"]);
    assert_eq!(Task::from_json(&task.to_json()).unwrap(), task);
    let newer = String::from_utf8(task.to_json()).unwrap().replace("\"schema\":2", "\"schema\":9");
    assert!(Task::from_json(newer.as_bytes()).unwrap_err().to_string().contains("version 9"));
}

#[test]
fn who_has_not_begun_in_time_is_answered_for_and_who_has_goes_on() {
    let (mut task, _) = task(&["a", "b"]);
    task.step(Input::Started { installation: name("a") }, NOW).unwrap();
    let actions = task.step(Input::StartTimedOut, NOW).unwrap();
    assert!(matches!(&actions[..], [Action::SendFinished(Some(who), _)] if *who == name("b")), "{actions:?}");
    assert!(task.is_open());
    answer(&mut task, "a", finished(TaskResult::Pass)).unwrap();
    let end = task.end.unwrap();
    assert_eq!((end.result, end.status), (TaskResult::Fail, TaskStatus::Errored));
    assert_eq!(end.reason, "`b` did not begin within 10s");
}

#[test]
fn a_cancelled_task_ends_as_aborted_for_everyone_who_has_not_answered() {
    let (mut task, _) = task(&["a", "b"]);
    answer(&mut task, "a", finished(TaskResult::Pass)).unwrap();
    let actions = task.step(Input::Cancelled { reason: "its sequence ended".into() }, NOW).unwrap();
    assert!(
        matches!(&actions[..], [Action::SendFinished(Some(who), _), Action::End] if *who == name("b")),
        "{actions:?}"
    );
    let end = task.end.clone().unwrap();
    assert_eq!((end.result, end.status), (TaskResult::Fail, TaskStatus::Aborted));
    assert!(answer(&mut task, "b", finished(TaskResult::Pass)).is_err());
}

#[test]
fn a_row_of_the_first_version_is_read() {
    let (task, _) = task(&["a"]);
    let mut row: serde_json::Value = serde_json::from_slice(&task.to_json()).unwrap();
    let members = row.as_object_mut().unwrap();
    members.insert("schema".into(), 1.into());
    for added in ["start_by", "sequence"] {
        assert!(members.remove(added).is_some());
    }
    let read = Task::from_json(row.to_string().as_bytes()).unwrap();
    assert_eq!((read.id, read.start_by, read.sequence), (task.id, None, None));
}
