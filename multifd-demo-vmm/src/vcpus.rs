// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The vCPUs' threads: they run, are paused and throttled together.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vmm_sys_util::signal::{Killable as _, SIGRTMIN, register_signal_handler};

use crate::Error;
use crate::devices::Ports;
use crate::vcpu::{Exit, Vcpu};

/// All vCPUs of a machine, with a thread each. They are paused at first.
pub(crate) struct Vcpus {
    shared: Arc<Shared>,
    vcpus: Vec<Arc<Mutex<Box<dyn Vcpu>>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads are told, and what they tell.
struct Shared {
    ports: Arc<Ports>,
    state: Mutex<State>,
    changed: Condvar,
    /// Share of the time that is taken away, in percent.
    throttle: AtomicU8,
}

struct State {
    wanted: Wanted,
    /// vCPUs that do not run.
    paused: usize,
    failure: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Run,
    Pause,
    End,
}

impl Vcpus {
    pub(crate) fn new(vcpus: Vec<Box<dyn Vcpu>>, ports: Arc<Ports>) -> Result<Self, Error> {
        register_signal_handler(SIGRTMIN(), on_signal).map_err(|error| {
            let error = std::io::Error::from_raw_os_error(error.errno());
            Error::host("take a signal for vCPUs")(error)
        })?;
        let shared = Arc::new(Shared {
            ports,
            state: Mutex::new(State {
                wanted: Wanted::Pause,
                paused: vcpus.len(),
                failure: None,
            }),
            changed: Condvar::new(),
            throttle: AtomicU8::new(0),
        });
        let vcpus = vcpus.into_iter().map(|vcpu| Arc::new(Mutex::new(vcpu)));
        let mut this = Self {
            shared,
            vcpus: vcpus.collect(),
            threads: Vec::new(),
        };
        for (number, vcpu) in this.vcpus.iter().enumerate() {
            let (shared, vcpu) = (Arc::clone(&this.shared), Arc::clone(vcpu));
            let thread = thread::Builder::new()
                .name(format!("vcpu-{number}"))
                .spawn(move || shared.thread(number, &vcpu))
                .map_err(Error::host("start the thread of a vCPU"))?;
            this.threads.push(thread);
        }
        Ok(this)
    }

    /// Lets all vCPUs run.
    pub(crate) fn resume(&self) {
        self.shared.ports.restart_clock();
        self.shared.lock().wanted = Wanted::Run;
        self.shared.changed.notify_all();
    }

    /// Whether they run, or are to.
    pub(crate) fn is_running(&self) -> bool {
        self.shared.lock().wanted == Wanted::Run
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.vcpus.len()
    }

    /// Stops all vCPUs, and returns when none runs any more.
    pub(crate) fn pause(&self) -> Result<(), Error> {
        self.stop(Wanted::Pause);
        match &self.shared.lock().failure {
            None => Ok(()),
            Some(what) => Err(Error::Config(what.clone())),
        }
    }

    /// Takes a share of the vCPUs' time away.
    pub(crate) fn throttle(&self, percent: u8) {
        let percent = percent.min(MOST_THROTTLE);
        self.shared.throttle.store(percent, Ordering::Relaxed);
    }

    /// Why a vCPU has stopped for good, if one has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.lock().failure.clone()
    }

    /// Each vCPU, which has to be paused.
    pub(crate) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Box<dyn Vcpu>>> {
        self.vcpus.iter().map(|vcpu| lock(&**vcpu))
    }

    fn stop(&self, wanted: Wanted) {
        let mut state = self.shared.lock();
        state.wanted = wanted;
        self.shared.changed.notify_all();
        while state.paused < self.threads.len() {
            // A signal ends KVM_RUN. One that comes just before it is lost, so it is sent again.
            for thread in &self.threads {
                // A thread that has ended needs none.
                let _ = thread.kill(SIGRTMIN());
            }
            let result = self.shared.changed.wait_timeout(state, SIGNAL_INTERVAL);
            state = result.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        self.stop(Wanted::End);
        for thread in self.threads.drain(..) {
            // A panic of a vCPU has been printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// What a vCPU's thread does.
    fn thread(&self, number: usize, vcpu: &Mutex<Box<dyn Vcpu>>) {
        while self.wait_run() {
            let mut vcpu = lock(vcpu);
            let result = self.run(&mut **vcpu).and_then(|halted| {
                vcpu.settle()?;
                Ok(halted)
            });
            drop(vcpu);
            let mut state = self.lock();
            let what = match result {
                Ok(false) => None,
                Ok(true) => Some(format!("vCPU {number} has halted")),
                Err(error) => Some(error.to_string()),
            };
            if what.is_some() {
                state.failure = state.failure.take().or(what);
                while state.wanted == Wanted::Run {
                    state.paused += 1;
                    state = self.wait(state);
                    state.paused -= 1;
                }
            }
            state.paused += 1;
            self.changed.notify_all();
        }
    }

    /// Runs until it is to stop; returns whether the guest has stopped by itself.
    fn run(&self, vcpu: &mut dyn Vcpu) -> Result<bool, Error> {
        loop {
            let start = Instant::now();
            match vcpu.run(&self.ports)? {
                Exit::Again => self.be_throttled(start),
                Exit::Idle => self.sleep(IDLE),
                Exit::Halted => return Ok(true),
            }
            if self.lock().wanted != Wanted::Run {
                return Ok(false);
            }
        }
    }

    /// Sleeps as long as the vCPU's share of the time wants for what it ran since `start`.
    fn be_throttled(&self, start: Instant) {
        let percent = self.throttle.load(Ordering::Relaxed);
        if percent > 0 {
            let share = f64::from(percent) / f64::from(100 - percent);
            self.sleep(start.elapsed().mul_f64(share));
        }
    }

    /// Sleeps, unless the vCPU is to stop.
    fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut state = self.lock();
        while state.wanted == Wanted::Run {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let result = self.changed.wait_timeout(state, left);
            state = result.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the vCPU may run; returns `false` at the end.
    fn wait_run(&self) -> bool {
        let mut state = self.lock();
        loop {
            match state.wanted {
                Wanted::Pause => state = self.wait(state),
                Wanted::End => return false,
                Wanted::Run => {
                    state.paused -= 1;
                    return true;
                }
            }
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let result = self.changed.wait(state);
        result.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A signal is only there to end `KVM_RUN`.
extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A vCPU without work looks for some so often.
const IDLE: Duration = Duration::from_millis(1);
/// Between two signals to a vCPU that is to stop.
const SIGNAL_INTERVAL: Duration = Duration::from_micros(100);
const MOST_THROTTLE: u8 = 99;
