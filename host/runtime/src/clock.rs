//! The clock that bounds guests' CPU time: advances the engine's epoch while a guest runs, and stands still otherwise, so
//! that a host without work costs nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread, park, park_timeout};
use std::time::Instant;

use wasmtime::{Engine, EngineWeak};

use crate::engine::RuntimeError;
use crate::limits::TICK;

/// Ticks without a guest after which the clock stands still: one second. Under load it never does, for waking it up is what
/// costs.
const IDLE_TICKS: u32 = 200;

/// Which guests run; what they and the clock share.
#[derive(Default)]
pub(crate) struct Running {
    guests: AtomicUsize,
    /// The clock stands still, or is about to.
    stands_still: AtomicBool,
    stopped: AtomicBool,
    clock: OnceLock<Thread>,
}

/// A guest that runs, until this is dropped.
pub(crate) struct RunningGuest(Arc<Running>);

impl Running {
    /// Says that a guest begins to run.
    pub(crate) fn enter(self: &Arc<Self>) -> RunningGuest {
        // Either the clock sees this guest before it stands still, or this sees that it does.
        self.guests.fetch_add(1, Ordering::SeqCst);
        if self.stands_still.swap(false, Ordering::SeqCst) {
            self.wake();
        }
        RunningGuest(Arc::clone(self))
    }

    fn wake(&self) {
        if let Some(clock) = self.clock.get() {
            clock.unpark();
        }
    }

    /// Waits for a guest.
    fn stand_still(&self) {
        loop {
            // Anew each time: a guest that was quick has taken it back and is gone.
            self.stands_still.store(true, Ordering::SeqCst);
            if self.guests.load(Ordering::SeqCst) > 0 || self.stopped.load(Ordering::SeqCst) {
                break;
            }
            park();
        }
        self.stands_still.store(false, Ordering::SeqCst);
    }

    /// Waits for the next tick, whatever wakes the thread before.
    fn wait(&self) {
        let begun = Instant::now();
        while let Some(left) = TICK.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            park_timeout(left);
        }
    }

    fn run(&self, engine: &EngineWeak) {
        let mut idle = 0_u32;
        while !self.stopped.load(Ordering::SeqCst) {
            self.wait();
            if self.guests.load(Ordering::SeqCst) > 0 {
                idle = 0;
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
                continue;
            }
            idle += 1;
            if idle >= IDLE_TICKS {
                self.stand_still();
                idle = 0;
            }
        }
    }
}

impl Drop for RunningGuest {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Advances the engine's epoch until it is dropped.
pub(crate) struct Clock {
    pub(crate) running: Arc<Running>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    /// Starts the clock on a thread of its own: a timer of the guests' runtime would stand still whenever they do.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(engine: &Engine) -> Result<Self, RuntimeError> {
        let running = Arc::new(Running::default());
        let (engine, shared) = (engine.weak(), Arc::clone(&running));
        let thread = std::thread::Builder::new()
            .name("guest-clock".to_owned())
            .spawn(move || shared.run(&engine))
            .map_err(RuntimeError::Threads)?;
        // Set before any guest can run.
        let _ = running.clock.set(thread.thread().clone());
        Ok(Self { running, thread: Some(thread) })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.running.stopped.store(true, Ordering::SeqCst);
        self.running.wake();
        if let Some(thread) = self.thread.take() {
            // The thread runs nothing that panics, and nothing depends on how it ended.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until the clock stands still, or no longer does.
    fn until(running: &Running, stands_still: bool) {
        let begun = Instant::now();
        while running.stands_still.load(Ordering::SeqCst) != stands_still {
            assert!(begun.elapsed().as_secs() < 60, "the clock does not change");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_clock_stands_still_without_a_guest_and_each_guest_wakes_it() {
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config).unwrap();
        let clock = Clock::start(&engine).unwrap();
        for _ in 0..3 {
            until(&clock.running, true);
            let guest = clock.running.enter();
            until(&clock.running, false);
            drop(guest);
        }
        until(&clock.running, true);
        drop(clock);
    }
}
