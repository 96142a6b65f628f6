//! What the tests of this crate share.

use std::path::Path;

/// Compares a published file with what the code makes; with `PILOTHOUSE_UPDATE=1` writes it anew instead.
pub(crate) fn same_as_file(path: &Path, text: &str) {
    if std::env::var_os("PILOTHOUSE_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        published == text,
        "{} is out of date; run the tests of this crate with PILOTHOUSE_UPDATE=1",
        path.display()
    );
}
