//! `wasi:keyvalue/store`: state that survives between deliveries.
//!
//! Writes are kept here and become part of the call's effects, so that they are committed with the outcome or not at
//! all; a guest reads its own writes. Never writes to the store.

use std::collections::BTreeMap;
use std::ops::Bound;

use wasmtime::component::{HasSelf, Linker, Resource};

use crate::bindings::wasi::keyvalue::store::{self, Error, KeyResponse};
use crate::state::State;

/// Longest key, in bytes: a path of names fits.
const KEY_BYTES_MAX: usize = 512;
/// Longest value, in bytes; as large as an event. Larger things belong in `outputs` or outside.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Writes of one call, repeats of a key included; each is a row in one commit.
const WRITES_MAX: usize = 256;
/// Bytes written by one call, keys included; as much as its events, and part of the same commit.
const WRITTEN_BYTES_MAX: usize = 4 << 20;
/// Keys of one page of a listing.
const PAGE_KEYS: usize = 100;
/// Pages that one call may list; the host remembers where each one ended.
const PAGES_MAX: usize = 1_000;

/// The one bucket that there is, named "" or `default`; which installation and project it belongs to is the engine's
/// matter.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket;

/// What a call has written.
#[derive(Default)]
pub(crate) struct Writes {
    values: BTreeMap<String, Option<Vec<u8>>>,
    count: usize,
    bytes: usize,
    /// Where each page ended; a cursor is a position here.
    pages: Vec<String>,
}

impl Writes {
    /// Takes the writes as effects, in key order.
    pub(crate) fn into_effects(self) -> Vec<(String, Option<Vec<u8>>)> {
        self.values.into_iter().collect()
    }

    fn put(&mut self, key: String, value: Option<Vec<u8>>) -> Result<(), Error> {
        let size = key.len().saturating_add(value.as_ref().map_or(0, Vec::len));
        let bytes = self.bytes.saturating_add(size);
        if self.count >= WRITES_MAX {
            return Err(other(format!("one call may write {WRITES_MAX} times")));
        }
        if bytes > WRITTEN_BYTES_MAX {
            return Err(other(format!("one call may write {WRITTEN_BYTES_MAX} bytes")));
        }
        self.count = self.count.saturating_add(1);
        self.bytes = bytes;
        self.values.insert(key, value);
        Ok(())
    }

    /// Lays the call's own writes over a page of committed keys. `end` is the last committed key of a page that is
    /// followed by another.
    fn overlay(&self, committed: Vec<String>, after: Option<&str>, end: Option<&str>) -> Vec<String> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_owned()));
        let to = end.map_or(Bound::Unbounded, |end| Bound::Included(end.to_owned()));
        let mut keys: std::collections::BTreeSet<String> = committed.into_iter().collect();
        for (key, value) in self.values.range((from, to)) {
            if value.is_some() {
                keys.insert(key.clone());
            } else {
                keys.remove(key);
            }
        }
        keys.into_iter().collect()
    }
}

fn other(text: impl Into<String>) -> Error {
    Error::Other(text.into())
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(other(format!("a key has 1 to {KEY_BYTES_MAX} bytes; this one has {}", key.len())));
    }
    Ok(())
}

impl State {
    fn check_key_value_grant(&self) -> Result<(), Error> {
        if self.grants.keyvalue {
            return Ok(());
        }
        self.log
            .remark(&format!("denied: wasi:keyvalue: add keyvalue = true to the grants of `{}`", self.installation));
        Err(Error::AccessDenied)
    }

    async fn read(&mut self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        check_key(key)?;
        if let Some(written) = self.writes.values.get(key) {
            return Ok(written.clone());
        }
        self.services.key_value(key).await.map_err(Error::Other)
    }

    async fn list(&mut self, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        let after = match cursor {
            None => None,
            Some(cursor) => Some(
                usize::try_from(cursor)
                    .ok()
                    .and_then(|cursor| self.writes.pages.get(cursor))
                    .cloned()
                    .ok_or_else(|| other("the cursor is not one of this call"))?,
            ),
        };
        let committed = self.services.keys(after.as_deref(), PAGE_KEYS).await.map_err(Error::Other)?;
        let end = if committed.len() >= PAGE_KEYS { committed.last().cloned() } else { None };
        let keys = self.writes.overlay(committed, after.as_deref(), end.as_deref());
        let cursor = match end {
            Some(end) if self.writes.pages.len() < PAGES_MAX => {
                self.writes.pages.push(end);
                u64::try_from(self.writes.pages.len()).ok().map(|len| len.saturating_sub(1))
            }
            Some(_) => return Err(other(format!("one call may list {PAGES_MAX} pages"))),
            None => None,
        };
        Ok(KeyResponse { keys, cursor })
    }
}

impl store::Host for State {
    async fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, Error>> {
        if let Err(error) = self.check_key_value_grant() {
            return Ok(Err(error));
        }
        if !matches!(identifier.as_str(), "" | "default") {
            return Ok(Err(Error::NoSuchStore));
        }
        Ok(Ok(self.table.push(Bucket)?))
    }
}

impl store::HostBucket for State {
    async fn get(
        &mut self,
        _bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(self.read(&key).await)
    }

    async fn set(
        &mut self,
        _bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        if let Err(error) = check_key(&key) {
            return Ok(Err(error));
        }
        if value.len() > VALUE_BYTES_MAX {
            let text = format!("a value has at most {VALUE_BYTES_MAX} bytes; this one has {}", value.len());
            return Ok(Err(other(text)));
        }
        Ok(self.writes.put(key, Some(value)))
    }

    async fn delete(&mut self, _bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<(), Error>> {
        Ok(check_key(&key).and_then(|()| self.writes.put(key, None)))
    }

    async fn exists(&mut self, _bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<bool, Error>> {
        Ok(self.read(&key).await.map(|value| value.is_some()))
    }

    async fn list_keys(
        &mut self,
        _bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> wasmtime::Result<Result<KeyResponse, Error>> {
        Ok(self.list(cursor).await)
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(list: &[&str]) -> Vec<String> {
        list.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn a_listing_shows_the_calls_own_writes_where_they_belong() {
        let mut writes = Writes::default();
        for (key, value) in [("a", Some(vec![])), ("c", None), ("d", Some(vec![])), ("z", Some(vec![]))] {
            writes.put(key.to_owned(), value).unwrap();
        }
        assert_eq!(writes.overlay(keys(&["b", "c", "e"]), None, Some("e")), keys(&["a", "b", "d", "e"]));
        assert_eq!(writes.overlay(keys(&["x"]), Some("e"), None), keys(&["x", "z"]));
    }

    #[test]
    fn writes_are_bounded_in_number_and_bytes() {
        let mut writes = Writes::default();
        for _ in 0..WRITES_MAX {
            writes.put("k".to_owned(), None).unwrap();
        }
        assert!(writes.put("k".to_owned(), None).is_err());
        let mut writes = Writes::default();
        for _ in 0..3 {
            writes.put("k".to_owned(), Some(vec![0; VALUE_BYTES_MAX])).unwrap();
        }
        assert!(writes.put("k".to_owned(), Some(vec![0; VALUE_BYTES_MAX])).is_err());
        assert!(check_key("").is_err() && check_key(&"k".repeat(513)).is_err() && check_key("k").is_ok());
    }
}
