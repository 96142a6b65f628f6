//! Listings of sequences, and the figures that follow from them: one small row per execution, newest first.

use std::collections::BTreeMap;

use pilothouse_core::sequence::{Execution, State};
use pilothouse_core::task::{TaskResult, TaskStatus};
use pilothouse_core::time::Timestamp;
use pilothouse_store::{Batch, StateKey, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::Inner;
use super::rows::{SEQUENCE_KIND, put};

/// Kind of the rows; the key begins with the time of the trigger, inverted, so that the newest comes first.
pub(crate) const INDEX_KIND: &str = "sequence-index";
/// Version of the serialized form.
const SCHEMA: u32 = 1;
/// Rows read at a time.
const ROWS_PER_READ: usize = 512;
/// Most rows that one page of a listing looks at; a page may be short and still have a next one.
const ROWS_PER_PAGE_MAX: usize = 10_000;
/// Most rows that figures are worked out from.
const ROWS_PER_FIGURES_MAX: usize = 200_000;

/// What a listing says about an execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Index {
    schema: u32,
    pub(crate) id: Uuid,
    pub(crate) run: String,
    pub(crate) run_began: Timestamp,
    pub(crate) project: String,
    pub(crate) stage: String,
    pub(crate) service: String,
    pub(crate) sequence: String,
    pub(crate) state: State,
    pub(crate) triggered: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) result: Option<TaskResult>,
    pub(crate) status: Option<TaskStatus>,
    /// Whether a task `deployment` or `release` of it passed.
    pub(crate) deployed: bool,
}

impl Index {
    pub(crate) fn of(execution: &Execution) -> Self {
        let passed = |task: &str| execution.result_of(task).is_some_and(|result| result != TaskResult::Fail);
        let end = execution.end.as_ref();
        Self {
            schema: SCHEMA,
            id: execution.id,
            run: execution.run.clone(),
            run_began: execution.run_began,
            project: execution.key.project.clone(),
            stage: execution.key.stage.clone(),
            service: execution.key.service.clone(),
            sequence: execution.definition.name.to_string(),
            state: State::of(execution),
            triggered: execution.triggered_at,
            ended: end.map(|end| end.at),
            result: end.map(|end| end.result),
            status: end.map(|end| end.status),
            deployed: passed("deployment") || passed("release"),
        }
    }

    pub(crate) fn key(&self) -> String {
        // 14 digits hold every millisecond until the year 5138.
        let inverted = 99_999_999_999_999_u64.saturating_sub(self.triggered.as_millis().unsigned_abs());
        format!("{inverted:014}/{}", self.id)
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, StoreError> {
        let unreadable = |text: String| StoreError::Read(format!("index of sequences: {text}"));
        let index: Self = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
        if index.schema > SCHEMA {
            return Err(unreadable(format!("version {}, this host knows up to {SCHEMA}", index.schema)));
        }
        Ok(index)
    }
}

/// Which sequences to list; every field given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequenceFilter {
    /// The project.
    pub project: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The sequence's name.
    pub sequence: Option<String>,
    /// The run.
    pub run: Option<String>,
    /// Where they stand.
    pub state: Option<State>,
    /// Triggered at or after this time.
    pub since: Option<Timestamp>,
    /// Triggered before this time.
    pub until: Option<Timestamp>,
}

impl SequenceFilter {
    fn matches(&self, index: &Index) -> bool {
        let same = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        same(&self.project, &index.project)
            && same(&self.stage, &index.stage)
            && same(&self.service, &index.service)
            && same(&self.sequence, &index.sequence)
            && same(&self.run, &index.run)
            && self.state.is_none_or(|state| state == index.state)
            && self.until.is_none_or(|until| index.triggered < until)
    }
}

/// Counts and durations of the sequences of a project, and the DORA figures that follow from them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Figures {
    /// The first moment that is looked at (RFC 3339).
    pub since: String,
    /// The end (RFC 3339).
    pub until: String,
    /// Whether there were more sequences than are looked at.
    pub truncated: bool,
    /// Per stage and sequence, as `stage.sequence`.
    pub sequences: BTreeMap<String, StageFigures>,
}

/// Figures of one sequence of a stage. Durations are in seconds; those that nothing was seen of are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct StageFigures {
    /// Triggered.
    pub triggered: u64,
    /// Ended.
    pub ended: u64,
    /// Ended with `pass` or `warning`.
    pub passed: u64,
    /// Ended with `fail`, aborted ones left out.
    pub failed: u64,
    /// Aborted.
    pub aborted: u64,
    /// Median time from the trigger to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_median: Option<f64>,
    /// Longest time from the trigger to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_max: Option<f64>,
    /// Deployment frequency: sequences per day in which a task `deployment` or `release` passed.
    pub deployments_per_day: f64,
    /// Lead time: median from the begin of the run to the end of such a sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead_time_median: Option<f64>,
    /// Change failure rate: failed ones among those that ended and were not aborted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<f64>,
    /// Time to restore: median from the end of a failed one to the end of the next that passed, of the same service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_restore_median: Option<f64>,
}

impl Inner {
    /// Lists what the index has, newest first, after the key `after`; returns the key to go on from, if there is more.
    pub(super) async fn index_page(
        &self,
        filter: &SequenceFilter,
        after: Option<&str>,
        limit: usize,
        rows_max: usize,
    ) -> Result<(Vec<Index>, Option<String>), StoreError> {
        let mut found = Vec::new();
        let mut after = after.map(str::to_owned);
        let mut looked_at = 0;
        while looked_at < rows_max {
            let rows = self.store.states(INDEX_KIND, after.as_deref(), ROWS_PER_READ).await?;
            if rows.is_empty() {
                return Ok((found, None));
            }
            for row in &rows {
                let index = Index::from_json(&row.value)?;
                if filter.since.is_some_and(|since| index.triggered < since) {
                    return Ok((found, None));
                }
                after = Some(row.key.clone());
                looked_at += 1;
                if filter.matches(&index) {
                    found.push(index);
                    if found.len() >= limit {
                        return Ok((found, after));
                    }
                }
            }
        }
        Ok((found, after))
    }

    /// Lists one page.
    pub(super) async fn index_listing(
        &self,
        filter: &SequenceFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Index>, Option<String>), StoreError> {
        self.index_page(filter, after, limit, ROWS_PER_PAGE_MAX).await
    }

    /// Removes the executions that ended long ago, with their rows for listings.
    pub(in super::super) async fn remove_sequences(
        &self,
        is_old: impl Fn(Timestamp) -> bool,
    ) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let rows = self.store.states(INDEX_KIND, after.as_deref(), ROWS_PER_READ).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.key.clone());
            let mut batch = Batch::new(self.clock.now());
            for row in &rows {
                let index = Index::from_json(&row.value)?;
                if index.ended.is_some_and(&is_old) {
                    let execution = StateKey::new(SEQUENCE_KIND, index.id.to_string());
                    batch.states.push(put(execution, row.revision, None));
                    batch.states.push(put(StateKey::new(INDEX_KIND, &row.key), row.revision, None));
                }
            }
            if !batch.states.is_empty() {
                self.commit(batch).await?;
            }
        }
    }

    /// See [`crate::engine::Engine::figures`].
    pub(in super::super) async fn figures(
        &self,
        project: &str,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Figures, StoreError> {
        let filter = SequenceFilter {
            project: Some(project.to_owned()),
            since: Some(since),
            until: Some(until),
            ..SequenceFilter::default()
        };
        let (rows, next) = self.index_page(&filter, None, usize::MAX, ROWS_PER_FIGURES_MAX).await?;
        let mut figures = work_out(&rows, since, until);
        figures.truncated = next.is_some();
        Ok(figures)
    }
}

fn work_out(rows: &[Index], since: Timestamp, until: Timestamp) -> Figures {
    let mut groups: BTreeMap<String, Vec<&Index>> = BTreeMap::new();
    for row in rows {
        groups.entry(format!("{}.{}", row.stage, row.sequence)).or_default().push(row);
    }
    let days = (until.since(since).as_secs_f64() / 86_400.0).max(f64::MIN_POSITIVE);
    let sequences = groups.into_iter().map(|(name, rows)| (name, of_sequence(rows, days)));
    Figures { since: since.to_string(), until: until.to_string(), truncated: false, sequences: sequences.collect() }
}

fn of_sequence(mut rows: Vec<&Index>, days: f64) -> StageFigures {
    rows.sort_by_key(|row| row.ended);
    let mut figures = StageFigures { triggered: to_u64(rows.len()), ..StageFigures::default() };
    let (mut durations, mut leads, mut restores) = (Vec::new(), Vec::new(), Vec::new());
    let mut broken: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let mut deployments = 0_u64;
    for row in rows {
        let (Some(ended), Some(result)) = (row.ended, row.result) else { continue };
        figures.ended += 1;
        durations.push(ended.since(row.triggered).as_secs_f64());
        if row.status == Some(TaskStatus::Aborted) {
            figures.aborted += 1;
            continue;
        }
        if result == TaskResult::Fail {
            figures.failed += 1;
            broken.entry(&row.service).or_insert(ended);
            continue;
        }
        figures.passed += 1;
        if let Some(since) = broken.remove(row.service.as_str()) {
            restores.push(ended.since(since).as_secs_f64());
        }
        if row.deployed {
            deployments += 1;
            leads.push(ended.since(row.run_began).as_secs_f64());
        }
    }
    let judged = figures.passed + figures.failed;
    figures.failure_rate = (judged > 0).then(|| figures.failed as f64 / judged as f64);
    figures.duration_max = durations.iter().copied().reduce(f64::max);
    figures.duration_median = median(durations);
    figures.deployments_per_day = deployments as f64 / days;
    figures.lead_time_median = median(leads);
    figures.time_to_restore_median = median(restores);
    figures
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied()?;
    if values.len() % 2 == 1 { Some(upper) } else { Some((values.get(middle - 1).copied()? + upper) / 2.0) }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(second: i64, took: i64, result: TaskResult, deployed: bool) -> Index {
        let at = |second: i64| Timestamp::from_millis(second * 1_000);
        Index {
            schema: SCHEMA,
            id: Uuid::nil(),
            run: "r".into(),
            run_began: at(second - 10),
            project: "p".into(),
            stage: "dev".into(),
            service: "s".into(),
            sequence: "delivery".into(),
            state: State::Finished,
            triggered: at(second),
            ended: Some(at(second + took)),
            result: Some(result),
            status: Some(TaskStatus::Succeeded),
            deployed,
        }
    }

    #[test]
    fn the_figures_follow_from_the_sequences() {
        use TaskResult::{Fail, Pass, Warning};
        let mut aborted = row(400, 10, Fail, false);
        aborted.status = Some(TaskStatus::Aborted);
        let rows = [
            row(100, 10, Pass, true),
            row(200, 20, Fail, true),
            row(250, 10, Fail, true),
            row(300, 30, Warning, true),
            aborted,
        ];
        let figures = work_out(&rows, Timestamp::from_millis(0), Timestamp::from_millis(2 * 86_400_000));
        let got = &figures.sequences["dev.delivery"];
        assert_eq!((got.triggered, got.ended, got.passed, got.failed, got.aborted), (5, 5, 2, 2, 1));
        assert_eq!((got.duration_median, got.duration_max), (Some(10.0), Some(30.0)));
        assert!((got.deployments_per_day - 1.0).abs() < 1e-9, "{got:?}");
        assert_eq!((got.lead_time_median, got.failure_rate), (Some(30.0), Some(0.5)));
        assert_eq!(got.time_to_restore_median, Some(110.0), "from the first failure at 220 to the pass at 330");
    }

    #[test]
    fn the_newest_comes_first() {
        let (older, newer) = (row(100, 1, TaskResult::Pass, false), row(200, 1, TaskResult::Pass, false));
        assert!(newer.key() < older.key());
    }
}
