//! A world without disk, clock or plugins: [`World`] does what the engine does with a decision, and checks after each
//! one what must always hold.

mod corner_cases;
mod histories;
mod orders;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::right::Actor;
use crate::shipyard::{self, Shipyard};
use crate::task::{TaskResult, TaskStatus};

/// Where the sequencer works in a test.
struct World {
    rows: Rows,
    shipyard: Arc<Shipyard>,
    now: Timestamp,
    /// Tasks that were triggered and have not ended: the id, with the execution and the task's name.
    open: BTreeMap<String, (Uuid, String)>,
    /// Tasks that were cancelled, by their ids.
    cancelled: Vec<String>,
    wakes: BTreeMap<Uuid, Timestamp>,
    /// Every event sent, oldest first.
    sent: Vec<Event>,
    depths: Vec<u32>,
    triggers: u32,
    last: Option<TriggerEvent>,
    /// Whether the project is there.
    exists: bool,
}

impl World {
    /// Makes a world whose project has this shipyard; `stages` is the YAML below `spec.stages`.
    fn new(stages: &str) -> Self {
        let text = format!(
            "apiVersion: spec.keptn.sh/0.2.3\nkind: Shipyard\nmetadata: {{name: x}}\nspec:\n  stages:\n{stages}"
        );
        let (shipyard, problems) = shipyard::read(text.as_bytes());
        Self::with(shipyard.unwrap_or_else(|| panic!("{problems:?}")))
    }

    fn with(shipyard: Shipyard) -> Self {
        Self {
            rows: Rows::default(),
            shipyard: Arc::new(shipyard),
            now: Timestamp::from_millis(1_000_000),
            open: BTreeMap::new(),
            cancelled: Vec::new(),
            wakes: BTreeMap::new(),
            sent: Vec::new(),
            depths: Vec::new(),
            triggers: 0,
            last: None,
            exists: true,
        }
    }

    /// Decides about an input, twice: the second time as after a crash before the commit. Then does what was decided.
    fn step(&mut self, input: &Input) {
        let decision = loop {
            match decide(&self.rows, input, self.now) {
                Ok(decision) => break decision,
                Err(Need::Execution(id)) => drop(self.rows.executions.insert(id, None)),
                Err(Need::Queue(key)) => drop(self.rows.queues.insert(key, Queue::default())),
                Err(Need::Shipyard { project, commit }) => {
                    let resolved = if self.exists && project == "p" {
                        Ok((commit.clone().unwrap_or_else(|| "c1".to_owned()), Arc::clone(&self.shipyard)))
                    } else {
                        Err(format!("there is no project `{project}`"))
                    };
                    self.rows.shipyards.insert((project, commit), resolved);
                }
            }
        };
        assert_eq!(decide(&self.rows, input, self.now).unwrap(), decision, "the same input gives the same decision");
        self.rows.apply(&decision);
        self.restart();
        for action in decision.actions {
            self.act(action);
        }
        self.check();
    }

    /// Keeps what is stored and nothing else.
    fn restart(&mut self) {
        for execution in self.rows.executions.values_mut().flatten() {
            *execution = Execution::from_json(&execution.to_json()).unwrap();
        }
        for queue in self.rows.queues.values_mut() {
            *queue = Queue::from_json(&queue.to_json()).unwrap();
        }
        self.rows.shipyards.clear();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(sending) => {
                self.depths.push(sending.depth);
                self.sent.push(sending.event);
            }
            Action::TriggerTask(trigger) => {
                let name = trigger.event.ty().split('.').nth(3).unwrap().to_owned();
                let id = trigger.event.id().to_owned();
                assert!(!self.sent.iter().any(|event| event.id() == id), "{name} is triggered twice");
                self.open.insert(id, (trigger.execution, name));
                self.sent.push(trigger.event);
            }
            Action::CancelTask { task, .. } => {
                assert!(self.open.remove(&task).is_some(), "only an open task is cancelled");
                self.cancelled.push(task);
            }
            Action::WakeAt(id, at) => drop(self.wakes.insert(id, at)),
            Action::ClearWake(id) => drop(self.wakes.remove(&id)),
        }
    }

    /// What holds after every decision.
    fn check(&self) {
        for (key, queue) in &self.rows.queues {
            let of_state = |state| queue.entries.iter().filter(move |entry| entry.state == state);
            let mut runs: Vec<&str> = of_state(EntryState::Holding).map(|entry| entry.run.as_str()).collect();
            runs.dedup();
            assert!(runs.len() <= 1, "{key}: several runs have the place: {runs:?}");
            if runs.is_empty() {
                assert_eq!(of_state(EntryState::Waiting).count(), 0, "{key}: somebody waits for nobody");
            }
            for entry in &queue.entries {
                let execution = self.rows.executions[&entry.execution].as_ref().unwrap();
                assert!(execution.end.is_none() && execution.key == *key, "{key}: an ended one is in the queue");
            }
        }
        let mut open: Vec<&str> = Vec::new();
        for execution in self.rows.executions.values().flatten() {
            open.extend(execution.open_tasks());
            assert_eq!(self.wakes.get(&execution.id).copied(), execution.wake_at);
            let ends = self.ends(execution).len();
            assert_eq!(ends, usize::from(execution.end.is_some()), "an end is told of once: {execution:?}");
            if execution.end.is_none() {
                let entries = &self.rows.queues[&execution.key].entries;
                let own: Vec<_> = entries.iter().filter(|entry| entry.execution == execution.id).collect();
                assert_eq!(own.len(), 1, "each has one entry in its queue");
                let waits = own[0].state == EntryState::Waiting
                    || execution.open_tasks().next().is_some()
                    || execution.wake_at.is_some();
                assert!(waits, "it waits for nothing: {execution:?}");
                assert!(!describe(execution, &self.rows.queues[&execution.key]).is_empty());
            }
        }
        open.sort_unstable();
        assert_eq!(open, self.open.keys().map(String::as_str).collect::<Vec<_>>());
    }

    fn ends(&self, execution: &Execution) -> Vec<&Event> {
        let id = Uuid::new_v5(&execution.id, b"finished").to_string();
        self.sent.iter().filter(|event| event.id() == id).collect()
    }

    /// Triggers a sequence with more data; returns its execution.
    fn trigger_with(&mut self, stage_and_sequence: &str, service: &str, run: &str, more: Value) -> Uuid {
        self.triggers += 1;
        let stage = stage_and_sequence.split('.').next().unwrap();
        let mut data = json!({"project": "p", "stage": stage, "service": service});
        payload::merge(&mut data, more);
        let event = TriggerEvent {
            source: "/test".to_owned(),
            id: format!("t{}", self.triggers),
            ty: format!("sh.keptn.event.{stage_and_sequence}.triggered"),
            data: Some(data),
            run: run.to_owned(),
            commit: None,
            depth: 0,
            actor: Actor::token("ci"),
        };
        let id = execution_id(&event.source, &event.id);
        self.now = self.now.after(Duration::from_millis(1));
        self.last = Some(event.clone());
        self.step(&Input::Triggered(Box::new(event)));
        id
    }

    fn trigger(&mut self, stage_and_sequence: &str, service: &str, run: &str) -> Uuid {
        self.trigger_with(stage_and_sequence, service, run, json!({}))
    }

    /// The id of the one open task of this name of an execution.
    fn task(&self, execution: Uuid, name: &str) -> String {
        let found = self.open.iter().find(|(_, open)| **open == (execution, name.to_owned()));
        let open = format!("{:?}", self.open);
        found.unwrap_or_else(|| panic!("no open `{name}` of {execution}; open: {open}")).0.clone()
    }

    fn is_open(&self, execution: Uuid, name: &str) -> bool {
        self.open.values().any(|open| *open == (execution, name.to_owned()))
    }

    fn end_as(&mut self, task: &str, result: TaskResult, status: TaskStatus, output: Option<Value>) {
        let execution = self.open.remove(task).map_or_else(Uuid::nil, |(execution, _)| execution);
        let message = format!("{} {}", result.as_str(), status.as_str());
        let outcome = TaskOutcome { result, status, message, timed_out: false };
        let answers = vec![Answered { labels: payload::Data::new(), output, action: None }];
        self.step(&Input::TaskEnded { execution, task: task.to_owned(), outcome, answers });
    }

    /// Ends the open task of this name of an execution.
    fn end(&mut self, execution: Uuid, name: &str, result: TaskResult) {
        self.end_as(&self.task(execution, name), result, TaskStatus::Succeeded, None);
    }

    fn order(&mut self, execution: Uuid, command: Command) {
        self.triggers += 1;
        let event = format!("o{}", self.triggers);
        let actor = Actor::token("ops");
        self.step(&Input::Ordered { execution, command, actor, reason: "because".to_owned(), event });
    }

    /// Lets the time come to the next wake, at most until `then`.
    fn wake_next(&mut self) -> bool {
        let Some((id, at)) = self.wakes.iter().map(|(id, at)| (*id, *at)).min_by_key(|(_, at)| *at) else {
            return false;
        };
        self.now = self.now.max(at);
        self.wakes.remove(&id);
        self.step(&Input::Woken { execution: id });
        true
    }

    fn get(&self, execution: Uuid) -> &Execution {
        self.rows.executions[&execution].as_ref().unwrap()
    }

    fn state(&self, execution: Uuid) -> State {
        State::of(self.get(execution))
    }

    fn outcome(&self, execution: Uuid) -> (TaskResult, TaskStatus) {
        let end = self.get(execution).end.as_ref().unwrap_or_else(|| panic!("{:?}", self.get(execution)));
        (end.result, end.status)
    }

    fn why(&self, execution: Uuid) -> String {
        let execution = self.get(execution);
        describe(execution, &self.rows.queues[&execution.key]).join("\n")
    }

    /// The executions that the end of another one fired.
    fn fired_by(&self, execution: Uuid) -> Vec<&Execution> {
        self.rows.executions.values().flatten().filter(|it| it.fired_by == Some(execution)).collect()
    }

    /// The data of the newest event of a type.
    fn data(&self, ty: &str) -> Value {
        let found = self.sent.iter().rev().find(|event| event.ty() == format!("sh.keptn.event.{ty}"));
        found.unwrap_or_else(|| panic!("no {ty}")).data_json().unwrap()
    }
}
