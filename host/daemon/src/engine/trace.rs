//! The story of one event, read from the log: what caused it, who got it, and what came of that.

use std::collections::HashSet;

use pilothouse_store::{DeliveryFilter, DeliveryRow, EventFilter, EventRow, Seq, StoreError};

use super::view::{Trace, TraceDelivery, TraceEvent};
use super::{Inner, TRACE_NODES_MAX};

/// Longest way from an event up to its first cause that is followed.
const CAUSES_MAX: usize = 256;
/// Most deliveries of one event that a trace shows.
const DELIVERIES_MAX: usize = 200;

impl Inner {
    /// See [`super::Engine::trace`].
    pub(super) async fn trace(&self, seq: Seq) -> Result<Option<Trace>, StoreError> {
        let Some(asked) = self.store.event(seq).await? else { return Ok(None) };
        let subscriptions = self.explain(&asked.event);
        let first = self.first_cause(asked).await?;
        let mut walk = Walk { seen: HashSet::new(), truncated: false };
        let root = self.trace_event(&mut walk, first).await?;
        Ok(Some(Trace { seq: seq.0, subscriptions, root, truncated: walk.truncated }))
    }

    /// Follows `caused_by` up to an event that no delivery made.
    async fn first_cause(&self, mut row: EventRow) -> Result<EventRow, StoreError> {
        for _ in 0..CAUSES_MAX {
            let Some(delivery) = row.caused_by else { break };
            let Some(delivery) = self.store.delivery(delivery).await? else { break };
            let Some(cause) = self.store.event(delivery.event).await? else { break };
            row = cause;
        }
        Ok(row)
    }

    async fn trace_event(&self, walk: &mut Walk, row: EventRow) -> Result<TraceEvent, StoreError> {
        walk.seen.insert(row.seq);
        let mut node = TraceEvent {
            seq: row.seq.0,
            id: row.event.id().to_owned(),
            ty: row.event.ty().to_owned(),
            source: row.event.source().to_owned(),
            accepted: row.accepted.to_string(),
            actor: row.actor.as_str().to_owned(),
            summary: summary(&row),
            deliveries: Vec::new(),
            followed_by: Vec::new(),
        };
        let filter = DeliveryFilter { event: Some(row.seq), ..DeliveryFilter::default() };
        let mut deliveries = self.store.deliveries(&filter, None, DELIVERIES_MAX).await?.items;
        deliveries.sort_by_key(|delivery| delivery.number);
        for delivery in deliveries {
            node.deliveries.push(Box::pin(self.trace_delivery(walk, delivery)).await?);
        }
        for follower in self.followers(&row).await? {
            if walk.enter(follower.seq) {
                node.followed_by.push(Box::pin(self.trace_event(walk, follower)).await?);
            }
        }
        Ok(node)
    }

    async fn trace_delivery(&self, walk: &mut Walk, row: DeliveryRow) -> Result<TraceDelivery, StoreError> {
        let filter = EventFilter { caused_by: Some(row.id), ..EventFilter::default() };
        let mut made = self.store.events(&filter, None, TRACE_NODES_MAX).await?.items;
        made.sort_by_key(|event| event.seq);
        let mut events = Vec::new();
        for event in made {
            if walk.enter(event.seq) {
                events.push(Box::pin(self.trace_event(walk, event)).await?);
            }
        }
        Ok(TraceDelivery {
            id: row.id.to_string(),
            installation: row.consumer.to_string(),
            cause: row.cause.as_str().to_owned(),
            state: row.state.as_str().to_owned(),
            attempts: row.attempts,
            reason: self.why(&row),
            events,
        })
    }

    /// Says why a delivery stands where it stands (invariant 7).
    fn why(&self, row: &DeliveryRow) -> Option<String> {
        use pilothouse_core::delivery::DeliveryState;
        if row.state != DeliveryState::Ready {
            return row.reason.clone();
        }
        if row.consumer.is_built_in() {
            return Some("is decided about next".to_owned());
        }
        if self.snapshot.load().executors.contains_key(&row.consumer) {
            let seen = self.seen.get(&row.consumer).at;
            let seen =
                seen.map_or("not heard of since the host started".to_owned(), |at| format!("last heard of at {at}"));
            return Some(format!("waits to be fetched by the outside executor `{}`, {seen}", row.consumer));
        }
        let Some(installation) = self.installation(&row.consumer) else {
            return Some(format!("`{}` is not installed any more", row.consumer));
        };
        if let Some(failure) = installation.failure.load_full() {
            return Some(format!("`{}` could not be loaded: {failure}", row.consumer));
        }
        match &row.reason {
            Some(reason) => {
                let (next, max) = (row.attempts + 1, installation.retry_policy().attempts_max);
                Some(format!("attempt {next} of {max} at {}: {reason}", row.due))
            }
            None => Some("waits for its first attempt".to_owned()),
        }
    }

    /// Events that the host made because of this one without a delivery in between: they share its run and come from the
    /// same actor's commit, such as the task that `monitoring.configure` triggers, or those of a sequence.
    async fn followers(&self, row: &EventRow) -> Result<Vec<EventRow>, StoreError> {
        if row.caused_by.is_some() {
            return Ok(Vec::new());
        }
        let own = EventFilter { triggered_id: Some(row.event.id().to_owned()), ..EventFilter::default() };
        let mut found = self.store.events(&own, None, TRACE_NODES_MAX).await?.items;
        if row.event.ty() == pilothouse_core::keptn::CONFIGURE_MONITORING_TYPE
            && let Some(run) = &row.run
        {
            let ty = Some(format!("sh.keptn.event.{}.triggered", pilothouse_core::keptn::CONFIGURE_MONITORING_TASK));
            let filter = EventFilter { ty, run: Some(run.clone()), ..EventFilter::default() };
            found.extend(self.store.events(&filter, None, TRACE_NODES_MAX).await?.items);
        }
        found.extend(self.sequence_followers(row).await?);
        found.retain(|follower| follower.caused_by.is_none() && follower.seq > row.seq);
        found.sort_by_key(|follower| follower.seq);
        Ok(found)
    }
}

/// What a walk through the tree has seen.
struct Walk {
    seen: HashSet<Seq>,
    truncated: bool,
}

impl Walk {
    /// Notes one more node; false when it was seen, or there are too many.
    fn enter(&mut self, seq: Seq) -> bool {
        if self.seen.len() >= TRACE_NODES_MAX {
            self.truncated = true;
            return false;
        }
        self.seen.insert(seq)
    }
}

fn summary(row: &EventRow) -> Option<String> {
    let data = row.event.data_json()?;
    let text = |name: &str| data.get(name).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
    match (text("result"), text("message")) {
        (Some(result), Some(message)) => Some(format!("{result}: {message}")),
        (Some(text), None) | (None, Some(text)) => Some(text.to_owned()),
        (None, None) => None,
    }
}
