//! The working copy of a decision: rows that were changed so far, and what follows from them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::decide::{Decision, Need, Rows};
use super::execution::{End, Execution, Key, StepEnd, TaskRunState};
use super::queue::{Entry, EntryState, Queue};
use super::{Action, Sending, TaskTrigger, event};
use crate::event::EventError;
use crate::host_event::DEPTH_MAX;
use crate::right::Actor;
use crate::shipyard::{Condition, Sequence, Shipyard, Stage};
use crate::task::{START_TIMEOUT_DEFAULT, TaskResult, TaskStatus};
use crate::time::Timestamp;

/// The working copy of a decision.
pub(super) struct Work<'a> {
    rows: &'a Rows,
    pub(super) now: Timestamp,
    executions: BTreeMap<Uuid, Execution>,
    queues: BTreeMap<Key, Queue>,
    pub(super) actions: Vec<Action>,
    /// Executions to look at, in this order.
    todo: VecDeque<Uuid>,
}

impl<'a> Work<'a> {
    pub(super) fn new(rows: &'a Rows, now: Timestamp) -> Self {
        Self {
            rows,
            now,
            executions: BTreeMap::new(),
            queues: BTreeMap::new(),
            actions: Vec::new(),
            todo: VecDeque::new(),
        }
    }

    /// Goes on with everything that was touched, until nothing more follows.
    pub(super) fn decided(mut self) -> Result<Decision, Need> {
        while let Some(id) = self.todo.pop_front() {
            self.advance(id)?;
        }
        let rows = self.rows;
        let executions = self.executions.into_values();
        let executions = executions.filter(|it| rows.executions.get(&it.id).and_then(Option::as_ref) != Some(it));
        let queues = self.queues.into_iter().filter(|(key, queue)| rows.queues.get(key) != Some(queue));
        Ok(Decision { executions: executions.collect(), queues: queues.collect(), actions: self.actions })
    }

    /// Returns an execution as it is now; `None` if there is no such one.
    pub(super) fn execution(&self, id: Uuid) -> Result<Option<Execution>, Need> {
        match self.executions.get(&id) {
            Some(execution) => Ok(Some(execution.clone())),
            None => self.rows.executions.get(&id).cloned().ok_or(Need::Execution(id)),
        }
    }

    pub(super) fn keep(&mut self, execution: Execution) {
        self.executions.insert(execution.id, execution);
    }

    /// Looks at an execution again before the decision is over.
    pub(super) fn touch(&mut self, id: Uuid) {
        if !self.todo.contains(&id) {
            self.todo.push_back(id);
        }
    }

    pub(super) fn queue(&mut self, key: &Key) -> Result<&mut Queue, Need> {
        if !self.queues.contains_key(key) {
            let queue = self.rows.queues.get(key).cloned().ok_or_else(|| Need::Queue(key.clone()))?;
            self.queues.insert(key.clone(), queue);
        }
        Ok(self.queues.entry(key.clone()).or_default())
    }

    pub(super) fn shipyard(&self, project: &str, commit: Option<&str>) -> Result<&'a super::Resolved, Need> {
        let key = (project.to_owned(), commit.map(str::to_owned));
        self.rows.shipyards.get(&key).ok_or(Need::Shipyard { project: key.0, commit: key.1 })
    }

    /// Lets an execution begin: it takes its place in the queue, and goes on from its step.
    pub(super) fn begin(&mut self, mut execution: Execution) -> Result<(), Need> {
        let state = if execution.is_beside() { EntryState::Beside } else { EntryState::Away };
        let entry = Entry {
            execution: execution.id,
            run: execution.run.clone(),
            sequence: execution.definition.name.clone(),
            since: execution.run_began,
            state,
        };
        self.queue(&execution.key)?.add(entry);
        let step = execution.step;
        execution.enter_step(step, self.now);
        let id = execution.id;
        self.keep(execution);
        self.touch(id);
        Ok(())
    }

    /// Goes on with one execution as far as it gets.
    fn advance(&mut self, id: Uuid) -> Result<(), Need> {
        let Some(mut execution) = self.execution(id)? else { return Ok(()) };
        if execution.end.is_some() {
            return Ok(());
        }
        if execution.paused.is_none() {
            while let Some(end) = execution.step_end() {
                match end {
                    StepEnd::Next => {
                        execution.data = execution.data_after_step();
                        let next = execution.step + 1;
                        execution.enter_step(next, self.now);
                    }
                    StepEnd::Finish(result, status, message) => {
                        return self.finish(execution, result, status, message, None);
                    }
                }
            }
            execution.make_due(self.now);
            if execution.has_ready()
                && self.queue(&execution.key)?.acquire(id)
                && let Err(error) = self.trigger_ready(&mut execution)
            {
                let message = format!("the next task's event cannot be made: {error}");
                return self.finish(execution, TaskResult::Fail, TaskStatus::Errored, message, None);
            }
        }
        if execution.paused.is_some() || !(execution.has_ready() || execution.needs_place()) {
            self.release(&execution.key, id)?;
        }
        self.set_wake(&mut execution);
        self.keep(execution);
        Ok(())
    }

    fn trigger_ready(&mut self, execution: &mut Execution) -> Result<(), EventError> {
        execution.began.get_or_insert(self.now);
        for index in 0..execution.tasks.len() {
            let Some(run) = execution.tasks.get(index).filter(|run| run.state == TaskRunState::Ready) else { continue };
            let event = event::task_triggered(execution, run, self.now)?;
            let task = event.id().to_owned();
            self.actions.push(Action::TriggerTask(Box::new(TaskTrigger {
                event,
                depth: execution.depth,
                execution: execution.id,
                start_timeout: run.definition.start_timeout.unwrap_or(START_TIMEOUT_DEFAULT),
                finish_timeout: run.definition.finish_timeout,
            })));
            if let Some(run) = execution.tasks.get_mut(index) {
                run.state = TaskRunState::Open { task, since: self.now };
            }
        }
        Ok(())
    }

    /// Gives up the place of an execution, or its wait for it; whose turn it is then is looked at next.
    fn release(&mut self, key: &Key, id: Uuid) -> Result<(), Need> {
        let queue = self.queue(key)?;
        queue.release(id);
        for next in queue.next_up() {
            self.touch(next);
        }
        Ok(())
    }

    fn set_wake(&mut self, execution: &mut Execution) {
        let wake = execution.next_wake();
        if wake == execution.wake_at {
            return;
        }
        execution.wake_at = wake;
        self.actions.push(match wake {
            Some(at) => Action::WakeAt(execution.id, at),
            None => Action::ClearWake(execution.id),
        });
    }

    /// Ends an execution: says so, cancels what is open, fires what follows, and lets the next one begin.
    pub(super) fn finish(
        &mut self,
        mut execution: Execution,
        result: TaskResult,
        status: TaskStatus,
        message: String,
        actor: Option<Actor>,
    ) -> Result<(), Need> {
        let mut of_last_step = execution.done.iter().filter(|record| record.step == execution.step);
        let timed_out =
            status == TaskStatus::Errored && of_last_step.next_back().is_some_and(|record| record.timed_out);
        let mut end = End { result, status, message, at: self.now, timed_out, actor };
        let followers = self.followers(&execution, &mut end)?;
        for task in execution.open_tasks() {
            let reason = format!("its sequence ended: {}", end.message);
            self.actions.push(Action::CancelTask { task: task.to_owned(), reason });
        }
        execution.end = Some(end.clone());
        self.set_wake(&mut execution);
        // The base of an event always fits; labels alone can be too large, and then they are left out.
        let told = event::finished(&execution, &end, self.now).or_else(|_| {
            let mut bare = execution.clone();
            bare.data.clear();
            event::finished(&bare, &end, self.now)
        });
        if let Ok(event) = told {
            self.actions.push(Action::Send(Box::new(Sending { event, depth: execution.depth })));
        }
        for (key, sequence) in followers {
            self.fire(&execution, &end, key, sequence)?;
        }
        let queue = self.queue(&execution.key)?;
        queue.remove(execution.id);
        for next in queue.next_up() {
            self.touch(next);
        }
        execution.tasks.clear();
        self.keep(execution);
        Ok(())
    }

    /// Returns what the end of an execution fires.
    fn followers(&self, execution: &Execution, end: &mut End) -> Result<Vec<(Key, Sequence)>, Need> {
        // Who aborts wants an end, and a sequence that never had a place in a shipyard has no followers.
        if end.status == TaskStatus::Aborted || execution.definition.steps.is_empty() {
            return Ok(Vec::new());
        }
        let shipyard = match self.shipyard(&execution.key.project, execution.commit.as_deref())? {
            Ok((_, shipyard)) => Arc::clone(shipyard),
            Err(reason) => {
                end.message = format!("{} (what follows is not known: {reason})", end.message);
                return Ok(Vec::new());
            }
        };
        let fired = shipyard
            .followers(&execution.key.stage, execution.definition.name.as_str())
            .filter(|(_, _, on)| selected(&on.selector, execution, end.result))
            .map(|(stage, sequence, _)| (follow_up_key(&execution.key, stage), sequence.clone()));
        Ok(fired.collect())
    }

    fn fire(&mut self, parent: &Execution, end: &End, key: Key, sequence: Sequence) -> Result<(), Need> {
        let id = Uuid::new_v5(&parent.id, format!("{}\u{0}{}", key.stage, sequence.name).as_bytes());
        let mut execution = Execution::new(id, key, sequence, parent.actor.clone(), self.now);
        execution.run.clone_from(&parent.run);
        execution.run_began = parent.run_began;
        execution.commit.clone_from(&parent.commit);
        execution.trigger = Uuid::new_v5(&id, b"triggered").to_string();
        execution.fired_by = Some(parent.id);
        execution.depth = parent.depth + 1;
        execution.data = event::follow_up_data(parent, end, &execution.key);
        execution.input.clone_from(&execution.data);
        self.start(execution)
    }

    /// Sends the event that triggers an execution of the host's own, and lets it begin.
    pub(super) fn start(&mut self, execution: Execution) -> Result<(), Need> {
        let event = match event::triggered(&execution, self.now) {
            Ok(event) => event,
            Err(error) => return self.refuse(execution, format!("its event cannot be made: {error}")),
        };
        self.actions.push(Action::Send(Box::new(Sending { event, depth: execution.depth })));
        if execution.depth > DEPTH_MAX {
            let message =
                format!("{DEPTH_MAX} sequences have fired each other to get here: they seem to run in a circle");
            return self.refuse(execution, message);
        }
        self.begin(execution)
    }

    /// Ends an execution that cannot begin. Nothing follows from it.
    pub(super) fn refuse(&mut self, mut execution: Execution, message: String) -> Result<(), Need> {
        execution.definition.steps.clear();
        self.finish(execution, TaskResult::Fail, TaskStatus::Errored, message, None)
    }
}

/// Tells whether the end of an execution is one that a selector asks for.
fn selected(selector: &[Condition], execution: &Execution, result: TaskResult) -> bool {
    if selector.is_empty() {
        return result != TaskResult::Fail;
    }
    selector.iter().all(|condition| match &condition.task {
        None => condition.result == result,
        Some(task) => execution.result_of(task) == Some(condition.result),
    })
}

fn follow_up_key(key: &Key, stage: &Stage) -> Key {
    Key { stage: stage.name.to_string(), ..key.clone() }
}

/// Returns the sequence that is asked for.
///
/// # Errors
/// There is none of this name, or it has no tasks; what was meant is named.
pub fn find_sequence(shipyard: &Shipyard, stage: &str, sequence: &str) -> Result<Sequence, String> {
    use crate::suggest::nearest;
    let meant = |near: Option<&str>| near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let Some(found) = shipyard.stage(stage) else {
        let near = nearest(stage, shipyard.stages.iter().map(|it| it.name.as_str()));
        return Err(format!("the shipyard has no stage `{stage}`{}", meant(near)));
    };
    let Some(found_sequence) = found.sequence(sequence) else {
        let near = nearest(sequence, found.sequences.iter().map(|it| it.name.as_str()));
        return Err(format!("stage `{stage}` has no sequence `{sequence}`{}", meant(near)));
    };
    if found_sequence.steps.iter().all(Vec::is_empty) {
        return Err(format!("sequence `{sequence}` of stage `{stage}` has no tasks"));
    }
    Ok(found_sequence)
}
