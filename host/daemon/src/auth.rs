//! Tokens: who may talk to the host, and what each may do.
//!
//! A token is 32 random bytes. Only their SHA-256 is stored, as a state row of kind `token`; the text is shown once,
//! when the token is made. The rows are few and are all held in memory, so that a request costs no read.
//!
//! Never here: HTTP. The header is read in [`crate::http`].

mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pilothouse_core::right::{Actor, Reach, Right, RoleGrant};
use pilothouse_core::time::Timestamp;
use pilothouse_store::{Batch, StateKey, StateWrite, Store, StoreError};

use crate::engine::clock::Clock;
pub use record::{TokenRecord, TokenText};

/// Kind of the state rows that hold tokens.
pub const STATE_KIND: &str = "token";
/// Name of the token that is made at the first start.
pub const FIRST_TOKEN: &str = "admin";
/// Most tokens; all of them are held in memory, and a real installation has a few dozen.
pub const TOKENS_MAX: usize = 10_000;
/// Most roles of a token; its record is read at each request.
const ROLES_MAX: usize = 100;
/// Longest name of a token, which stands in every event that its holder causes.
pub const TOKEN_NAME_LENGTH_MAX: usize = 63;

/// Who makes a request, and what that one may do.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Stored with whatever the request causes.
    pub actor: Actor,
    /// The token's id, without its secret.
    pub token: Arc<str>,
    /// What the token may do where.
    pub access: Arc<[Access]>,
}

/// Rights, and where they count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The rights.
    pub rights: BTreeSet<Right>,
    /// The projects; all, and what belongs to none, when `None`.
    pub projects: Option<Vec<String>>,
}

impl Identity {
    /// Tells whether the holder may do what needs `right`, wherever.
    pub fn may(&self, right: Right) -> bool {
        !self.reach(right).is_nothing()
    }

    /// Tells whether the holder may do what needs `right` with what belongs to `project`.
    pub fn may_in(&self, right: Right, project: Option<&str>) -> bool {
        self.reach(right).contains(project)
    }

    /// Tells whether the holder may see what belongs to `project`.
    pub fn sees(&self, project: Option<&str>) -> bool {
        self.may_in(Right::Read, project)
    }

    /// Returns where the holder has a right.
    pub fn reach(&self, right: Right) -> Reach {
        let mut names = BTreeSet::new();
        for access in self.access.iter().filter(|access| access.rights.iter().any(|held| held.allows(right))) {
            match &access.projects {
                None => return Reach::All,
                Some(projects) => names.extend(projects.iter().cloned()),
            }
        }
        Reach::Projects(names)
    }
}

/// Why a change of the tokens was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// There is a token of that name already.
    #[error("there is a token `{0}` already; revoke it first, or choose another name")]
    Exists(String),
    /// No token has that name.
    #[error("there is no token `{0}`")]
    NotFound(String),
    /// It is the last one that can make others.
    #[error("`{0}` is the last token with the right `admin`; make another one first")]
    LastAdmin(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a new token shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Its name, as in `token:<name>`.
    pub name: String,
    /// What it may do.
    pub rights: BTreeSet<Right>,
    /// Roles, each of which adds its rights.
    pub roles: Vec<RoleGrant>,
    /// Projects that the rights, and the roles that name none, are narrowed to; all when `None`.
    pub projects: Option<Vec<String>>,
    /// When it stops to be valid; never when `None`.
    pub expires: Option<Timestamp>,
}

impl NewToken {
    /// A token with every right.
    pub fn admin(name: &str) -> Self {
        let rights = BTreeSet::from([Right::Admin]);
        Self { name: name.to_owned(), rights, roles: Vec::new(), projects: None, expires: None }
    }
}

/// All tokens of this host.
pub struct Tokens {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    records: ArcSwap<BTreeMap<String, Arc<TokenRecord>>>,
    /// One change at a time, so that two requests cannot make two tokens of one name.
    changes: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("count", &self.records.load().len()).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the tokens from the store.
    ///
    /// # Errors
    /// The store could not be read. A row that is not a token is logged and ignored.
    pub async fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, TokenError> {
        let rows = store.states(STATE_KIND, None, TOKENS_MAX).await?;
        let mut records = BTreeMap::new();
        for row in rows {
            match TokenRecord::from_row(&row) {
                Some(record) => drop(records.insert(record.id.clone(), Arc::new(record))),
                // It opens no door, and must not lock all the others either.
                None => tracing::error!(token = %row.key, "TokenUnreadable"),
            }
        }
        Ok(Self { store, clock, records: ArcSwap::from_pointee(records), changes: tokio::sync::Mutex::new(()) })
    }

    /// Makes the first token, with every right, if there is none at all; its text is returned this once.
    ///
    /// # Errors
    /// The store refused or failed.
    pub async fn ensure_admin(&self) -> Result<Option<TokenText>, TokenError> {
        if !self.records.load().is_empty() {
            return Ok(None);
        }
        self.create(NewToken::admin(FIRST_TOKEN)).await.map(Some)
    }

    /// Makes a token; its text is returned this once and never again.
    ///
    /// # Errors
    /// The name is taken or not allowed, no right is given, or the store refused.
    pub async fn create(&self, new: NewToken) -> Result<TokenText, TokenError> {
        let _one_at_a_time = self.changes.lock().await;
        let now = self.clock.now();
        check_new(&new, now)?;
        if self.named(&new.name).is_some() {
            return Err(TokenError::Exists(new.name));
        }
        if self.records.load().len() >= TOKENS_MAX {
            return Err(TokenError::Invalid(format!("there are {TOKENS_MAX} tokens already; revoke some")));
        }
        let text = TokenText::generate().map_err(TokenError::Invalid)?;
        let record = TokenRecord::new(&text, new, now);
        self.write(&record.id, 0, Some(record.to_bytes()), now).await?;
        self.replace(|records| {
            records.insert(record.id.clone(), Arc::new(record.clone()));
        });
        Ok(text)
    }

    /// Takes a token back; it stops working at once.
    ///
    /// # Errors
    /// There is no such token, it is the last one with the right `admin`, or the store refused.
    pub async fn revoke(&self, name: &str) -> Result<(), TokenError> {
        let _one_at_a_time = self.changes.lock().await;
        let now = self.clock.now();
        let record = self.named(name).ok_or_else(|| TokenError::NotFound(name.to_owned()))?;
        let is_admin = |record: &TokenRecord| record.is_admin() && record.is_valid_at(now);
        let others = self.records.load().values().filter(|other| other.id != record.id && is_admin(other)).count();
        if is_admin(&record) && others == 0 {
            return Err(TokenError::LastAdmin(name.to_owned()));
        }
        self.remove(&record, now).await
    }

    /// Takes all tokens with the right `admin` back and makes a new one: the way back in for whoever has the machine.
    ///
    /// # Errors
    /// The store refused or failed.
    pub async fn reset(&self) -> Result<TokenText, TokenError> {
        let now = self.clock.now();
        let admins: Vec<_> = self.records.load().values().filter(|record| record.is_admin()).cloned().collect();
        for record in admins {
            self.remove(&record, now).await?;
        }
        // A token of another kind may have the name.
        let name = if self.named(FIRST_TOKEN).is_some() {
            format!("{FIRST_TOKEN}-{}", now.as_millis())
        } else {
            FIRST_TOKEN.to_owned()
        };
        self.create(NewToken::admin(&name)).await
    }

    /// Returns all tokens, by name. None of them holds its secret.
    pub fn list(&self) -> Vec<Arc<TokenRecord>> {
        let mut records: Vec<_> = self.records.load().values().cloned().collect();
        records.sort_by(|left, right| left.name.cmp(&right.name));
        records
    }

    /// Returns who holds this token; `None` if it is unknown, wrong or expired, which a caller cannot tell apart.
    pub fn identify(&self, text: &str) -> Option<Identity> {
        let given = TokenText::parse(text)?;
        let records = self.records.load();
        let record = records.get(given.id());
        // An unknown id costs as much as a known one.
        let matches = given.matches(record.map_or(&[0; 32], |record| &record.hash));
        let record = record.filter(|record| matches && record.is_valid_at(self.clock.now()))?;
        Some(Identity { actor: Actor::token(&record.name), token: record.id.as_str().into(), access: record.access() })
    }

    /// Tells whether the token with this id is still valid; for requests that last long.
    pub fn is_valid(&self, id: &str) -> bool {
        self.records.load().get(id).is_some_and(|record| record.is_valid_at(self.clock.now()))
    }

    /// Returns who holds the token of this name; `None` if there is none, or it has expired. For who is known by other means.
    pub fn holder(&self, name: &str) -> Option<Identity> {
        let record = self.named(name).filter(|record| record.is_valid_at(self.clock.now()))?;
        Some(Identity { actor: Actor::token(&record.name), token: record.id.as_str().into(), access: record.access() })
    }

    fn named(&self, name: &str) -> Option<Arc<TokenRecord>> {
        self.records.load().values().find(|record| record.name == name).cloned()
    }

    async fn remove(&self, record: &TokenRecord, now: Timestamp) -> Result<(), TokenError> {
        self.write(&record.id, record.revision, None, now).await?;
        self.replace(|records| {
            records.remove(&record.id);
        });
        Ok(())
    }

    async fn write(&self, id: &str, revision: u64, value: Option<Vec<u8>>, now: Timestamp) -> Result<(), StoreError> {
        let mut batch = Batch::new(now);
        let key = StateKey::new(STATE_KIND, id);
        batch.states.push(StateWrite { key, revision, value, holds: None, holds_own_event: false });
        self.store.commit(batch).await.map(|_| ())
    }

    fn replace(&self, change: impl Fn(&mut BTreeMap<String, Arc<TokenRecord>>)) {
        self.records.rcu(|records| {
            let mut records = BTreeMap::clone(records);
            change(&mut records);
            records
        });
    }
}

fn check_new(new: &NewToken, now: Timestamp) -> Result<(), TokenError> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.@".contains(character);
    let name_fits = !new.name.is_empty() && new.name.len() <= TOKEN_NAME_LENGTH_MAX && new.name.chars().all(allowed);
    let is_admin = |grant: &&RoleGrant| grant.role.rights().contains(&Right::Admin);
    let narrowed_admin =
        new.roles.iter().filter(is_admin).any(|grant| grant.project.is_some() || new.projects.is_some());
    let message = if !name_fits {
        "a token's name has 1 to 63 characters out of letters, digits and `-_.@`"
    } else if new.rights.is_empty() && new.roles.is_empty() {
        "a token needs at least one role (viewer, sender, approver, operator, admin) or right (ingest, read, task, approve, operate, admin)"
    } else if new.roles.len() > ROLES_MAX {
        "a token has at most 100 roles"
    } else if new.projects.as_ref().is_some_and(Vec::is_empty) {
        "an empty list of projects would allow nothing; leave it out to allow all"
    } else if narrowed_admin || new.projects.is_some() && new.rights.contains(&Right::Admin) {
        "the right `admin` reaches everything and cannot be narrowed to projects"
    } else if new.expires.is_some_and(|expires| expires <= now) {
        "the token would have expired already"
    } else {
        return Ok(());
    };
    Err(TokenError::Invalid(message.to_owned()))
}
