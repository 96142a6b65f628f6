//! `pilothouse:plugin/event-log`: earlier events of the project in hand.

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::pilothouse::plugin::event_log::{self, Entry, Error, Page, Query};
use crate::event::to_guest;
use crate::services::{LOG_EVENTS_MAX, LogError, LogQuery};
use crate::state::State;

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Denied(text) => Self::Denied(text),
            LogError::Invalid(text) => Self::Invalid(text),
            LogError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

impl State {
    async fn earlier_events(&mut self, query: Query) -> Result<Page, Error> {
        if !self.grants.event_log {
            let text = format!("denied: event-log: add event-log = true to the grants of `{}`", self.installation);
            self.log.remark(&text);
            return Err(Error::Denied(text));
        }
        // A `*` at the end would be a prefix for the store.
        if query.type_.is_empty() || query.type_.ends_with('*') {
            return Err(Error::Invalid("the query needs one exact type".to_owned()));
        }
        let limit = usize::try_from(query.limit).unwrap_or(LOG_EVENTS_MAX).clamp(1, LOG_EVENTS_MAX);
        let query = LogQuery {
            ty: query.type_,
            stage: query.stage,
            service: query.service,
            run: query.run,
            before: query.before,
            limit,
        };
        let page = self.services.earlier_events(query).await?;
        let entry = |(position, event): &(u64, _)| Entry { position: *position, event: to_guest(event) };
        Ok(Page { entries: page.events.iter().map(entry).collect(), next: page.next })
    }
}

impl event_log::Host for State {
    async fn events(&mut self, query: Query) -> wasmtime::Result<Result<Page, Error>> {
        Ok(self.earlier_events(query).await)
    }
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    event_log::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}
