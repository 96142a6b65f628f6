//! Requests from tools that speak no CloudEvents: who may send them.
//!
//! [`verify`] checks the caller before anything of the body is looked at.

pub mod verify;

pub use verify::{Refusal, Request, Verification};
