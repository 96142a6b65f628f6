//! Random shipyards and random histories: orders, repeats, losses and delays, with a restart after every decision.
//!
//! `PILOTHOUSE_HISTORIES` is the number of histories; `cargo xtask crash` asks for many.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::name::{SequenceName, StageName, TaskName};
use crate::shipyard::{Concurrency, Condition, Sequence, Stage, TaskDefinition, TriggeredOn};

/// Histories in every test run; each is some dozens of decisions.
const HISTORIES_DEFAULT: u32 = 300;

fn result() -> impl Strategy<Value = TaskResult> {
    prop_oneof![Just(TaskResult::Pass), Just(TaskResult::Warning), Just(TaskResult::Fail)]
}

fn status() -> impl Strategy<Value = TaskStatus> {
    prop_oneof![4 => Just(TaskStatus::Succeeded), 1 => Just(TaskStatus::Errored), 1 => Just(TaskStatus::Unknown)]
}

fn task(name: &'static str) -> impl Strategy<Value = TaskDefinition> {
    (0_u64..3, 0_u32..3).prop_map(move |(delay, retries)| {
        let mut task = TaskDefinition::named(TaskName::new(name).unwrap());
        task.triggered_after = Duration::from_secs(delay.saturating_sub(1) * 60);
        task.retries = retries.saturating_sub(1);
        task.retry_after = Duration::from_secs(delay * 10);
        task
    })
}

fn steps() -> impl Strategy<Value = Vec<Vec<TaskDefinition>>> {
    let step = prop_oneof![
        3 => prop_oneof![task("t"), task("u"), task("approval")].prop_map(|task| vec![task]),
        1 => (task("t"), task("u")).prop_map(|(t, u)| vec![t, u]),
    ];
    prop::collection::vec(step, 1..4)
}

/// A trigger: the index of the sequence that it follows, and its selector.
type Trigger = (usize, Option<(bool, TaskResult)>);

fn sequence() -> impl Strategy<Value = (Vec<Vec<TaskDefinition>>, Concurrency, Option<Trigger>)> {
    let concurrency = prop_oneof![
        3 => Just(Concurrency::Queue),
        1 => Just(Concurrency::Replace),
        1 => Just(Concurrency::Parallel)
    ];
    let selector = prop::option::of((any::<bool>(), result()));
    (steps(), concurrency, prop::option::of((0_usize..6, selector)))
}

/// Two stages with three sequences each. A sequence follows an earlier one, or its own failure.
fn shipyard() -> impl Strategy<Value = Shipyard> {
    prop::collection::vec(sequence(), 6).prop_map(|drawn| {
        let place = |index: usize| (["dev", "prod"][index / 3].to_owned(), ["a", "b", "c"][index % 3].to_owned());
        let make = |(index, (steps, concurrency, trigger)): (usize, &(_, _, Option<Trigger>))| {
            let triggered_on = trigger.iter().filter_map(|(of, selector)| {
                let of = of % (index + 1);
                let selector = selector.map(|(task, result)| Condition {
                    task: task.then(|| "t".to_owned()),
                    result: if of == index { TaskResult::Fail } else { result },
                });
                // Without a selector it would follow its own success for ever.
                (of != index || selector.is_some()).then(|| {
                    let (stage, sequence) = place(of);
                    TriggeredOn { stage, sequence, selector: selector.into_iter().collect() }
                })
            });
            let (steps, concurrency): (&Vec<Vec<TaskDefinition>>, &Concurrency) = (steps, concurrency);
            let name = SequenceName::new(&place(index).1).unwrap();
            Sequence { name, triggered_on: triggered_on.collect(), concurrency: *concurrency, steps: steps.clone() }
        };
        let sequences: Vec<Sequence> = drawn.iter().enumerate().map(make).collect();
        let stage = |name: &str, of: &[Sequence]| Stage { name: StageName::new(name).unwrap(), sequences: of.to_vec() };
        Shipyard { name: "x".to_owned(), stages: vec![stage("dev", &sequences[..3]), stage("prod", &sequences[3..])] }
    })
}

/// Something that happens. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Happening {
    Trigger { sequence: usize, service: bool, run: u8 },
    TriggerAgain,
    End { task: usize, result: TaskResult, status: TaskStatus },
    EndAgain { task: usize },
    Wake,
    WakeEarly { execution: usize },
    Order { execution: usize, command: Command },
    ProjectDeleted,
    ClockBack,
}

fn happening() -> impl Strategy<Value = Happening> {
    let command = prop_oneof![
        3 => Just(Command::Pause),
        3 => Just(Command::Resume),
        1 => Just(Command::Abort),
        1 => Just(Command::Rerun),
        1 => Just(Command::RerunFromFailed)
    ];
    prop_oneof![
        6 => (0_usize..6, any::<bool>(), 0_u8..4)
            .prop_map(|(sequence, service, run)| Happening::Trigger { sequence, service, run }),
        1 => Just(Happening::TriggerAgain),
        12 => (any::<usize>(), result(), status())
            .prop_map(|(task, result, status)| Happening::End { task, result, status }),
        2 => any::<usize>().prop_map(|task| Happening::EndAgain { task }),
        3 => Just(Happening::Wake),
        1 => any::<usize>().prop_map(|execution| Happening::WakeEarly { execution }),
        3 => (any::<usize>(), command).prop_map(|(execution, command)| Happening::Order { execution, command }),
        1 => Just(Happening::ClockBack),
    ]
    .boxed()
    .prop_union(prop_oneof![40 => Just(Happening::Wake), 1 => Just(Happening::ProjectDeleted)].boxed())
}

impl World {
    fn happens(&mut self, happening: &Happening) {
        // In the order of their ids, which is the same in every run.
        let mut executions: Vec<Uuid> = self.rows.executions.values().flatten().map(|it| it.id).collect();
        executions.sort_unstable();
        let pick = |index: usize| executions.get(index % executions.len().max(1)).copied();
        match happening {
            Happening::Trigger { sequence, service, run } => {
                let name = ["dev.a", "dev.b", "dev.c", "prod.a", "prod.b", "prod.c"][*sequence];
                self.trigger(name, if *service { "s" } else { "other" }, &format!("r{run}"));
            }
            Happening::TriggerAgain => {
                if let Some(event) = self.last.clone() {
                    let before = self.rows.executions.clone();
                    self.step(&Input::Triggered(Box::new(event)));
                    assert_eq!(self.rows.executions, before, "an event triggers once");
                }
            }
            Happening::End { task, result, status } if !self.open.is_empty() => {
                let id = self.open.keys().nth(task % self.open.len()).unwrap().clone();
                self.end_as(&id, *result, *status, Some(json!({"n": task})));
            }
            Happening::EndAgain { task } => {
                let ended: Vec<(Uuid, String)> = self
                    .rows
                    .executions
                    .values()
                    .flatten()
                    .flat_map(|it| it.done.iter().map(|record| (it.id, record.task.clone())))
                    .collect();
                if let Some((execution, task)) = ended.get(task % ended.len().max(1)).cloned() {
                    let before = self.rows.executions.clone();
                    self.step(&Input::TaskEnded {
                        execution,
                        task,
                        outcome: TaskOutcome {
                            result: TaskResult::Pass,
                            status: TaskStatus::Succeeded,
                            message: "again".to_owned(),
                            timed_out: false,
                        },
                        answers: Vec::new(),
                    });
                    assert_eq!(self.rows.executions, before, "an end counts once");
                }
            }
            Happening::Wake => drop(self.wake_next()),
            Happening::WakeEarly { execution } => {
                if let Some(id) = pick(*execution) {
                    self.wakes.remove(&id);
                    self.step(&Input::Woken { execution: id });
                }
            }
            Happening::Order { execution, command } => {
                if let Some(id) = pick(*execution) {
                    self.order(id, *command);
                }
            }
            Happening::ProjectDeleted => {
                let mut keys: Vec<Key> = self.rows.queues.keys().cloned().collect();
                keys.sort();
                self.step(&Input::ProjectDeleted { keys, actor: Actor::host() });
                assert!(self.open.is_empty() && self.wakes.is_empty(), "nothing of a deleted project is left");
            }
            Happening::ClockBack => self.now = Timestamp::from_millis(self.now.as_millis() - 30_000),
            Happening::End { .. } => {}
        }
    }

    /// Lets everything come to its end: pauses end, tasks pass, times come.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut paused: Vec<Uuid> = self
                .rows
                .executions
                .values()
                .flatten()
                .filter(|it| it.paused.is_some() && it.end.is_none())
                .map(|it| it.id)
                .collect();
            paused.sort_unstable();
            if let Some(id) = paused.first() {
                self.order(*id, Command::Resume);
            } else if let Some(task) = self.open.keys().next().cloned() {
                self.end_as(&task, TaskResult::Pass, TaskStatus::Succeeded, None);
            } else if !self.wake_next() {
                return;
            }
        }
        panic!("it does not come to an end");
    }
}

#[test]
fn no_history_hangs_ends_twice_or_depends_on_a_restart() {
    let cases = std::env::var("PILOTHOUSE_HISTORIES").ok().and_then(|text| text.parse().ok());
    let config = Config { cases: cases.unwrap_or(HISTORIES_DEFAULT), failure_persistence: None, ..Config::default() };
    let history = (shipyard(), prop::collection::vec(happening(), 1..60));
    let run = TestRunner::new(config).run(&history, |(shipyard, happenings)| {
        let mut world = World::with(shipyard);
        for happening in &happenings {
            world.happens(happening);
        }
        world.settle();
        for execution in world.rows.executions.values().flatten() {
            prop_assert!(execution.end.is_some(), "{execution:?}");
        }
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}
