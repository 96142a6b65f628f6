//! State that survives between deliveries, per installation and project.
//!
//! Writes are kept back until the delivery settles: if the call fails, none happens. A call reads its own writes.
//! Needs `[keyvalue]` in the manifest and the grant.

use crate::shim::bindings::wasi::keyvalue::store;
use crate::{Failure, INSIDE_COMPONENT, OUTSIDE, reject, retry};

/// The one bucket that the host has for an installation.
const BUCKET: &str = "default";

/// Why the state could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not granted, or not asked for in the manifest.
    Denied,
    /// Anything else, in the host's words.
    Other(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied => f.write_str("key-value state is not granted: grant `keyvalue = true`"),
            Self::Other(reason) => write!(f, "key-value state failed: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied => reject(error.to_string()),
            Error::Other(_) => retry(error.to_string()),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::AccessDenied | store::Error::NoSuchStore => Self::Denied,
            store::Error::Other(reason) => Self::Other(reason),
        }
    }
}

fn bucket() -> Result<store::Bucket, Error> {
    if !INSIDE_COMPONENT {
        return Err(Error::Other(OUTSIDE.to_owned()));
    }
    Ok(store::open(BUCKET)?)
}

/// Returns the value of a key.
///
/// # Errors
/// Not granted, or the host could not read it.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(bucket()?.get(key)?)
}

/// Sets the value of a key when the delivery settles.
///
/// # Errors
/// Not granted, or too large.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
    Ok(bucket()?.set(key, value.as_ref())?)
}

/// Removes a key when the delivery settles; nothing happens when it is not there.
///
/// # Errors
/// Not granted.
pub fn delete(key: &str) -> Result<(), Error> {
    Ok(bucket()?.delete(key)?)
}

/// Returns all keys; asks the host as often as it takes, so keep few.
///
/// # Errors
/// Not granted, or the host could not read them.
pub fn keys() -> Result<Vec<String>, Error> {
    let bucket = bucket()?;
    let mut keys = Vec::new();
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor)?;
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(keys);
        }
    }
}
