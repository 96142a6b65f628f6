//! Bounds of one instance: memory summed over all of its memories, tables, and CPU time counted in ticks.
//!
//! wasmtime's own `StoreLimits` checks each memory alone, so a component of eight would get eight times its limit.

use std::time::Duration;

use wasmtime::{Store, UpdateDeadline};

use crate::state::State;
use pilothouse_core::grant::Limits as Granted;

/// How often the engine's epoch advances. A guest is charged one tick when it is met running after one.
///
/// Short enough for a guest in a loop to give way often; each tick costs a store of one integer.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Most elements of one table. JavaScript and Python guests need more than 5,000.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;
/// Most core instances of a component: Python guests have 14.
pub(crate) const CORE_INSTANCES_MAX: u32 = 32;
/// Most memories of a component: one for each module that is not an adapter.
pub(crate) const MEMORIES_MAX: u32 = 8;
/// Most tables of a component.
pub(crate) const TABLES_MAX: u32 = 16;
/// Bytes that one host call, or the result, may copy between guest and host: an outcome of 4 MiB twice over.
const HOSTCALL_BYTES_MAX: usize = 8 << 20;
/// Live handles of a guest; without it a loop of `resource.new` fills the host's memory.
const HANDLES_MAX: usize = 4_096;
/// Live resources that the host holds for a guest: requests, bodies, streams.
pub(crate) const RESOURCES_MAX: usize = 4_096;
/// Random bytes of one call of `wasi:random`, which the host allocates.
pub(crate) const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Header fields of one request or response, as held in memory.
pub(crate) const FIELD_BYTES_MAX: usize = 32 << 10;

/// What an instance uses, against what it may use.
#[derive(Debug)]
pub(crate) struct Limits {
    memory_max: usize,
    memory: usize,
    memory_peak: usize,
    growth: usize,
    refused: Option<String>,
    ticks: u64,
    ticks_max: u64,
}

impl Limits {
    pub(crate) fn new(limits: &Granted, memory_ceiling: u64) -> Self {
        let memory_max = limits.memory_bytes_max.min(memory_ceiling);
        let ticks_max = limits.cpu.as_nanos().div_ceil(TICK.as_nanos());
        Self {
            memory_max: usize::try_from(memory_max).unwrap_or(usize::MAX),
            memory: 0,
            memory_peak: 0,
            growth: 0,
            refused: None,
            ticks: 0,
            ticks_max: u64::try_from(ticks_max).unwrap_or(u64::MAX).max(1),
        }
    }

    /// Returns CPU time charged so far.
    pub(crate) fn cpu(&self) -> Duration {
        TICK.saturating_mul(u32::try_from(self.ticks).unwrap_or(u32::MAX))
    }

    /// Returns the most memory that was in use at one time.
    pub(crate) fn memory_peak(&self) -> u64 {
        u64::try_from(self.memory_peak).unwrap_or(u64::MAX)
    }

    /// Says what was refused, if anything: the likely cause of a trap that followed.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    fn tick(&mut self) -> bool {
        self.ticks = self.ticks.saturating_add(1);
        self.ticks <= self.ticks_max
    }
}

impl wasmtime::ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let sum = self.memory.saturating_add(growth);
        if sum > self.memory_max {
            self.refused = Some(format!(
                "it asked for {} KiB of memory in all and may have {} KiB",
                sum >> 10,
                self.memory_max >> 10
            ));
            return Ok(false);
        }
        self.memory = sum;
        self.growth = growth;
        self.memory_peak = self.memory_peak.max(sum);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // Also called after a refusal above, which added nothing.
        self.memory = self.memory.saturating_sub(std::mem::take(&mut self.growth));
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= TABLE_ELEMENTS_MAX;
        if !allowed {
            self.refused =
                Some(format!("it asked for a table of {desired} elements and may have {TABLE_ELEMENTS_MAX}"));
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

/// Puts every bound on a new store. Without this call a store is not fit to run a guest.
pub(crate) fn apply(store: &mut Store<State>) {
    store.limiter(|state| &mut state.limits);
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    store.set_max_component_handles(HANDLES_MAX);
    store.data_mut().table.set_max_capacity(RESOURCES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        if !store.data_mut().limits.tick() {
            return Ok(UpdateDeadline::Interrupt);
        }
        // The plain yield wakes itself, and tokio then polls its timers only now and then: a time limit would come late.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::ResourceLimiter as _;

    fn limits(memory_bytes_max: u64) -> Limits {
        Limits::new(&Granted { memory_bytes_max, ..Granted::default() }, 1 << 30)
    }

    #[test]
    fn growth_that_failed_is_given_back_once() {
        let mut limits = limits(100);
        assert!(limits.memory_growing(0, 60, None).unwrap());
        limits.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert!(limits.memory_growing(0, 90, None).unwrap());
        assert!(!limits.memory_growing(0, 20, None).unwrap());
        limits.memory_growing(0, 5, None).unwrap();
        assert!(!limits.memory_growing(0, 6, None).unwrap());
    }

    #[test]
    fn the_smaller_of_limit_and_ceiling_holds() {
        let mut limits = Limits::new(&Granted { memory_bytes_max: 1 << 40, ..Granted::default() }, 10);
        assert!(!limits.memory_growing(0, 11, None).unwrap());
    }
}
