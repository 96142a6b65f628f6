//! Tells whether a row matches a filter; the same for both engines.

use pilothouse_core::delivery::DeliveryId;
use pilothouse_core::time::Timestamp;

use crate::{DeliveryFilter, DeliveryRow, EventFilter, EventRow};

/// The columns of an event that filters look at, borrowed, so that a row that does not match is never decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) ty: &'a str,
    pub(crate) source: &'a str,
    pub(crate) id: &'a str,
    pub(crate) subject: Option<&'a str>,
    pub(crate) run: Option<&'a str>,
    pub(crate) triggered_id: Option<&'a str>,
    pub(crate) project: Option<&'a str>,
    pub(crate) stage: Option<&'a str>,
    pub(crate) service: Option<&'a str>,
    pub(crate) caused_by: Option<DeliveryId>,
    pub(crate) accepted: Timestamp,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(row: &'a EventRow) -> Self {
        Self {
            ty: row.event.ty(),
            source: row.event.source(),
            id: row.event.id(),
            subject: row.event.subject(),
            run: row.run.as_deref(),
            triggered_id: row.triggered_id.as_deref(),
            project: row.place.project.as_deref(),
            stage: row.place.stage.as_deref(),
            service: row.place.service.as_deref(),
            caused_by: row.caused_by,
            accepted: row.accepted,
        }
    }

    /// Tells whether the event matches every field of the filter.
    pub(crate) fn match_filter(&self, filter: &EventFilter) -> bool {
        let ty = |wanted: &String| match wanted.strip_suffix('*') {
            Some(prefix) => self.ty.starts_with(prefix),
            None => self.ty == wanted,
        };
        filter.ty.as_ref().is_none_or(ty)
            && filter.source.as_deref().is_none_or(|it| it == self.source)
            && filter.id.as_deref().is_none_or(|it| it == self.id)
            && within(&filter.subject, self.subject)
            && within(&filter.run, self.run)
            && within(&filter.triggered_id, self.triggered_id)
            && within(&filter.project, self.project)
            && within(&filter.stage, self.stage)
            && within(&filter.service, self.service)
            && (filter.caused_by.is_none() || filter.caused_by == self.caused_by)
            && filter.since.is_none_or(|since| self.accepted >= since)
            && filter.until.is_none_or(|until| self.accepted < until)
    }
}

/// Tells whether the delivery matches every field of the filter.
pub(crate) fn delivery_matches(filter: &DeliveryFilter, row: &DeliveryRow) -> bool {
    filter.event.is_none_or(|it| it == row.event)
        && filter.consumer.as_ref().is_none_or(|it| *it == row.consumer)
        && filter.state.is_none_or(|it| it == row.state)
        && within(&filter.task, row.task.as_deref())
}

fn within(wanted: &Option<String>, found: Option<&str>) -> bool {
    wanted.is_none() || wanted.as_deref() == found
}
