//! A token's text, which only its holder has, and its record, which only the host has.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pilothouse_core::right::{Right, RoleGrant};
use pilothouse_core::time::Timestamp;
use pilothouse_store::StateRow;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Access, NewToken};

/// Length of the secret part, in bytes: as many as the hash has, and beyond any search.
const SECRET_BYTES: usize = 32;
/// Length of the public part, in bytes: enough for [`super::TOKENS_MAX`] tokens without a clash.
const ID_BYTES: usize = 6;
/// First characters of every token, so that scanners for leaked secrets can find them.
const PREFIX: &str = "ph_";

/// A token as its holder has it: `ph_<id>_<secret>`. Its `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText {
    id: String,
    secret: [u8; SECRET_BYTES],
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText({PREFIX}{}_…)", self.id)
    }
}

impl TokenText {
    /// Draws a new token from the operating system's randomness.
    pub(super) fn generate() -> Result<Self, String> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        getrandom::fill(&mut id)
            .and_then(|()| getrandom::fill(&mut secret))
            .map_err(|error| format!("the system gives no random bytes: {error}"))?;
        Ok(Self { id: id.iter().map(|byte| format!("{byte:02x}")).collect(), secret })
    }

    /// Reads a token's text; `None` if it cannot be one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
        Some(Self { id: id.to_owned(), secret })
    }

    /// Returns the public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the whole text. Show it once, to whoever asked for the token, and nowhere else.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, URL_SAFE_NO_PAD.encode(self.secret))
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// Tells whether the secret has this hash, in the same time whatever the answer.
    pub(super) fn matches(&self, hash: &[u8; 32]) -> bool {
        self.hash().ct_eq(hash).into()
    }
}

/// What the host keeps of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// The public part of its text.
    pub id: String,
    /// SHA-256 of the secret part.
    pub(super) hash: [u8; 32],
    /// Its name.
    pub name: String,
    /// What it may do, besides what its roles say.
    pub rights: BTreeSet<Right>,
    /// Its roles.
    pub roles: Vec<RoleGrant>,
    /// Projects that the rights, and the roles that name none, are narrowed to; all when `None`.
    pub projects: Option<Vec<String>>,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops to be valid.
    pub expires: Option<Timestamp>,
    /// Revision of its state row.
    pub(super) revision: u64,
}

/// The state row's value. `schema` is 1; a later form gets a higher number.
#[derive(Serialize, Deserialize)]
struct Stored {
    schema: u32,
    hash: String,
    name: String,
    rights: BTreeSet<Right>,
    #[serde(default)]
    roles: Vec<RoleGrant>,
    projects: Option<Vec<String>>,
    created: Timestamp,
    expires: Option<Timestamp>,
}

impl TokenRecord {
    pub(super) fn new(text: &TokenText, new: NewToken, created: Timestamp) -> Self {
        let NewToken { name, rights, roles, projects, expires } = new;
        Self { id: text.id.clone(), hash: text.hash(), name, rights, roles, projects, created, expires, revision: 1 }
    }

    /// Tells whether the token has not expired.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Tells whether the token may do everything.
    pub(super) fn is_admin(&self) -> bool {
        let by_role = self.roles.iter().any(|grant| grant.role.rights().contains(&Right::Admin));
        by_role || self.rights.contains(&Right::Admin)
    }

    /// Returns what the token may do where.
    pub(super) fn access(&self) -> Arc<[Access]> {
        let own = Access { rights: self.rights.clone(), projects: self.projects.clone() };
        let roles = self.roles.iter().map(|grant| Access {
            rights: grant.role.rights().iter().copied().collect(),
            projects: grant.project.clone().map(|project| vec![project]).or_else(|| self.projects.clone()),
        });
        std::iter::once(own).chain(roles).collect()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            schema: 1,
            hash: URL_SAFE_NO_PAD.encode(self.hash),
            name: self.name.clone(),
            rights: self.rights.clone(),
            roles: self.roles.clone(),
            projects: self.projects.clone(),
            created: self.created,
            expires: self.expires,
        };
        // A struct of strings and numbers always serializes.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    pub(super) fn from_row(row: &StateRow) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(&row.value).ok()?;
        let hash = URL_SAFE_NO_PAD.decode(&stored.hash).ok()?.try_into().ok()?;
        let Stored { name, rights, roles, projects, created, expires, .. } = stored;
        Some(Self {
            id: row.key.clone(),
            hash,
            name,
            rights,
            roles,
            projects,
            created,
            expires,
            revision: row.revision,
        })
    }
}
