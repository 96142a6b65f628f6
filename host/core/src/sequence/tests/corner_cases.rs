//! The corner cases that Keptn V1 met, each with our answer. Those that are about one task and its executors are in
//! `task/state_tests.rs`, those that are about the log in the daemon's tests; `docs/sequences.md` lists them all.

use serde_json::json;

use super::*;

const PASS: TaskResult = TaskResult::Pass;
const FAIL: TaskResult = TaskResult::Fail;
const WARNING: TaskResult = TaskResult::Warning;
const DELIVERY: &str = "  - name: dev
    sequences:
    - {name: delivery, tasks: [{name: deployment}, {name: test}, {name: release}]}
    - {name: rollback, triggeredOn: [{event: dev.delivery.finished, selector: {match: {result: fail}}}], tasks: [{name: undo}]}
  - name: prod
    sequences:
    - {name: delivery, triggeredOn: [{event: dev.delivery.finished}], tasks: [{name: deployment}]}
";

#[test]
fn tasks_run_in_order_with_what_came_before_and_the_next_stage_follows() {
    let mut world = World::new(DELIVERY);
    let dev =
        world.trigger_with("dev.delivery", "s", "r1", json!({"labels": {"v": "1"}, "message": "go", "image": "a:1"}));
    let deployment = world.task(dev, "deployment");
    assert_eq!(world.data("deployment.triggered")["image"], "a:1");
    world.end_as(&deployment, PASS, TaskStatus::Succeeded, Some(json!({"url": "http://a"})));
    let test = world.data("test.triggered");
    assert_eq!((&test["deployment"]["url"], &test["result"]), (&json!("http://a"), &json!("pass")));
    assert_eq!((&test["message"], &test["labels"]["v"]), (&json!(""), &json!("1")));
    world.end(dev, "test", WARNING);
    world.end(dev, "release", PASS);
    assert_eq!(world.outcome(dev), (PASS, TaskStatus::Succeeded));
    let finished = world.data("dev.delivery.finished");
    assert_eq!(finished["result"], "pass");
    assert_eq!(finished.get("deployment"), None, "the end of a sequence has no task's output");
    let fired = world.fired_by(dev);
    assert_eq!(fired.len(), 1);
    assert_eq!((fired[0].name().as_str(), fired[0].depth, fired[0].run.as_str()), ("prod.delivery", 1, "r1"));
    let prod = world.data("prod.delivery.triggered");
    assert_eq!((&prod["stage"], &prod["deployment"]["url"]), (&json!("prod"), &json!("http://a")));
}

#[test]
fn c4_a_warning_goes_on_and_a_sequence_that_ends_with_it_fires_what_follows() {
    let mut world = World::new(DELIVERY);
    let dev = world.trigger("dev.delivery", "s", "r1");
    for task in ["deployment", "test", "release"] {
        world.end(dev, task, WARNING);
    }
    assert_eq!(world.outcome(dev), (WARNING, TaskStatus::Succeeded));
    assert_eq!(world.fired_by(dev).len(), 1);
}

#[test]
fn c5_c7_an_unknown_or_errored_status_is_a_failure_whatever_the_result_and_what_waits_for_failures_fires() {
    for status in [TaskStatus::Unknown, TaskStatus::Errored] {
        let mut world = World::new(DELIVERY);
        let dev = world.trigger("dev.delivery", "s", "r1");
        let task = world.task(dev, "deployment");
        world.end_as(&task, PASS, status, None);
        assert_eq!(world.outcome(dev), (FAIL, status));
        let fired = world.fired_by(dev);
        assert_eq!((fired.len(), fired[0].name().as_str()), (1, "dev.rollback"));
    }
}

#[test]
fn a_failure_skips_the_rest_and_fires_the_rollback_alone() {
    let mut world = World::new(DELIVERY);
    let dev = world.trigger("dev.delivery", "s", "r1");
    world.end(dev, "deployment", PASS);
    world.end(dev, "test", FAIL);
    assert!(!world.sent.iter().any(|event| event.ty() == "sh.keptn.event.release.triggered"));
    assert_eq!(world.fired_by(dev).iter().map(|it| it.name()).collect::<Vec<_>>(), ["dev.rollback"]);
}

#[test]
fn c6_a_task_that_stands_twice_is_two_tasks() {
    let mut world = World::new("  - {name: dev, sequences: [{name: a, tasks: [{name: t}, {name: t}]}]}\n");
    let a = world.trigger("dev.a", "s", "r1");
    let first = world.task(a, "t");
    world.end(a, "t", PASS);
    assert_ne!(world.task(a, "t"), first);
    world.end(a, "t", FAIL);
    assert_eq!(world.outcome(a), (FAIL, TaskStatus::Succeeded));
}

#[test]
fn c8_a_sequence_that_follows_its_own_failure_runs_until_it_passes_and_not_for_ever() {
    let loops = "  - {name: dev, sequences: [{name: a, tasks: [{name: t}], triggeredOn: [{event: dev.a.finished, selector: {match: {t.result: fail}}}]}]}\n";
    let mut world = World::new(loops);
    let mut now = world.trigger("dev.a", "s", "r1");
    for _ in 0..3 {
        world.end(now, "t", FAIL);
        now = world.fired_by(now)[0].id;
    }
    world.end(now, "t", PASS);
    assert!(world.fired_by(now).is_empty() && world.open.is_empty());

    let mut world = World::new(loops);
    world.trigger("dev.a", "s", "r1");
    let mut rounds = 0;
    while let Some(task) = world.open.keys().next().cloned() {
        world.end_as(&task, FAIL, TaskStatus::Succeeded, None);
        rounds += 1;
        assert!(rounds < 100, "it runs for ever");
    }
    assert_eq!(rounds, 65, "the first, and the 64 that it may fire");
    assert!(world.data("dev.a.finished")["message"].as_str().unwrap().contains("run in a circle"));
}

#[test]
fn c9_a_selector_matches_the_task_wherever_it_stood() {
    let mut world = World::new(
        "  - {name: dev, sequences: [{name: a, tasks: [{name: t}, {name: u}]}, {name: b, tasks: [{name: v}], triggeredOn: [{event: dev.a.finished, selector: {match: {t.result: warning}}}]}]}\n",
    );
    let a = world.trigger("dev.a", "s", "r1");
    world.end(a, "t", WARNING);
    world.end(a, "u", PASS);
    assert_eq!(world.fired_by(a).len(), 1);
}

#[test]
fn c10_several_stages_that_follow_one_end_run_at_the_same_time() {
    let mut world = World::new(
        "  - {name: dev, sequences: [{name: a, tasks: [{name: t}]}]}
  - {name: eu, sequences: [{name: a, tasks: [{name: u}], triggeredOn: [{event: dev.a.finished}]}]}
  - {name: us, sequences: [{name: a, tasks: [{name: v}], triggeredOn: [{event: dev.a.finished}]}]}
",
    );
    let dev = world.trigger("dev.a", "s", "r1");
    world.end(dev, "t", PASS);
    let names: Vec<&str> = world.open.values().map(|(_, name)| name.as_str()).collect();
    assert!(names.contains(&"u") && names.contains(&"v"), "{names:?}");
}

#[test]
fn c11_an_open_approval_lets_others_go_and_its_sequence_waits_for_its_turn_afterwards() {
    let mut world = World::new(
        "  - {name: dev, sequences: [{name: a, tasks: [{name: approval}, {name: release}]}, {name: b, tasks: [{name: t}]}]}\n",
    );
    let first = world.trigger("dev.a", "s", "r1");
    let other = world.trigger("dev.b", "s", "r2");
    assert!(world.is_open(first, "approval") && world.is_open(other, "t"));
    world.end(first, "approval", PASS);
    assert_eq!(world.state(first), State::Waiting);
    assert!(
        world.why(first).contains("waits for its turn at p/dev/s before task `release`: `b`"),
        "{}",
        world.why(first)
    );
    world.end(other, "t", PASS);
    world.end(first, "release", PASS);
    assert_eq!(world.outcome(first), (PASS, TaskStatus::Succeeded));
}

#[test]
fn c12_c23_of_several_triggered_at_once_one_runs_and_the_next_begins_when_it_ends_however_it_ends() {
    let mut world = World::new(DELIVERY);
    let runs: Vec<Uuid> = ["r1", "r2", "r3"].iter().map(|run| world.trigger("dev.rollback", "s", run)).collect();
    assert_eq!((world.state(runs[0]), world.state(runs[1])), (State::Running, State::Waiting));
    assert!(world.why(runs[2]).contains("1 wait before it"), "{}", world.why(runs[2]));
    let other_service = world.trigger("dev.rollback", "other", "r4");
    assert_eq!(world.state(other_service), State::Running);
    let task = world.task(runs[0], "undo");
    world.end_as(&task, FAIL, TaskStatus::Errored, None);
    assert_eq!((world.state(runs[1]), world.state(runs[2])), (State::Running, State::Waiting));
    world.end(runs[1], "undo", PASS);
    assert_eq!(world.state(runs[2]), State::Running);
}

#[test]
fn c13_a_delayed_task_has_its_own_time_and_does_not_hold_the_queue() {
    let mut world =
        World::new("  - {name: dev, sequences: [{name: a, tasks: [{name: t}, {name: u, triggeredAfter: 2h}]}]}\n");
    let first = world.trigger("dev.a", "s", "r1");
    world.end(first, "t", PASS);
    assert_eq!(world.state(first), State::Delayed);
    assert!(world.why(first).contains("task `u` begins at"), "{}", world.why(first));
    let second = world.trigger("dev.a", "s", "r2");
    assert_eq!(world.state(second), State::Running, "the delayed one does not hold the queue");
    assert!(world.wake_next());
    assert_eq!(world.state(first), State::Waiting, "its time has come, its turn has not");
    world.end(second, "t", PASS);
    assert!(world.is_open(first, "u"));
}

#[test]
fn c14_an_abort_takes_a_delayed_task_with_it() {
    let mut world = World::new("  - {name: dev, sequences: [{name: a, tasks: [{name: t, triggeredAfter: 10m}]}]}\n");
    let a = world.trigger("dev.a", "s", "r1");
    world.order(a, Command::Abort);
    assert!(world.wakes.is_empty() && !world.sent.iter().any(|event| event.ty().contains(".t.")));
    assert_eq!(world.outcome(a), (FAIL, TaskStatus::Aborted));
}

#[test]
fn c15_a_queued_sequence_can_be_aborted_and_the_running_one_goes_on() {
    let mut world = World::new(DELIVERY);
    let running = world.trigger("dev.delivery", "s", "r1");
    let queued = world.trigger("dev.delivery", "s", "r2");
    world.order(queued, Command::Abort);
    assert_eq!((world.state(queued), world.state(running)), (State::Aborted, State::Running));
    assert!(world.cancelled.is_empty());
}

#[test]
fn c16_c17_a_pause_lets_the_task_end_triggers_nothing_and_does_not_hold_the_queue() {
    let mut world = World::new(DELIVERY);
    let first = world.trigger("dev.delivery", "s", "r1");
    world.order(first, Command::Pause);
    assert!(world.why(first).contains("paused by token:ops"), "{}", world.why(first));
    let second = world.trigger("dev.delivery", "s", "r2");
    assert_eq!(world.state(second), State::Running);
    world.end(first, "deployment", PASS);
    assert_eq!(world.state(first), State::Paused);
    assert!(!world.is_open(first, "test"));
    world.order(first, Command::Resume);
    assert_eq!(world.state(first), State::Waiting, "the other one has the place");
    for task in ["deployment", "test", "release"] {
        world.end(second, task, PASS);
    }
    assert!(world.is_open(first, "test"));
}

#[test]
fn c18_aborting_a_paused_sequence_lets_the_queue_go_on() {
    let mut world =
        World::new("  - {name: dev, sequences: [{name: a, tasks: [{parallel: [{name: t}, {name: u}]}, {name: v}]}]}\n");
    let first = world.trigger("dev.a", "s", "r1");
    let second = world.trigger("dev.a", "s", "r2");
    world.end(first, "t", PASS);
    world.order(first, Command::Pause);
    let third = world.trigger("dev.a", "s", "r3");
    world.order(first, Command::Abort);
    assert_eq!(world.cancelled.len(), 1, "the task that had not ended");
    assert_eq!((world.state(second), world.state(third)), (State::Running, State::Waiting));
}

#[test]
fn c19_aborting_a_run_in_several_stages_lets_all_of_their_queues_go_on() {
    let mut world = World::new(DELIVERY);
    let ids: Vec<Uuid> = ["dev.delivery", "prod.delivery"].iter().map(|it| world.trigger(it, "s", "r1")).collect();
    let next: Vec<Uuid> = ["dev.delivery", "prod.delivery"].iter().map(|it| world.trigger(it, "s", "r2")).collect();
    for id in ids {
        world.order(id, Command::Abort);
    }
    assert!(next.iter().all(|id| world.state(*id) == State::Running));
}

#[test]
fn c20_deleting_a_project_aborts_what_runs_and_waits_and_nothing_of_it_comes_back() {
    let mut world = World::new(DELIVERY);
    let ids: Vec<Uuid> = ["r1", "r2"].iter().map(|run| world.trigger("dev.delivery", "s", run)).collect();
    let keys: Vec<Key> = world.rows.queues.keys().cloned().collect();
    world.exists = false;
    world.step(&Input::ProjectDeleted { keys, actor: Actor::token("ops") });
    assert!(ids.iter().all(|id| world.state(*id) == State::Aborted) && world.open.is_empty());
    world.exists = true;
    let fresh = world.trigger("dev.delivery", "s", "r3");
    assert_eq!(world.state(fresh), State::Running);
    assert_eq!(world.open.len(), 1);
}

#[test]
fn c21_c22_what_cannot_begin_ends_at_once_as_errored_and_says_why() {
    for (asked, more, why) in [
        ("deev.delivery", json!({}), "no stage `deev`; did you mean `dev`?"),
        ("dev.delivry", json!({}), "stage `dev` has no sequence `delivry`; did you mean `delivery`?"),
        ("dev.delivery", json!({"project": "q"}), "there is no project `q`"),
        ("dev.delivery", json!({"project": ""}), "`data.project`"),
        ("dev.delivery", json!({"service": "Not Good"}), "`data.service`"),
        ("dev.delivery", json!({"stage": "prod"}), "`data.stage` is `prod`, the event's type says `dev`"),
    ] {
        let mut world = World::new(DELIVERY);
        let id = world.trigger_with(asked, "s", "r1", more);
        assert_eq!(world.outcome(id), (FAIL, TaskStatus::Errored));
        let finished = world.data(&format!("{asked}.finished"));
        assert!(finished["message"].as_str().unwrap().contains(why), "{finished}");
        assert!(world.fired_by(id).is_empty());
    }
    // Every stage has a sequence `evaluation`.
    let mut world = World::new(DELIVERY);
    let id = world.trigger("prod.evaluation", "s", "r1");
    assert!(world.is_open(id, "evaluation"));
}

#[test]
fn c24_the_same_trigger_again_starts_nothing() {
    let mut world = World::new(DELIVERY);
    world.trigger("dev.delivery", "s", "r1");
    let again = world.last.clone().unwrap();
    world.step(&Input::Triggered(Box::new(again)));
    assert_eq!(world.open.len(), 1);
}

#[test]
fn c2_c22_c27_the_end_of_a_task_that_nobody_waits_for_changes_nothing() {
    let mut world = World::new(DELIVERY);
    let dev = world.trigger("dev.delivery", "s", "r1");
    let task = world.task(dev, "deployment");
    world.end_as(&task, PASS, TaskStatus::Succeeded, None);
    let before = world.get(dev).clone();
    for (execution, id) in [(dev, task.as_str()), (dev, "unknown"), (Uuid::nil(), task.as_str())] {
        let input = Input::TaskEnded {
            execution,
            task: id.to_owned(),
            outcome: TaskOutcome {
                result: FAIL,
                status: TaskStatus::Errored,
                message: "late".to_owned(),
                timed_out: false,
            },
            answers: Vec::new(),
        };
        world.step(&input);
    }
    assert_eq!(*world.get(dev), before);
}

#[test]
fn c26_the_queue_goes_by_when_the_host_accepted_the_event_not_by_what_its_sender_says() {
    let mut world = World::new(DELIVERY);
    let runs: Vec<Uuid> = ["r1", "r2", "r3"]
        .iter()
        .map(|run| world.trigger_with("dev.rollback", "s", run, json!({"time": "1999-01-01T00:00:00Z"})))
        .collect();
    world.end(runs[0], "undo", PASS);
    assert_eq!((world.state(runs[1]), world.state(runs[2])), (State::Running, State::Waiting));
}

#[test]
fn c28_the_newer_number_wins() {
    let mut world = World::new(DELIVERY);
    let dev = world.trigger_with("dev.delivery", "s", "r1", json!({"deployment": {"replicas": 1, "canary": true}}));
    let task = world.task(dev, "deployment");
    world.end_as(&task, PASS, TaskStatus::Succeeded, Some(json!({"replicas": 2, "canary": false})));
    assert_eq!(world.data("test.triggered")["deployment"], json!({"replicas": 2, "canary": false}));
}
