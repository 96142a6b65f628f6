//! What a token may do.

use serde::{Deserialize, Serialize};

/// One right of a token. A token has a set of them; none implies another but [`Right::Admin`], which implies all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Install plugins, make tokens, back up: everything.
    Admin,
    /// Send events, except `<task>.triggered`.
    Ingest,
    /// Redrive dead letters, cancel, pause.
    Operate,
    /// Read events, deliveries, tasks and installations.
    Read,
    /// Send `<task>.triggered`, which makes executors work.
    Task,
}

impl Right {
    /// Every right, in the order of their names.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Ingest, Self::Operate, Self::Read, Self::Task];

    /// Returns the word used on the command line and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Ingest => "ingest",
            Self::Operate => "operate",
            Self::Read => "read",
            Self::Task => "task",
        }
    }

    /// Tells whether a holder of this right may do what `needed` asks for.
    pub fn allows(self, needed: Self) -> bool {
        self == Self::Admin || self == needed
    }
}

impl std::str::FromStr for Right {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|right| right.as_str() == word)
            .ok_or_else(|| format!("`{word}` is not a right; the rights are ingest, read, task, operate and admin"))
    }
}

/// Who causes a change: stored with what it causes.
///
/// Written `token:<name>`, `plugin:<installation>` or `host`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(String);

impl Actor {
    /// The host itself.
    pub fn host() -> Self {
        Self("host".to_owned())
    }

    /// The holder of the token called `name`.
    pub fn token(name: &str) -> Self {
        Self(format!("token:{name}"))
    }

    /// The plugin installed as `installation`.
    pub fn plugin(installation: &crate::name::InstallationName) -> Self {
        Self(format!("plugin:{installation}"))
    }

    /// Reads what was stored.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Returns the actor as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
