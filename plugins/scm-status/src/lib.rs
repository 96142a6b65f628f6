//! The plugin `scm-status`: observer of evaluations; tells the commit of each what it came to.
//!
//! Which commit that is, the labels of the run say. Only the order of steps is here: `status` (event → what to tell) →
//! `api` (the request, and what its answer means).

pub mod api;
pub mod status;

use std::time::Duration;

use pilothouse_sdk::{Context, Event, Failure, Handler, Outcome, log, settings};
use serde_json::Value;

use crate::status::{Settings, Told};

/// Longest wait for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

struct ScmStatus;

impl Handler for ScmStatus {
    fn handle(_ctx: &Context, event: Event) -> Result<Outcome, Failure> {
        let settings: Settings = settings()?;
        let data: Value = event.json()?;
        match status::read(&event.ty, &data, &settings) {
            Told::Status(status) => {
                let response = api::request(&status, settings.api).timeout(CALL_TIMEOUT).send()?;
                api::taken(&response)?;
            }
            Told::Nothing(why) => log::info!("nothing is told: {why}"),
        }
        Ok(Outcome::none())
    }
}

pilothouse_sdk::plugin!(ScmStatus);
