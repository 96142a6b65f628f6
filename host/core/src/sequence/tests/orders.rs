//! What Keptn's shipyard did not have: retries, groups, concurrency, runs once more; and how data grows.

use serde_json::json;

use super::*;

const PASS: TaskResult = TaskResult::Pass;
const FAIL: TaskResult = TaskResult::Fail;

#[test]
fn a_task_that_could_not_be_done_is_tried_again_as_often_as_the_shipyard_says_and_a_bad_result_is_not() {
    let stages = "  - {name: dev, sequences: [{name: a, tasks: [{name: t, retries: 2, retryAfter: 30s}]}]}\n";
    let mut world = World::new(stages);
    let a = world.trigger("dev.a", "s", "r1");
    for attempt in [2, 3] {
        let task = world.task(a, "t");
        world.end_as(&task, FAIL, TaskStatus::Errored, None);
        assert!(world.why(a).contains(&format!("attempt {attempt} of 3 of task `t` begins at")), "{}", world.why(a));
        assert!(world.wake_next());
    }
    let task = world.task(a, "t");
    world.end_as(&task, FAIL, TaskStatus::Errored, None);
    assert_eq!(world.outcome(a), (FAIL, TaskStatus::Errored));
    assert_eq!(world.get(a).done.len(), 3);

    let mut world = World::new(stages);
    let a = world.trigger("dev.a", "s", "r1");
    world.end(a, "t", FAIL);
    assert_eq!(world.outcome(a), (FAIL, TaskStatus::Succeeded));
}

#[test]
fn the_tasks_of_a_group_run_together_and_all_must_end() {
    let mut world =
        World::new("  - {name: dev, sequences: [{name: a, tasks: [{parallel: [{name: t}, {name: u}]}, {name: v}]}]}\n");
    let a = world.trigger("dev.a", "s", "r1");
    let (t, u) = (world.task(a, "t"), world.task(a, "u"));
    world.end_as(&u, PASS, TaskStatus::Succeeded, Some(json!({"b": 1})));
    assert!(!world.is_open(a, "v"));
    world.end_as(&t, PASS, TaskStatus::Succeeded, Some(json!({"a": 1})));
    let data = world.data("v.triggered");
    assert_eq!((&data["t"]["a"], &data["u"]["b"]), (&json!(1), &json!(1)));
    world.end(a, "v", PASS);
    assert_eq!(world.outcome(a), (PASS, TaskStatus::Succeeded));

    let failing = world.trigger("dev.a", "s", "r2");
    world.end(failing, "t", FAIL);
    assert!(world.is_open(failing, "u"), "what is at work goes on");
    world.end(failing, "u", PASS);
    assert_eq!(world.outcome(failing), (FAIL, TaskStatus::Succeeded));
}

#[test]
fn a_shipyard_can_let_sequences_run_side_by_side_or_replace_the_earlier_ones() {
    let stages = |mode: &str| {
        format!("  - {{name: dev, sequences: [{{name: a, concurrency: {mode}, tasks: [{{name: t}}]}}]}}\n")
    };
    let mut world = World::new(&stages("parallel"));
    let ids: Vec<Uuid> = ["r1", "r2"].iter().map(|run| world.trigger("dev.a", "s", run)).collect();
    assert!(ids.iter().all(|id| world.state(*id) == State::Running));

    let mut world = World::new(&stages("replace"));
    let ids: Vec<Uuid> = ["r1", "r2", "r3"].iter().map(|run| world.trigger("dev.a", "s", run)).collect();
    assert_eq!(
        ids.iter().map(|id| world.state(*id)).collect::<Vec<_>>(),
        [State::Aborted, State::Aborted, State::Running]
    );
    assert!(world.get(ids[0]).end.as_ref().unwrap().message.contains("replaced by a later one"));
    assert_eq!(world.cancelled.len(), 2);
}

#[test]
fn a_failed_sequence_can_be_run_once_more_from_the_start_or_from_where_it_failed() {
    let mut world = World::new("  - {name: dev, sequences: [{name: a, tasks: [{name: t}, {name: u}]}]}\n");
    let first = world.trigger_with("dev.a", "s", "r1", json!({"image": "a:1"}));
    let t = world.task(first, "t");
    world.end_as(&t, PASS, TaskStatus::Succeeded, Some(json!({"url": "x"})));
    world.end(first, "u", FAIL);
    let again = |world: &World| world.rows.executions.values().flatten().find(|it| it.end.is_none()).unwrap().id;

    world.order(first, Command::RerunFromFailed);
    let second = again(&world);
    assert!(world.is_open(second, "u") && !world.is_open(second, "t"));
    assert_eq!(world.data("u.triggered")["t"]["url"], "x");
    world.end(second, "u", PASS);
    assert_eq!(world.outcome(second), (PASS, TaskStatus::Succeeded));
    assert_eq!((world.get(second).rerun_of, world.get(second).run.as_str()), (Some(first), "r1"));

    world.order(first, Command::Rerun);
    let third = again(&world);
    let data = world.data("t.triggered");
    assert_eq!((&data["image"], data.get("t").and_then(|t| t.get("url"))), (&json!("a:1"), None));
    world.order(third, Command::Abort);
    assert_eq!(world.get(third).end.as_ref().unwrap().message, "aborted by token:ops: because");
    // An order that comes too late changes nothing.
    for command in [Command::Pause, Command::Resume, Command::Abort] {
        world.order(third, command);
    }
    assert_eq!(world.outcome(third), (FAIL, TaskStatus::Aborted));
}

#[test]
fn an_aborted_sequence_fires_nothing() {
    let mut world = World::new(
        "  - {name: dev, sequences: [{name: a, tasks: [{name: t}]}, {name: b, tasks: [{name: u}], triggeredOn: [{event: dev.a.finished, selector: {match: {result: fail}}}]}]}\n",
    );
    let a = world.trigger("dev.a", "s", "r1");
    world.order(a, Command::Abort);
    assert!(world.fired_by(a).is_empty());
    assert_eq!(world.data("dev.a.finished")["status"], "aborted");
}

#[test]
fn a_pause_that_nobody_ends_is_an_abort_after_thirty_days() {
    let mut world = World::new("  - {name: dev, sequences: [{name: a, tasks: [{name: t}]}]}\n");
    let a = world.trigger("dev.a", "s", "r1");
    world.order(a, Command::Pause);
    let begin = world.now;
    assert!(world.wake_next());
    assert_eq!(world.outcome(a), (FAIL, TaskStatus::Aborted));
    assert_eq!(world.now.since(begin), PAUSE_MAX);
}

#[test]
fn properties_are_added_to_the_tasks_own_data_and_not_carried_on() {
    let mut world = World::new(
        "  - {name: dev, sequences: [{name: a, tasks: [{name: t, properties: {strategy: direct, n: 1}}, {name: u}]}]}\n",
    );
    let a = world.trigger_with("dev.a", "s", "r1", json!({"t": {"n": 5, "m": 2}}));
    assert_eq!(world.data("t.triggered")["t"], json!({"n": 1, "m": 2, "strategy": "direct"}));
    world.end(a, "t", PASS);
    assert_eq!(world.data("u.triggered")["t"], json!({"n": 5, "m": 2}));
    assert_eq!(world.data("u.triggered")["u"], json!({}));
}

#[test]
fn data_that_no_event_can_carry_ends_the_sequence_and_says_so() {
    let mut world = World::new("  - {name: dev, sequences: [{name: a, tasks: [{name: t}, {name: u}]}]}\n");
    let large = "x".repeat(700_000);
    let a = world.trigger_with("dev.a", "s", "r1", json!({ "a": large }));
    let task = world.task(a, "t");
    world.end_as(&task, PASS, TaskStatus::Succeeded, Some(json!({ "b": large })));
    assert_eq!(world.outcome(a), (FAIL, TaskStatus::Errored));
    assert!(world.get(a).end.as_ref().unwrap().message.contains("event cannot be made"), "{:?}", world.get(a).end);
}
