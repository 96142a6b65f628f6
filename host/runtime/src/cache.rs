//! Compiled components on disk, so that a restart does not compile them again.
//!
//! An entry is machine code that runs with the host's rights. So the folder and each file must belong to this user and
//! be writable by nobody else, each entry carries a checksum, and its name says which bytes, which engine settings and
//! which wasmtime it is for; whatever does not fit is compiled afresh. Never reads machine code from anywhere else.

use std::hash::{Hash as _, Hasher as _};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::RuntimeError;

/// The exact wasmtime. What it writes into an entry tells only major versions apart.
const WASMTIME_VERSION: &str = "48.0.8";
/// Bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;
/// Length of the checksum at the start of an entry.
const CHECKSUM_BYTES: usize = 32;

/// A folder of compiled components.
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Opens the folder, and makes it where it is missing.
    ///
    /// # Errors
    /// Somebody else owns the folder or may write to it.
    pub(crate) fn open(folder: &Path) -> Result<Self, RuntimeError> {
        let unusable = |reason: String| RuntimeError::Cache { path: folder.to_owned(), reason };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| unusable(format!("it cannot be made: {error}")))?;
        let metadata = std::fs::metadata(folder).map_err(|error| unusable(error.to_string()))?;
        if let Some(reason) = distrust(&metadata) {
            return Err(unusable(format!("{reason}; run `chmod 700` on it as its owner, or remove it")));
        }
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, engine: &Engine, digest: &str) -> PathBuf {
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let digest = digest.trim_start_matches("sha256:");
        self.folder.join(format!("{digest}-{:016x}-{WASMTIME_VERSION}.bin", hasher.finish()))
    }

    /// Returns the compiled component, or `None` if there is no entry that can be trusted.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(engine, digest);
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .ok()?;
        if let Some(reason) = distrust(&file.metadata().ok()?) {
            tracing::warn!(path = %path.display(), reason, "CacheEntryRefused");
            return None;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let (checksum, code) = bytes.split_at_checked(CHECKSUM_BYTES)?;
        if Sha256::digest(code).as_slice() != checksum {
            tracing::warn!(path = %path.display(), reason = "the checksum does not fit", "CacheEntryRefused");
            return None;
        }
        deserialize(engine, code)
            .inspect_err(|error| tracing::warn!(path = %path.display(), reason = %error, "CacheEntryRefused"))
            .ok()
    }

    /// Stores a compiled component. A failure costs time at the next start and nothing else, so it is only logged.
    pub(crate) fn store(&self, engine: &Engine, digest: &str, component: &Component) {
        if let Err(error) = self.write(engine, digest, component) {
            tracing::warn!(folder = %self.folder.display(), reason = %error, "CacheEntryWriteError");
        }
    }

    fn write(&self, engine: &Engine, digest: &str, component: &Component) -> std::io::Result<()> {
        let code = component.serialize().map_err(|error| std::io::Error::other(format!("{error:#}")))?;
        // A temporary file has mode 0600; the name appears only when the content is whole.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&Sha256::digest(&code))?;
        file.write_all(&code)?;
        file.as_file().sync_all()?;
        file.persist(self.path(engine, digest)).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Says why a folder or file cannot be trusted with machine code.
fn distrust(metadata: &std::fs::Metadata) -> Option<&'static str> {
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Some("it belongs to another user");
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Some("others may write to it");
    }
    None
}

#[expect(unsafe_code, reason = "the code cache; why it is sound stands in the comment inside")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be what `Component::serialize` wrote. They lie in a folder and a file that only this user
    // may write, both checked before, and their checksum fits, so they are what `Cache::write` stored; wasmtime itself
    // refuses another engine's settings and another major version, the file's name all other versions. A user who can
    // forge such a file can as well replace this program.
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn component(engine: &Engine) -> Component {
        Component::from_binary(engine, &wat::parse_str("(component)").unwrap()).unwrap()
    }

    #[test]
    fn the_name_of_an_entry_says_the_exact_wasmtime() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"")));
    }

    #[test]
    fn an_entry_is_read_back_and_a_damaged_or_shared_one_is_not() {
        let engine = Engine::default();
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        assert!(cache.load(&engine, "sha256:00").is_none());
        cache.store(&engine, "sha256:00", &component(&engine));
        assert!(cache.load(&engine, "sha256:00").is_some());
        let path = cache.path(&engine, "sha256:00");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
        assert!(cache.load(&engine, "sha256:00").is_none());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(cache.load(&engine, "sha256:00").is_some());

        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(cache.load(&engine, "sha256:00").is_none());
        std::fs::write(&path, b"short").unwrap();
        assert!(cache.load(&engine, "sha256:00").is_none());
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(folder.path()).err().unwrap();
        assert!(error.to_string().contains("others may write"), "{error}");
    }

    #[test]
    fn a_link_in_place_of_an_entry_is_not_followed() {
        let engine = Engine::default();
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.store(&engine, "sha256:00", &component(&engine));
        std::os::unix::fs::symlink(cache.path(&engine, "sha256:00"), cache.path(&engine, "sha256:01")).unwrap();
        assert!(cache.load(&engine, "sha256:01").is_none());
    }
}
