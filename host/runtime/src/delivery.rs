//! `pilothouse:plugin/delivery`: what a guest is told about the delivery in hand, and `emit`.

use std::time::{Duration, Instant};

use pilothouse_core::delivery::Cause as CoreCause;
use wasmtime::component::{HasSelf, Linker, Resource};

use crate::bindings::pilothouse::plugin::delivery::{self, Cause, EmitError, TaskInfo};
use crate::bindings::pilothouse::plugin::event as wit;
use crate::call::CallContext;
use crate::state::State;
use crate::{event, outcome, services};

/// Events that one call may emit. Progress is for people; more than one a second is noise.
const EMITTED_MAX: u32 = 64;

/// The context of a call, lent to the guest for the time of the call.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Context {
    pub(crate) call: CallContext,
    /// When the host stops the call.
    pub(crate) deadline: Instant,
}

impl State {
    fn context(&self, context: &Resource<Context>) -> wasmtime::Result<&CallContext> {
        Ok(&self.table.get(context)?.call)
    }

    async fn emit_checked(&mut self, event: wit::Event) -> Result<(), EmitError> {
        if self.emitted >= EMITTED_MAX {
            return Err(EmitError::QuotaExceeded);
        }
        if !self.manifest.may_emit(&event.type_) {
            let ty = crate::log::escape(&event.type_, 120);
            self.log.remark(&format!("denied: emit of type `{ty}`: the manifest's `emits` does not list it"));
            return Err(EmitError::Denied);
        }
        let builder = event::from_guest(event).map_err(EmitError::Invalid)?;
        outcome::check_event(&builder).map_err(|error| EmitError::Invalid(error.to_string()))?;
        let index = self.emitted;
        // Counted before it is known to be stored: a store that fails is not asked without end.
        self.emitted = self.emitted.saturating_add(1);
        self.services.emit(index, builder).await.map_err(|error| match error {
            services::EmitError::Invalid(text) => EmitError::Invalid(text),
            services::EmitError::Unavailable(text) => EmitError::Unavailable(text),
        })
    }
}

impl wit::Host for State {}
impl delivery::Host for State {}

impl delivery::HostContext for State {
    async fn id(&mut self, context: Resource<Context>) -> wasmtime::Result<String> {
        Ok(self.context(&context)?.delivery.to_string())
    }

    async fn attempt(&mut self, context: Resource<Context>) -> wasmtime::Result<u32> {
        Ok(self.context(&context)?.attempt)
    }

    async fn task(&mut self, context: Resource<Context>) -> wasmtime::Result<Option<TaskInfo>> {
        Ok(self.context(&context)?.task.as_ref().map(|task| TaskInfo {
            name: task.name.to_string(),
            triggered_id: task.triggered_id.clone(),
            run: task.run.clone(),
            cause: match task.cause {
                CoreCause::Observed | CoreCause::Triggered => Cause::Triggered,
                CoreCause::WakeUp => Cause::WakeUp,
                CoreCause::JobEnded => Cause::JobEnded,
                CoreCause::TaskFinished => Cause::TaskFinished,
                CoreCause::Decided => Cause::Decided,
            },
        }))
    }

    async fn remaining_ms(&mut self, context: Resource<Context>) -> wasmtime::Result<u64> {
        let deadline = self.table.get(&context)?.deadline;
        let remaining = deadline.checked_duration_since(Instant::now()).unwrap_or(Duration::ZERO);
        Ok(u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX))
    }

    async fn traceparent(&mut self, context: Resource<Context>) -> wasmtime::Result<Option<String>> {
        Ok(self.context(&context)?.traceparent.clone())
    }

    async fn project(&mut self, context: Resource<Context>) -> wasmtime::Result<Option<String>> {
        Ok(self.context(&context)?.place.project.clone())
    }

    async fn stage(&mut self, context: Resource<Context>) -> wasmtime::Result<Option<String>> {
        Ok(self.context(&context)?.place.stage.clone())
    }

    async fn service(&mut self, context: Resource<Context>) -> wasmtime::Result<Option<String>> {
        Ok(self.context(&context)?.place.service.clone())
    }

    async fn commit(&mut self, context: Resource<Context>) -> wasmtime::Result<Option<String>> {
        Ok(self.context(&context)?.commit.clone())
    }

    async fn emit(&mut self, context: Resource<Context>, event: wit::Event) -> wasmtime::Result<Result<(), EmitError>> {
        self.table.get(&context)?;
        Ok(self.emit_checked(event).await)
    }

    async fn drop(&mut self, context: Resource<Context>) -> wasmtime::Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    delivery::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}
