//! Requests from tools that speak no CloudEvents: who may send them, and what they become.
//!
//! [`verify`] checks the caller before anything of the body is looked at; [`mapping`] makes events of the body.

pub mod mapping;
pub mod verify;

pub use mapping::{MapError, Mapping, Seen};
pub use verify::{Refusal, Request, Verification};
