//! The plugins inside the program, so that one file is all that somebody has to download. `build.rs` says which.

/// A plugin inside the program: its name and its component.
pub type Bundled = (&'static str, &'static [u8]);

/// Every bundled plugin, in the order of their names.
static BUNDLE: &[Bundled] = include!(concat!(env!("OUT_DIR"), "/bundle.rs"));

/// Returns the bundled plugins in the order of their names. Empty when the program was built without them.
pub fn bundle() -> &'static [Bundled] {
    BUNDLE
}

/// Returns the component of the bundled plugin `name`.
pub fn find(name: &str) -> Option<&'static [u8]> {
    BUNDLE.iter().find(|(bundled, _)| *bundled == name).map(|(_, component)| *component)
}
