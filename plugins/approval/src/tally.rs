//! Where a request stands: whom it has, whom it needs, and how it ends.

use pilothouse_sdk::Finished;
use serde_json::json;

use crate::request::{Decision, Open, Verdict};

/// Longest comment in a message, in characters.
const COMMENT_CHARS_MAX: usize = 300;

impl Open {
    /// Counts what somebody decided. The newest decision of each counts, so nobody counts twice.
    pub fn add(&mut self, decision: Decision) {
        self.decisions.retain(|earlier| earlier.actor != decision.actor);
        self.decisions.push(decision);
    }

    fn approvals(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|it| it.decision == Verdict::Approve)
    }

    /// Returns the end, if what was decided is enough for one: one no, or as many as are needed who say yes.
    pub fn end(&self) -> Option<Finished> {
        let finished = if let Some(no) = self.decisions.iter().find(|it| it.decision == Verdict::Decline) {
            Finished::fail(format!("declined by {}", said(no)))
        } else if self.approvals().count() >= usize::try_from(self.quorum).unwrap_or(usize::MAX) {
            Finished::pass(format!("approved by {}", self.names()))
        } else {
            return None;
        };
        Some(finished.output(&json!({ "decisions": self.decisions })))
    }

    /// Returns the end of a request that nobody ended in time.
    pub fn expired(&self) -> Finished {
        Finished::fail(format!("expired: {}", self.standing())).output(&json!({ "decisions": self.decisions }))
    }

    /// Says where the request stands.
    pub fn standing(&self) -> String {
        let given = self.approvals().count();
        let by = if given == 0 { String::new() } else { format!(", by {}", self.names()) };
        format!("{given} of {} approvals{by}", self.quorum)
    }

    fn names(&self) -> String {
        self.approvals().map(said).collect::<Vec<_>>().join(", ")
    }
}

/// Returns who decided, and what they said.
fn said(decision: &Decision) -> String {
    let comment: String = decision.comment.trim().chars().take(COMMENT_CHARS_MAX).collect();
    if comment.is_empty() { decision.actor.clone() } else { format!("{} (\u{201c}{comment}\u{201d})", decision.actor) }
}

#[cfg(test)]
mod tests {
    use pilothouse_sdk::TaskResult;

    use super::*;

    fn open(quorum: u32) -> Open {
        Open { quorum, expires_at: 0, reminder: None, decisions: Vec::new() }
    }

    fn by(actor: &str, decision: Verdict) -> Decision {
        Decision { actor: actor.to_owned(), decision, comment: String::new(), time: String::new() }
    }

    #[test]
    fn as_many_different_people_as_are_needed_approve() {
        let mut request = open(2);
        request.add(by("token:ann", Verdict::Approve));
        request.add(by("token:ann", Verdict::Approve));
        assert_eq!(request.end().map(|end| end.message), None, "the same person counts once");
        assert_eq!(request.standing(), "1 of 2 approvals, by token:ann");
        request.add(Decision { comment: "looks good".to_owned(), ..by("token:ben", Verdict::Approve) });
        let end = request.end().unwrap();
        assert_eq!(end.result, TaskResult::Pass);
        assert_eq!(end.message, "approved by token:ann, token:ben (\u{201c}looks good\u{201d})");
    }

    #[test]
    fn one_person_who_declines_is_enough_and_who_approved_may_change_their_mind() {
        let mut request = open(3);
        request.add(by("token:ann", Verdict::Approve));
        request.add(by("token:ann", Verdict::Decline));
        let end = request.end().unwrap();
        assert_eq!((end.result, end.message.as_str()), (TaskResult::Fail, "declined by token:ann"));
    }

    #[test]
    fn a_request_that_expires_says_how_far_it_came() {
        assert_eq!(open(2).expired().message, "expired: 0 of 2 approvals");
    }
}
