//! How a task or an evaluation ended.

use serde::{Deserialize, Serialize};

/// A task's result, from best to worst (Keptn spec 0.2.x).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskResult {
    /// All is well.
    Pass,
    /// Worth a look.
    Warning,
    /// Not good. `failed` is read too: Keptn's documents wrote both.
    #[serde(alias = "failed")]
    Fail,
}

impl TaskResult {
    /// Returns the word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warning => "warning",
            Self::Fail => "fail",
        }
    }
}

impl std::fmt::Display for TaskResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
