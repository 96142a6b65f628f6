//! How an indicator went within a window, as its provider sent it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most values of a series that are read.
const VALUES_MAX: usize = 2_000;

/// One value per step from the window's start on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SeriesView {
    /// When the first value was (RFC 3339).
    pub start: String,
    /// Seconds between two values.
    pub step_seconds: u64,
    /// How far each value looks back, in seconds.
    pub over_seconds: u64,
    /// The values; `null` where there was none.
    pub values: Vec<Option<f64>>,
}

/// The form in events, which have Keptn's spelling.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    start: String,
    step_seconds: u64,
    #[serde(default)]
    over_seconds: u64,
    values: Vec<Option<f64>>,
}

/// Reads the series of an entry of `indicatorValues`; `None` if there is none that can be shown.
pub(super) fn read(entry: &serde_json::Value) -> Option<SeriesView> {
    let sent = Sent::deserialize(entry.get("series")?).ok()?;
    let drawable = sent.step_seconds > 0 && sent.values.len() <= VALUES_MAX;
    let known = sent.values.iter().flatten().any(|value| value.is_finite());
    let Sent { start, step_seconds, over_seconds, values } = sent;
    (drawable && known).then_some(SeriesView { start, step_seconds, over_seconds, values })
}
