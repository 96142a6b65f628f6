//! What an import tells people.

use serde::Serialize;

/// Most notes of an import; what comes after them is counted. Nobody reads thousands.
pub const NOTES_MAX: usize = 1_000;

/// Longest message of a note, in bytes: a job template or a file of some hundred lines.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What a note means for whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteSeverity {
    /// It was translated, and has changed in the way that is told.
    Translated,
    /// It was left out or left as it is; nothing has to be done.
    Left,
    /// It was not translated, or not all of it: a person has to do something.
    NotTranslated,
}

/// Something that people should know of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What it is about: `<branch>:<path>` in the repository that was read, or `<path>` in the project.
    pub path: String,
    /// What it means.
    pub severity: NoteSeverity,
    /// What happened and what to do, perhaps with text to be used elsewhere, in several lines.
    pub message: String,
}

/// Collects notes, each once.
#[derive(Default)]
pub(super) struct Notes {
    notes: Vec<Note>,
    more: usize,
    quiet: bool,
}

impl Notes {
    /// Adds a note.
    pub(super) fn add(&mut self, path: &str, severity: NoteSeverity, message: impl Into<String>) {
        if self.quiet {
            return;
        }
        if self.notes.len() >= NOTES_MAX {
            self.more = self.more.saturating_add(1);
            return;
        }
        let mut message: String = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        let note = Note { path: path.to_owned(), severity, message };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Hears nothing until told otherwise: for what was noted before.
    pub(super) fn hush(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Returns the notes, in the order of their paths.
    pub(super) fn finish(mut self) -> Vec<Note> {
        self.notes.sort_by(|one, other| one.path.cmp(&other.path));
        if self.more > 0 {
            let message = format!("{} more notes are not shown; correct what is shown and import again", self.more);
            self.notes.push(Note { path: String::new(), severity: NoteSeverity::NotTranslated, message });
        }
        self.notes
    }
}
