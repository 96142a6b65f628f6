//! Who gets an event: an immutable snapshot of all subscribers, and the one function that routes.
//!
//! Routing looks at the event, its data and its place, and at nothing else, so the same snapshot gives the same answer
//! for ever. Whatever routes keeps the snapshot's [`Subscriptions::generation`] with the result.
//!
//! Never here: who is installed (the daemon builds the snapshot), or what becomes of a delivery ([`crate::delivery`]).

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::Value;

use crate::event::Event;
use crate::filter::{DataMatch, Filter};
use crate::grant::Grants;
use crate::host_event::{is_host_type, plugin_source};
use crate::keptn::{TaskEventKind, parse_task_event, task_event_type};
use crate::manifest::{Manifest, Order};
use crate::name::{InstallationName, TaskName};
use crate::quantity::Span;
use crate::scope::{Place, Scope};
use crate::suggest::nearest;

/// One reason for which an installation gets events. An installation may have several.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscriber {
    /// The installation.
    pub installation: InstallationName,
    /// Which events, and as what.
    pub kind: SubscriberKind,
    /// The places it serves.
    pub scope: Scope,
    /// The order of its deliveries.
    pub order: Order,
}

/// As what an installation gets events.
#[derive(Clone, Debug, PartialEq)]
pub enum SubscriberKind {
    /// It watches; nobody waits for it.
    Observer {
        /// Which attributes.
        filter: Filter,
        /// Which data.
        data_match: DataMatch,
        /// Whether it also gets what it sent itself.
        own_events: bool,
    },
    /// It answers a task's `.triggered`.
    Executor {
        /// The task.
        task: TaskName,
        /// Which data of the trigger.
        data_match: DataMatch,
        /// Longest time from the trigger to the answer.
        finish_timeout: Duration,
    },
}

impl Subscriber {
    /// Returns every reason for which `installation` of a plugin gets events: its tasks, then its subscriptions.
    pub fn of_plugin(
        manifest: &Manifest,
        grants: &Grants,
        installation: &InstallationName,
        scope: &Scope,
    ) -> Vec<Self> {
        let timeout = |span: Option<Span>| span.map_or(crate::task::FINISH_TIMEOUT_DEFAULT, |span| span.0);
        // A task that the manifest names is executed as it says there.
        let own = |name: &TaskName| manifest.tasks.iter().any(|task| task.name == *name);
        let named = grants.tasks.iter().filter(|(name, _)| manifest.any_task.is_some() && !own(name));
        let named = named.map(|(name, task)| SubscriberKind::Executor {
            task: name.clone(),
            data_match: task.data_match.clone(),
            finish_timeout: timeout(task.finish_timeout),
        });
        let executors = manifest.tasks.iter().map(|task| SubscriberKind::Executor {
            task: task.name.clone(),
            data_match: task.data_match.clone(),
            finish_timeout: timeout(task.finish_timeout),
        });
        let observers = manifest.subscriptions.iter().map(|subscription| SubscriberKind::Observer {
            filter: subscription.filter.clone(),
            data_match: subscription.data_match.clone(),
            own_events: subscription.own_events,
        });
        let of_kind =
            |kind| Self { installation: installation.clone(), kind, scope: scope.clone(), order: manifest.order };
        executors.chain(named).chain(observers).map(of_kind).collect()
    }

    /// Returns the event types that can reach this subscriber; `None` if its filter leaves them open.
    fn types(&self) -> Option<BTreeSet<String>> {
        match &self.kind {
            SubscriberKind::Executor { task, .. } => {
                Some(BTreeSet::from([task_event_type(task, TaskEventKind::Triggered)]))
            }
            SubscriberKind::Observer { filter, .. } => {
                Some(filter.exact_types()?.into_iter().map(str::to_owned).collect())
            }
        }
    }

    /// Says in words why the event does not reach this subscriber; `None` if it does.
    fn mismatch(&self, event: &Event, data: Option<&Value>, place: &Place) -> Option<String> {
        let data_match = match &self.kind {
            SubscriberKind::Executor { task, data_match, .. } => match parse_task_event(event.ty()) {
                Some((triggered, TaskEventKind::Triggered)) if triggered == *task => data_match,
                _ => {
                    let wanted = task_event_type(task, TaskEventKind::Triggered);
                    return Some(format!("type `{}` is not `{wanted}`", event.ty()));
                }
            },
            SubscriberKind::Observer { filter, data_match, own_events } => {
                if let Some(reason) = filter.mismatch(event) {
                    return Some(reason);
                }
                if is_host_type(event.ty()) && filter.exact_types().is_none() {
                    return Some("events of the host reach only filters that name their type with `exact`".to_owned());
                }
                if !own_events && event.source() == plugin_source(&self.installation) {
                    return Some("it sent the event itself, and does not ask for `own-events`".to_owned());
                }
                data_match
            }
        };
        outside(&self.scope, place).or_else(|| data_match.mismatch(data))
    }

    fn is_executor(&self) -> bool {
        matches!(self.kind, SubscriberKind::Executor { .. })
    }
}

/// Says in words which part of the scope excludes the place.
fn outside(scope: &Scope, place: &Place) -> Option<String> {
    if scope.contains(place) {
        return None;
    }
    let parts = [
        ("project", &scope.projects, &place.project),
        ("stage", &scope.stages, &place.stage),
        ("service", &scope.services, &place.service),
    ];
    parts.into_iter().find_map(|(name, served, value)| match value {
        _ if served.is_empty() => None,
        None => Some(format!("outside its scope: the event names no {name}")),
        Some(value) => (!served.contains(value)).then(|| format!("outside its scope: {name} `{value}`")),
    })
}

/// Who gets one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing<'a> {
    /// Those who watch; an installation at most once.
    pub observers: Vec<&'a Subscriber>,
    /// Those who answer the task that the event triggers; an installation at most once.
    pub executors: Vec<&'a Subscriber>,
}

impl Routing<'_> {
    /// Tells whether nobody gets the event.
    pub fn is_empty(&self) -> bool {
        self.observers.is_empty() && self.executors.is_empty()
    }
}

/// Why one subscriber does or does not get an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The installation.
    pub installation: InstallationName,
    /// Whether it gets the event through this subscriber.
    pub matched: bool,
    /// Why, in words. Quotes attributes, and never the data.
    pub reason: String,
}

/// All subscribers at one moment. Immutable; a change makes a new one with a higher generation.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    generation: u64,
    subscribers: Vec<Subscriber>,
    /// Positions in `subscribers` of those that name the type, ascending.
    by_type: HashMap<String, Vec<usize>>,
    /// Positions of those that leave the type open, ascending; asked about every event.
    open: Vec<usize>,
}

impl Subscriptions {
    /// Makes a snapshot.
    pub fn new(generation: u64, subscribers: Vec<Subscriber>) -> Self {
        let mut by_type: HashMap<String, Vec<usize>> = HashMap::new();
        let mut open = Vec::new();
        for (position, subscriber) in subscribers.iter().enumerate() {
            match subscriber.types() {
                None => open.push(position),
                Some(types) => types.into_iter().for_each(|ty| by_type.entry(ty).or_default().push(position)),
            }
        }
        Self { generation, subscribers, by_type, open }
    }

    /// Returns the number that tells this snapshot from others; it only grows.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the subscribers in the order given.
    pub fn subscribers(&self) -> &[Subscriber] {
        &self.subscribers
    }

    /// Decides who gets an event. `data` is [`Event::data_json`], `place` is [`crate::keptn::place`].
    ///
    /// The order is that of the subscribers; where several of one installation match, the first counts.
    pub fn route(&self, event: &Event, data: Option<&Value>, place: &Place) -> Routing<'_> {
        let named = self.by_type.get(event.ty()).map_or(&[][..], Vec::as_slice);
        // The two lists are disjoint; sorting restores the order of the subscribers.
        let mut positions: Vec<usize> = named.iter().chain(&self.open).copied().collect();
        positions.sort_unstable();
        let candidates = positions.into_iter().filter_map(|position| self.subscribers.get(position));
        let matching = candidates.filter(|subscriber| subscriber.mismatch(event, data, place).is_none());
        collect(matching)
    }

    /// Tells whether any subscriber could do a task in a stage of a project, for some service at least. What it wants in
    /// an event's data is not looked at.
    pub fn executes(&self, task: &str, project: &str, stage: &str) -> bool {
        let within = |list: &[String], value: &str| list.is_empty() || list.iter().any(|it| it == value);
        self.subscribers.iter().any(|subscriber| {
            let scope = &subscriber.scope;
            matches!(&subscriber.kind, SubscriberKind::Executor { task: own, .. } if own.as_str() == task)
                && within(&scope.projects, project)
                && within(&scope.stages, stage)
        })
    }

    /// Says for every subscriber why it does or does not get the event.
    pub fn explain(&self, event: &Event, data: Option<&Value>, place: &Place) -> Vec<Explanation> {
        let mut seen = BTreeSet::new();
        let explain = |subscriber: &Subscriber| {
            let mismatch = subscriber.mismatch(event, data, place);
            let installation = subscriber.installation.clone();
            let matched = mismatch.is_none() && seen.insert((installation.clone(), subscriber.is_executor()));
            let reason = match (mismatch, &subscriber.kind) {
                (Some(reason), _) => reason,
                (None, _) if !matched => "it gets the event already through an earlier subscription".to_owned(),
                (None, SubscriberKind::Executor { task, .. }) => format!("it executes the task `{task}`"),
                (None, SubscriberKind::Observer { .. }) => "its filter matches".to_owned(),
            };
            Explanation { installation, matched, reason }
        };
        self.subscribers.iter().map(explain).collect()
    }

    /// Returns the type that may have been meant by `ty`, if no subscriber names `ty` and one names a type close to it.
    pub fn near_types(&self, ty: &str) -> Option<String> {
        if self.by_type.contains_key(ty) {
            return None;
        }
        nearest(ty, self.by_type.keys().map(String::as_str)).map(str::to_owned)
    }
}

fn collect<'a>(matching: impl Iterator<Item = &'a Subscriber>) -> Routing<'a> {
    let mut routing = Routing::default();
    for subscriber in matching {
        let list = if subscriber.is_executor() { &mut routing.executors } else { &mut routing.observers };
        if !list.iter().any(|it| it.installation == subscriber.installation) {
            list.push(subscriber);
        }
    }
    routing
}

#[cfg(test)]
mod tests;
