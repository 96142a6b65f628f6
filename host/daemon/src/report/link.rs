//! Links that open one report for whoever has them, for a time, and nothing else: an HMAC over the report's id and the end of
//! that time. The key is made once, and lies in the store; who has the store has the reports anyway.
//!
//! Never here: what a report says.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pilothouse_core::time::Timestamp;
use pilothouse_store::{Batch, StateKey, StateWrite, Store, StoreError};
use serde::Serialize;
use sha2::Sha256;
use utoipa::ToSchema;

/// Kind of the state row that holds the key; its key is [`KEY_NAME`].
const KEY_KIND: &str = "report-key";
const KEY_NAME: &str = "current";
/// Length of the key, in bytes: that of the hash.
const KEY_BYTES: usize = 32;

/// All but the unreserved characters (RFC 3986 §2.3).
const OUTSIDE_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Makes and checks links; cheap to clone.
#[derive(Clone)]
pub struct ReportLinks(Arc<Inner>);

struct Inner {
    /// Keyed, and with nothing in it yet.
    mac: Hmac<Sha256>,
    /// Scheme, host and port, and a path where there is one; no slash at the end.
    base: ArcSwap<String>,
    age: Duration,
}

/// A link that opens one report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ReportLink {
    /// The address of the page.
    pub url: String,
    /// When it ends (RFC 3339).
    pub expires: String,
}

/// Why a link opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It is not one of this host's.
    #[error("this link was not made by this host, or was changed on the way")]
    Altered,
    /// Its time is over.
    #[error("this link has expired; ask for a new one with `pilothouse report open`")]
    Expired,
}

impl ReportLinks {
    /// Reads the key, or makes it. `base` is where people reach the host; links end `age` after they were made.
    ///
    /// # Errors
    /// The store refused or failed, or the system gives no random numbers.
    pub async fn open(store: &Arc<dyn Store>, now: Timestamp, base: &str, age: Duration) -> Result<Self, StoreError> {
        let row = StateKey::new(KEY_KIND, KEY_NAME);
        let read = |value: &[u8]| <[u8; KEY_BYTES]>::try_from(value).ok();
        let mut key = match store.state(&row).await? {
            Some(found) => read(&found.value),
            None => None,
        };
        if key.is_none() {
            let mut made = [0_u8; KEY_BYTES];
            getrandom::fill(&mut made)
                .map_err(|error| StoreError::Read(format!("the system gives no random numbers: {error}")))?;
            let mut batch = Batch::new(now);
            batch.states.push(StateWrite {
                key: row,
                revision: 0,
                value: Some(made.to_vec()),
                holds: None,
                holds_own_event: false,
            });
            store.commit(batch).await?;
            key = Some(made);
        }
        let mac = key.and_then(|key| Hmac::<Sha256>::new_from_slice(&key).ok());
        let mac = mac.ok_or_else(|| StoreError::Read("the key of report links has another length".to_owned()))?;
        Ok(Self(Arc::new(Inner { mac, base: ArcSwap::from_pointee(trimmed(base)), age })))
    }

    /// Says where people reach the host, once that is known.
    pub fn set_base(&self, base: &str) {
        self.0.base.store(Arc::new(trimmed(base)));
    }

    /// Makes a link to the report of the task `id`.
    pub fn make(&self, id: &str, now: Timestamp) -> ReportLink {
        let expires = now.after(self.0.age);
        let seconds = expires.as_millis() / 1_000;
        let signature = URL_SAFE_NO_PAD.encode(self.mac(id, seconds).finalize().into_bytes());
        let base = self.0.base.load();
        let id = utf8_percent_encode(id, OUTSIDE_A_SEGMENT);
        ReportLink {
            url: format!("{base}/reports/{id}?expires={seconds}&signature={signature}"),
            expires: expires.to_string(),
        }
    }

    /// Checks what a link says of itself.
    ///
    /// # Errors
    /// It is another's, was changed, or has expired.
    pub fn check(&self, id: &str, expires: i64, signature: &str, now: Timestamp) -> Result<(), LinkError> {
        let given = URL_SAFE_NO_PAD.decode(signature).map_err(|_| LinkError::Altered)?;
        // Compares in constant time.
        self.mac(id, expires).verify_slice(&given).map_err(|_| LinkError::Altered)?;
        if now.as_millis() / 1_000 >= expires { Err(LinkError::Expired) } else { Ok(()) }
    }

    fn mac(&self, id: &str, expires: i64) -> Hmac<Sha256> {
        let mut mac = self.0.mac.clone();
        mac.update(format!("report\n{expires}\n{id}").as_bytes());
        mac
    }
}

fn trimmed(base: &str) -> String {
    base.trim_end_matches('/').to_owned()
}
