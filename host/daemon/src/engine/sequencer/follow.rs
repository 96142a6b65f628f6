//! What followed from the event that triggered a sequence: its tasks, and the sequences that its end fired.

use pilothouse_core::host_event::HOST_SOURCE;
use pilothouse_core::sequence::event::parse_triggered;
use pilothouse_core::sequence::{Execution, TaskRunState};
use pilothouse_store::{EventFilter, EventRow, StoreError};

use super::super::{Inner, TRACE_NODES_MAX};
use super::SequenceFilter;

impl Inner {
    /// Returns the events that the sequencer made because of this one; none if it triggers no sequence.
    pub(in super::super) async fn sequence_followers(&self, row: &EventRow) -> Result<Vec<EventRow>, StoreError> {
        let (Some(run), Some(_)) = (&row.run, parse_triggered(row.event.ty())) else { return Ok(Vec::new()) };
        let filter = SequenceFilter { run: Some(run.clone()), ..SequenceFilter::default() };
        let (listed, _) = self.index_listing(&filter, None, TRACE_NODES_MAX).await?;
        let mut of_run = Vec::new();
        for index in listed {
            of_run.extend(self.read_execution(index.id).await?);
        }
        let own: Vec<&Execution> = of_run.iter().filter(|it| it.trigger == row.event.id()).collect();
        let mut ids: Vec<&str> = Vec::new();
        for execution in own {
            ids.extend(execution.done.iter().map(|record| record.task.as_str()));
            ids.extend(execution.tasks.iter().filter_map(|task| match &task.state {
                TaskRunState::Open { task, .. } => Some(task.as_str()),
                _ => None,
            }));
            let fired = of_run.iter().filter(|it| it.fired_by == Some(execution.id));
            ids.extend(fired.map(|child| child.trigger.as_str()));
        }
        let mut found = Vec::new();
        for id in ids {
            let filter = EventFilter {
                id: Some(id.to_owned()),
                source: Some(HOST_SOURCE.to_owned()),
                run: Some(run.clone()),
                ..EventFilter::default()
            };
            found.extend(self.store.events(&filter, None, 1).await?.items);
        }
        Ok(found)
    }
}
