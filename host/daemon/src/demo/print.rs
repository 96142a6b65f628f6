//! What the demo writes to standard output: acts, events as they happen, and progress.
//!
//! On a terminal progress is one line that is written over; elsewhere it is a line every few seconds. Never decides
//! what happened.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two lines of progress where lines stay: a log of a long step is readable so.
const PLAIN_PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Widest progress: a line that wraps cannot be written over.
const PROGRESS_CHARS_MAX: usize = 76;
/// Longest text of an event: a person reads the first lines, and `pilothouse event get` has the rest.
const MESSAGE_CHARS_MAX: usize = 400;

/// Writes for a person, or for a file.
pub(super) struct Printer {
    live: bool,
    /// Events are not shown, because a command shows what happens.
    events_hidden: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// Whether the cursor stands behind a line of progress.
    progress_shown: bool,
    progress_printed: Option<Instant>,
}

/// An event, ready to be shown.
pub(super) struct EventLine<'a> {
    /// Position in the log.
    pub(super) seq: u64,
    /// When it was accepted, RFC 3339.
    pub(super) accepted: &'a str,
    /// Its type.
    pub(super) ty: &'a str,
    /// Who sent it.
    pub(super) who: &'a str,
    /// Its result or message, if it has one.
    pub(super) message: Option<&'a str>,
    /// The position of the event that it follows from.
    pub(super) cause: Option<u64>,
}

impl Printer {
    /// Makes a printer; `plain` asks for lines that stay also on a terminal.
    pub(super) fn new(plain: bool) -> Self {
        let live = !plain && std::io::stdout().is_terminal();
        let state = Mutex::new(State { progress_shown: false, progress_printed: None });
        Self { live, events_hidden: AtomicBool::new(false), state }
    }

    /// Hides events from now on, or shows them again.
    pub(super) fn hide_events(&self, hidden: bool) {
        self.events_hidden.store(hidden, Ordering::Relaxed);
    }

    /// Announces an act by one sentence.
    pub(super) fn act(&self, number: u32, sentence: &str) {
        let text = format!("\n{number}. {sentence}");
        self.line(&if self.live { format!("\x1b[1m{text}\x1b[0m") } else { text });
    }

    /// Says something inside an act.
    pub(super) fn note(&self, text: &str) {
        for line in text.lines() {
            self.line(&format!("   {}", clean(line)));
        }
    }

    /// Says that something happened as it must.
    pub(super) fn tick(&self, text: &str) {
        let mark = if self.live { "\x1b[32m✓\x1b[0m" } else { "✓" };
        self.line(&format!("   {mark} {}", clean(text)));
    }

    /// Says that something did not happen.
    pub(super) fn cross(&self, text: &str) {
        let mark = if self.live { "\x1b[31m✗\x1b[0m" } else { "✗" };
        self.line(&format!("   {mark} {}", clean(text)));
    }

    /// Shows an event.
    pub(super) fn event(&self, event: &EventLine<'_>) {
        if self.events_hidden.load(Ordering::Relaxed) {
            return;
        }
        let because = event.cause.map(|seq| format!("  because of #{seq}")).unwrap_or_default();
        let time = event.accepted.get(11..23).unwrap_or(event.accepted);
        let short = short_type(event.ty);
        let mut text =
            format!("   {time}  {:>4}  {short:<32} by {:<12}{because}", format!("#{}", event.seq), event.who);
        if let Some(message) = event.message {
            let cut: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
            text.push_str(&format!("\n                       {}", cut.replace('\n', " ")));
        }
        self.line(&text.lines().map(clean).collect::<Vec<_>>().join("\n"));
    }

    /// Says how far a long step is.
    pub(super) fn progress(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let cut: String = clean(text).chars().take(PROGRESS_CHARS_MAX).collect();
        let mut stdout = std::io::stdout().lock();
        // Nobody reads any more: that is no reason to stop tidying up.
        if self.live {
            let _ = write!(stdout, "\r\x1b[2K   … {cut}");
            let _ = stdout.flush();
            state.progress_shown = true;
        } else if state.progress_printed.is_none_or(|last| last.elapsed() >= PLAIN_PROGRESS_INTERVAL) {
            let _ = writeln!(stdout, "   … {cut}");
            state.progress_printed = Some(Instant::now());
        }
    }

    /// Writes a line as it is, in place of progress.
    pub(super) fn line(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stdout = std::io::stdout().lock();
        let over = if std::mem::take(&mut state.progress_shown) { "\r\x1b[2K" } else { "" };
        let _ = writeln!(stdout, "{over}{text}");
        let _ = stdout.flush();
    }
}

/// Takes away what would control the terminal: messages come from plugins.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Shortens a type to what tells events apart.
pub(super) fn short_type(ty: &str) -> &str {
    let ty = ["sh.keptn.event.", "dev.pilothouse."].iter().find_map(|prefix| ty.strip_prefix(prefix)).unwrap_or(ty);
    ty.strip_suffix(".v1").unwrap_or(ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_shown_without_what_all_types_share() {
        assert_eq!(short_type("sh.keptn.event.test.finished"), "test.finished");
        assert_eq!(short_type("dev.pilothouse.job.finished.v1"), "job.finished");
        assert_eq!(short_type("io.prometheus.test.reported.v1"), "io.prometheus.test.reported");
    }

    #[test]
    fn a_message_cannot_control_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\u{7}"), "a[31mb");
    }
}
