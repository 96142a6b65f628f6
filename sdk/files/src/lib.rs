//! The files of a project as plain data, and what their authors did wrong; and the rules by which an SLO judges values.
//!
//! Each format has a module with a `read` that gives what the file says and every problem in it, with line and column. The
//! host, its command line and the plugins all read with these, so that a file means the same to each of them. The JSON
//! Schemas in `docs/schemas` say the same to editors; a test keeps the two in step.
//!
//! Pure: no I/O, no clock, nothing asynchronous. Small enough for a component.
//!
//! Never here: where files come from, and what several files mean together.
#![forbid(unsafe_code)]

pub mod criterion;
pub mod evaluation;
pub mod gate;
pub mod in_step;
pub mod jobs;
mod member;
pub mod monitoring;
pub mod name;
pub mod place;
pub mod quantity;
pub mod query;
pub mod remediation;
pub mod result;
pub mod shipyard;
pub mod sli;
pub mod slo;
pub mod suggest;
pub mod webhooks;
pub mod workload;
pub mod yaml;

use crate::yaml::Position;

/// A name in a file, and where it stands, so that a problem found elsewhere can point at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub at: Position,
}
