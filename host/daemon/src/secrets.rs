//! Stored secrets: encrypted at rest, written and never read back through the API, used by connections and upstreams only.
//!
//! Each is a state row of kind `secret`: XChaCha20-Poly1305 with a random nonce, the secret's name as associated data, so that
//! rows cannot be exchanged. The key is in a file or an environment variable, never in the store and never in a backup.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use pilothouse_core::name::{ConnectionName, SecretName};
use pilothouse_core::right::Actor;
use pilothouse_store::{Batch, StateKey, StateRow, StateWrite, Store, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::{ConnectionConfig, SecretTexts};
use crate::engine::clock::Clock;

/// Kind of the state rows of secrets; the key is the name.
const SECRET_KIND: &str = "secret";
/// Version of the serialized form.
const SCHEMA: u32 = 1;
/// Length of the key, in bytes.
const KEY_BYTES: usize = 32;
/// Length of a nonce, in bytes.
const NONCE_BYTES: usize = 24;
/// Longest secret, in bytes: a private key of 16,384 bits is under 13 KiB.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// Environment variable that holds the key, as Base64 of 32 bytes.
pub const KEY_VARIABLE: &str = "PILOTHOUSE_SECRETS_KEY";
/// File in the data folder that holds the key unless the configuration or the environment names another.
pub const KEY_FILE: &str = "secrets.key";
/// Most secrets.
pub const SECRETS_MAX: usize = 10_000;

/// Why a secret could not be stored or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is no such secret.
    #[error("there is no secret `{0}`; store it with `pilothouse secret set {0}`")]
    NotFound(String),
    /// The text cannot be a secret.
    #[error("{0}")]
    Invalid(String),
    /// The key is missing, or is not the one that it was stored with.
    #[error("{0}")]
    Key(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A secret, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// When it was stored last (RFC 3339).
    pub updated: String,
    /// Who stored it.
    pub actor: String,
}

/// The secrets of a host.
pub struct Secrets {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    key: Key,
}

enum Key {
    /// Where it is read from, or made at the first use.
    File(PathBuf, tokio::sync::OnceCell<XChaCha20Poly1305>),
    /// As the environment gave it.
    Given(Box<XChaCha20Poly1305>),
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    schema: u32,
    nonce: String,
    sealed: String,
    actor: String,
}

impl Secrets {
    /// Makes the secrets of a store. The key is in the environment variable [`KEY_VARIABLE`], else in `key_file`, which is made
    /// with access for the owner only when the first secret is stored.
    ///
    /// # Errors
    /// The variable does not hold a key.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, key_file: PathBuf) -> Result<Self, SecretError> {
        let key = match std::env::var(KEY_VARIABLE) {
            Ok(text) => Key::Given(Box::new(cipher(&text, &format!("the environment variable {KEY_VARIABLE}"))?)),
            Err(_) => Key::File(key_file, tokio::sync::OnceCell::new()),
        };
        Ok(Self { store, clock, key })
    }

    async fn cipher(&self, make: bool) -> Result<&XChaCha20Poly1305, SecretError> {
        match &self.key {
            Key::Given(cipher) => Ok(cipher),
            Key::File(path, cell) => cell.get_or_try_init(|| async { read_or_make(path, make) }).await,
        }
    }

    /// Stores a secret, or replaces it.
    ///
    /// # Errors
    /// It is empty or too long, the key cannot be used, or the store refused.
    pub async fn set(&self, name: &SecretName, text: &str, actor: &Actor) -> Result<(), SecretError> {
        if text.trim().is_empty() || text.len() > SECRET_BYTES_MAX {
            return Err(SecretError::Invalid(format!("a secret has 1 to {SECRET_BYTES_MAX} bytes")));
        }
        let row = self.row(name).await?;
        if row.is_none() && self.store.states(SECRET_KIND, None, SECRETS_MAX).await?.len() >= SECRETS_MAX {
            return Err(SecretError::Invalid(format!("there are {SECRETS_MAX} secrets already")));
        }
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)
            .map_err(|error| SecretError::Key(format!("the system gives no random bytes: {error}")))?;
        let payload = Payload { msg: text.as_bytes(), aad: name.as_str().as_bytes() };
        let sealed = self.cipher(true).await?.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| SecretError::Invalid("the secret cannot be encrypted".to_owned()))?;
        let stored = Stored {
            schema: SCHEMA,
            nonce: STANDARD.encode(nonce),
            sealed: STANDARD.encode(sealed),
            actor: actor.as_str().to_owned(),
        };
        // Strings and numbers always serialize.
        let value = serde_json::to_vec(&stored).unwrap_or_default();
        self.write(name, row.map_or(0, |row| row.revision), Some(value)).await
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// There is none of this name, or the store refused.
    pub async fn remove(&self, name: &SecretName) -> Result<(), SecretError> {
        let row = self.row(name).await?.ok_or_else(|| SecretError::NotFound(name.to_string()))?;
        self.write(name, row.revision, None).await
    }

    /// Lists the secrets in the order of their names, without their texts.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn list(&self) -> Result<Vec<SecretView>, SecretError> {
        let rows = self.store.states(SECRET_KIND, None, SECRETS_MAX).await?;
        let view = |row: &StateRow| {
            let stored: Stored = serde_json::from_slice(&row.value).ok()?;
            Some(SecretView { name: row.key.clone(), updated: row.updated.to_string(), actor: stored.actor })
        };
        Ok(rows.iter().filter_map(view).collect())
    }

    /// Returns a secret's text, for the host's own use.
    ///
    /// # Errors
    /// There is none of this name, or the key is not the one that it was stored with. Never says the text.
    pub async fn reveal(&self, name: &SecretName) -> Result<String, SecretError> {
        let row = self.row(name).await?.ok_or_else(|| SecretError::NotFound(name.to_string()))?;
        let damaged = || SecretError::Key(format!("the secret `{name}` is damaged; store it again"));
        let stored: Stored = serde_json::from_slice(&row.value).map_err(|_| damaged())?;
        let nonce: [u8; NONCE_BYTES] =
            STANDARD.decode(&stored.nonce).ok().and_then(|nonce| nonce.try_into().ok()).ok_or_else(damaged)?;
        let sealed = STANDARD.decode(&stored.sealed).map_err(|_| damaged())?;
        let payload = Payload { msg: &sealed, aad: name.as_str().as_bytes() };
        let opened = self.cipher(false).await?.decrypt(&XNonce::from(nonce), payload).map_err(|_| {
            SecretError::Key(format!(
                "the secret `{name}` was stored with another key; store it again, or bring the key back"
            ))
        })?;
        String::from_utf8(opened).map_err(|_| damaged())
    }

    /// Reads the secrets that connections sign in with.
    pub async fn of_connections(&self, entries: &BTreeMap<ConnectionName, ConnectionConfig>) -> SecretTexts {
        let mut texts = SecretTexts::new();
        for name in entries.values().filter_map(ConnectionConfig::stored_secret) {
            let text = self.reveal(name).await.map_err(|error| error.to_string());
            texts.insert(name.clone(), text.map(|text| text.trim().to_owned()));
        }
        texts
    }

    async fn row(&self, name: &SecretName) -> Result<Option<StateRow>, SecretError> {
        Ok(self.store.state(&StateKey::new(SECRET_KIND, name.as_str())).await?)
    }

    async fn write(&self, name: &SecretName, revision: u64, value: Option<Vec<u8>>) -> Result<(), SecretError> {
        let mut batch = Batch::new(self.clock.now());
        let key = StateKey::new(SECRET_KIND, name.as_str());
        batch.states.push(StateWrite { key, revision, value, holds: None, holds_own_event: false });
        Ok(self.store.commit(batch).await.map(|_| ())?)
    }
}

fn cipher(text: &str, place: &str) -> Result<XChaCha20Poly1305, SecretError> {
    let key: Option<[u8; KEY_BYTES]> = STANDARD.decode(text.trim()).ok().and_then(|key| key.try_into().ok());
    let key = key.ok_or_else(|| {
        SecretError::Key(format!(
            "{place} does not hold a key: it is Base64 of {KEY_BYTES} bytes (`openssl rand -base64 32`)"
        ))
    })?;
    Ok(XChaCha20Poly1305::new(&key.into()))
}

fn read_or_make(path: &Path, make: bool) -> Result<XChaCha20Poly1305, SecretError> {
    let shown = path.display();
    match std::fs::read_to_string(path) {
        Ok(text) => return cipher(&text, &format!("the file `{shown}`")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && make => {}
        Err(error) => {
            return Err(SecretError::Key(format!("the key of the secrets cannot be read from `{shown}`: {error}")));
        }
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key)
        .map_err(|error| SecretError::Key(format!("the system gives no random bytes: {error}")))?;
    let text = STANDARD.encode(key);
    write_key(path, &text)
        .map_err(|error| SecretError::Key(format!("the key of the secrets cannot be written to `{shown}`: {error}")))?;
    tracing::info!(path = %shown, "SecretsKeyMade");
    cipher(&text, &format!("the file `{shown}`"))
}

fn write_key(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use pilothouse_store::memory::MemoryStore;

    use super::*;
    use crate::engine::clock::SystemClock;

    fn secrets(store: &Arc<MemoryStore>, key: PathBuf) -> Secrets {
        Secrets::new(Arc::clone(store) as _, Arc::new(SystemClock), key).unwrap()
    }

    #[tokio::test]
    async fn a_secret_comes_back_only_with_its_key_and_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::new());
        let key = folder.path().join("secrets.key");
        let name = SecretName::new("git-token").unwrap();
        let first = secrets(&store, key.clone());
        first.set(&name, "s3cret-text", &Actor::token("ops")).await.unwrap();
        assert_eq!(first.reveal(&name).await.unwrap(), "s3cret-text");
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let row = store.state(&StateKey::new(SECRET_KIND, "git-token")).await.unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&row.value).contains("s3cret-text"));

        // Another process with the same key reads it; one with another key does not.
        assert_eq!(secrets(&store, key).reveal(&name).await.unwrap(), "s3cret-text");
        let other = folder.path().join("other.key");
        std::fs::write(&other, STANDARD.encode([7; KEY_BYTES])).unwrap();
        let refused = secrets(&store, other).reveal(&name).await.unwrap_err().to_string();
        assert!(refused.contains("another key") && !refused.contains("s3cret"), "{refused}");
        let missing = secrets(&store, folder.path().join("none")).reveal(&name).await.unwrap_err().to_string();
        assert!(missing.contains("cannot be read"), "{missing}");

        // A row that was copied to another name is not accepted.
        let mut batch = Batch::new(SystemClock.now());
        let (key, value) = (StateKey::new(SECRET_KIND, "stolen"), Some(row.value));
        batch.states.push(StateWrite { key, revision: 0, value, holds: None, holds_own_event: false });
        store.commit(batch).await.unwrap();
        assert!(first.reveal(&SecretName::new("stolen").unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn a_secret_can_be_replaced_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::new());
        let secrets = secrets(&store, folder.path().join("secrets.key"));
        let name = SecretName::new("a").unwrap();
        for text in ["one", "two"] {
            secrets.set(&name, text, &Actor::token("ops")).await.unwrap();
        }
        assert_eq!(secrets.reveal(&name).await.unwrap(), "two");
        let listed = secrets.list().await.unwrap();
        assert_eq!((listed.len(), listed[0].actor.as_str()), (1, "token:ops"));
        secrets.remove(&name).await.unwrap();
        assert!(matches!(secrets.reveal(&name).await, Err(SecretError::NotFound(_))));
        assert!(matches!(secrets.set(&name, "  ", &Actor::token("ops")).await, Err(SecretError::Invalid(_))));
    }
}
