//! The contract, on SQLite.

use super::*;

crate::store_contract!(async {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig { reserve_bytes: 0, ..SqliteConfig::new(folder.path().join("store.db")) };
    (SqliteStore::open(config).unwrap(), folder)
});
