//! Approvals: tasks that people decide. The host knows who they are and that they may; it records each decision as an
//! event and delivers it to the plugin that executes the task, which alone answers.

use pilothouse_core::delivery::{Cause, DeliveryId};
use pilothouse_core::event::EventBuilder;
use pilothouse_core::host_event::{APPROVAL_DECIDED, HOST_SOURCE};
use pilothouse_core::keptn::{self, TaskEventKind};
use pilothouse_core::name::InstallationName;
use pilothouse_core::right::Actor;
use pilothouse_core::task::ExecutorState;
use pilothouse_core::time::Timestamp;
use pilothouse_store::{Batch, EventFilter, EventRow, NewDelivery, Precondition, Seq, StateKey, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::plan::{Origin, TASK_KIND, plan};
use super::task_flow::TaskInHand;
use super::{Engine, Inner};

/// The task that people decide.
pub const APPROVAL_TASK: &str = "approval";
/// The event that asks for it.
const TRIGGERED: &str = "sh.keptn.event.approval.triggered";
/// Namespace of the ids of decisions (a random UUID, fixed for ever).
const NAMESPACE: Uuid = Uuid::from_u128(0x6b1f_27c0_5e94_4d13_a8d2_90fb_3c5e_7741);
/// Requests that are looked at for one page: most of them have ended, and each costs a read.
const SCAN_MAX: usize = 2_000;
/// Events of one request that are shown; there is one per decision and reminder.
const EVENTS_MAX: usize = 500;
/// How often a decision is written again after losing against another change of its task.
const ATTEMPTS_MAX: u32 = 16;

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Decline,
}

impl Verdict {
    /// Returns the word used in events and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Decline => "decline",
        }
    }
}

/// What somebody decided.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DecisionView {
    /// Who.
    pub actor: String,
    /// What.
    pub decision: Verdict,
    /// Why; may be empty.
    pub comment: String,
    /// When (RFC 3339).
    pub time: String,
}

/// A request for people to decide.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ApprovalView {
    /// Its id: that of the task's triggered event.
    pub id: String,
    /// The run (`shkeptncontext`).
    pub run: String,
    /// The project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `open` or `ended`.
    pub state: String,
    /// How it ended: `pass`, `warning` or `fail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// What its executor said last.
    pub message: String,
    /// The result of the work before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_before: Option<String>,
    /// When it was asked for (RFC 3339).
    pub requested: String,
    /// When the task times out (RFC 3339); the request may expire earlier.
    pub finish_by: String,
    /// What was decided so far, the oldest first.
    pub decisions: Vec<DecisionView>,
}

/// Which approvals to list.
#[derive(Clone, Debug, Default)]
pub struct ApprovalFilter {
    /// The project.
    pub project: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// Open ones only (`true`), ended ones only (`false`), or all.
    pub open: Option<bool>,
}

/// Why a decision was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DecideError {
    /// There is no such request.
    #[error("there is no approval `{0}`; `pilothouse approval list` lists them")]
    NotFound(String),
    /// Nothing is to be decided, or not here.
    #[error("{0}")]
    Refused(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Lists approvals, newest first, from before the position `before`; returns the position to go on from, if there may
    /// be more. `sees` says which projects are shown.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn approvals(
        &self,
        filter: &ApprovalFilter,
        before: Option<u64>,
        limit: usize,
        sees: impl Fn(Option<&str>) -> bool,
    ) -> Result<(Vec<ApprovalView>, Option<u64>), StoreError> {
        let events = EventFilter {
            ty: Some(TRIGGERED.to_owned()),
            project: filter.project.clone(),
            stage: filter.stage.clone(),
            service: filter.service.clone(),
            ..EventFilter::default()
        };
        let (mut items, mut cursor, mut scanned) = (Vec::new(), before, 0);
        loop {
            let page = self.0.store.events(&events, cursor, 100).await?;
            for row in &page.items {
                scanned += 1;
                cursor = Some(row.seq.0);
                if sees(row.place.project.as_deref())
                    && let Some(view) = self.0.approval_of(row).await?
                    && filter.open.is_none_or(|open| open == (view.state == "open"))
                {
                    items.push(view);
                    if items.len() >= limit {
                        return Ok((items, cursor));
                    }
                }
            }
            match page.next {
                Some(next) if scanned < SCAN_MAX => cursor = Some(next),
                next => return Ok((items, next)),
            }
        }
    }

    /// Returns one approval; `None` if there is none, or no longer.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn approval(&self, id: &str) -> Result<Option<ApprovalView>, StoreError> {
        match self.0.read_task(id).await? {
            Some(task) if task.task.name.as_str() == APPROVAL_TASK => self.0.approval_of(&task.trigger).await,
            _ => Ok(None),
        }
    }

    /// Records what somebody decided and delivers it to the plugin that executes the approval. The same decision of the same
    /// actor again has no effect.
    ///
    /// # Errors
    /// There is no such approval, it has ended, or no plugin executes it.
    pub async fn decide(&self, id: &str, verdict: Verdict, comment: &str, actor: &Actor) -> Result<(), DecideError> {
        self.0.decide(id, verdict, comment, actor).await
    }
}

impl Inner {
    async fn decide(&self, id: &str, verdict: Verdict, comment: &str, actor: &Actor) -> Result<(), DecideError> {
        for _ in 0..ATTEMPTS_MAX {
            let in_hand = self.read_task(id).await?.filter(|it| it.task.name.as_str() == APPROVAL_TASK);
            let in_hand = in_hand.ok_or_else(|| DecideError::NotFound(id.to_owned()))?;
            let event_id = [id, actor.as_str(), verdict.as_str()].join("\u{0}");
            let event_id = Uuid::new_v5(&NAMESPACE, event_id.as_bytes()).to_string();
            let known = EventFilter { id: Some(event_id.clone()), ..EventFilter::default() };
            if self.store.events(&known, None, 1).await?.items.iter().any(|row| row.event.source() == HOST_SOURCE) {
                return Ok(());
            }
            let executors = self.deciders(&in_hand)?;
            let now = self.clock.now();
            let event = decided(&in_hand, event_id, verdict, comment, actor, now)
                .map_err(|error| DecideError::Refused(format!("the decision cannot be recorded: {error}")))?;
            let snapshot = self.snapshot.load_full();
            let mut batch = Batch::new(now);
            batch.routing = Some(snapshot.generation());
            let told = executors.into_iter().map(|installation| NewDelivery {
                id: DeliveryId::derive(event.source(), event.id(), &installation, Cause::Decided.as_str()),
                event: Seq(0),
                consumer: installation,
                cause: Cause::Decided,
                task: Some(id.to_owned()),
                // One after the other, so that each is counted with those before it.
                order_key: Some(format!("approval/{id}")),
                due: now,
                dead: None,
            });
            let told: Vec<NewDelivery> = told.collect();
            let origin = Origin { actor: actor.clone(), ..Origin::host(None, in_hand.task.depth) };
            let mut planned = plan(&snapshot, event, &origin, now)
                .map_err(|error| DecideError::Refused(format!("the decision cannot be recorded: {error}")))?;
            if let Some(first) = planned.first_mut() {
                first.deliveries.extend(told);
            }
            batch.events = planned;
            let key = StateKey::new(TASK_KIND, id);
            batch.preconditions.push(Precondition::StateRevision { key, revision: in_hand.revision });
            match self.commit_and_wake(batch).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Conflict(_) | StoreError::StaleRouting { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(DecideError::Refused("the approval changes all the time; try again".to_owned()))
    }

    /// Returns the plugins that a decision is delivered to.
    fn deciders(&self, in_hand: &TaskInHand) -> Result<Vec<InstallationName>, DecideError> {
        let task = &in_hand.task;
        if let Some(end) = &task.end {
            return Err(DecideError::Refused(format!("the approval has ended already: {}", end.reason)));
        }
        let open = task.executors.iter().filter(|executor| {
            !matches!(executor.state, ExecutorState::Answered { .. } | ExecutorState::Declined { .. })
        });
        let open: Vec<&InstallationName> = open.map(|executor| &executor.installation).collect();
        let plugins: Vec<InstallationName> =
            open.iter().filter(|name| self.installation(name).is_some()).map(|name| (*name).clone()).collect();
        if plugins.is_empty() {
            let names: Vec<String> = open.iter().map(|name| format!("`{name}`")).collect();
            let text = format!("{} executes this approval, and is no plugin: decide there", names.join(", "));
            return Err(DecideError::Refused(text));
        }
        Ok(plugins)
    }

    /// Makes the view of an approval from its trigger; `None` if its task is no longer kept.
    async fn approval_of(&self, trigger: &EventRow) -> Result<Option<ApprovalView>, StoreError> {
        let id = trigger.event.id();
        let Some(task) = self.task_view(id).await? else { return Ok(None) };
        let filter = EventFilter { triggered_id: Some(id.to_owned()), ..EventFilter::default() };
        let events = self.store.events(&filter, None, EVENTS_MAX).await?.items;
        let text = |row: &EventRow, pointer: &str| {
            let data = row.event.data_json()?;
            data.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
        };
        let says = |row: &&EventRow| {
            let kind = keptn::parse_task_event(row.event.ty()).map(|(_, kind)| kind);
            matches!(kind, Some(TaskEventKind::StatusChanged | TaskEventKind::Finished))
        };
        // Newest first.
        let said = events.iter().find(says).and_then(|row| text(row, "/message"));
        let decided = events.iter().rev().filter(|row| row.event.ty() == APPROVAL_DECIDED).filter_map(|row| {
            let data = row.event.data_json()?;
            let word = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            Some(DecisionView {
                actor: word("actor"),
                decision: serde_json::from_value(data.get("decision")?.clone()).ok()?,
                comment: word("comment"),
                time: word("time"),
            })
        });
        Ok(Some(ApprovalView {
            id: id.to_owned(),
            run: task.run,
            project: task.project,
            stage: task.stage,
            service: task.service,
            state: task.state,
            result: task.result,
            message: said.unwrap_or(task.reason),
            result_before: text(trigger, "/result").or_else(|| text(trigger, "/evaluation/result")),
            requested: trigger.accepted.to_string(),
            finish_by: task.finish_by,
            decisions: decided.collect(),
        }))
    }
}

/// Makes `dev.pilothouse.approval.decided.v1`.
fn decided(
    in_hand: &TaskInHand,
    id: String,
    verdict: Verdict,
    comment: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<pilothouse_core::Event, pilothouse_core::event::EventError> {
    let task = &in_hand.task;
    let mut data = json!({
        "approval": task.id, "decision": verdict, "actor": actor.as_str(), "comment": comment, "time": now.to_string(),
    });
    let place = [("project", &task.place.project), ("stage", &task.place.stage), ("service", &task.place.service)];
    for (name, value) in place {
        if let (Some(members), Some(value)) = (data.as_object_mut(), value) {
            members.insert(name.to_owned(), value.clone().into());
        }
    }
    let mut builder = EventBuilder::new(id, HOST_SOURCE, APPROVAL_DECIDED)
        .time(Some(now.to_string()))
        .extension_str(keptn::RUN_EXTENSION, &task.run)
        .extension_str(keptn::TRIGGERED_ID_EXTENSION, &task.id)
        .json(&data);
    if let Some(commit) = in_hand.trigger.event.extension(keptn::COMMIT_EXTENSION) {
        builder = builder.extension(keptn::COMMIT_EXTENSION, commit.clone());
    }
    builder.build()
}
