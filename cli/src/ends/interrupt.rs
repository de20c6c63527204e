// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What SIGINT, SIGTERM and SIGHUP do.

use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io, process, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::show::exit_code::ExitCode;
use crate::show::output;
use crate::show::whereabouts::Whereabouts;

/// Ends what is running when a signal asks for it. A second signal ends the process at once.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What a signal has done, and so the status that the next one ends the process with.
    interrupted: Option<ExitCode>,
    action: Option<Box<dyn Fn() -> ExitCode + Send>>,
    /// What a service does instead, and how often it was told to end.
    service: Option<Box<dyn Fn(Wish) + Send>>,
    ends: usize,
}

/// What a signal wants of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// SIGINT and SIGTERM: that it ends, once what runs has ended.
    End,
    /// A second one of those: that what runs is cancelled.
    Cancel,
    /// SIGHUP: that it reads again what may have changed.
    Reload,
}

impl Interrupt {
    /// Takes over the signals. As long as there is no [action](Self::on_signal), a signal ends the
    /// process.
    pub(crate) fn install() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        if !is_ignored(SIGHUP) {
            signals.add_signal(SIGHUP)?;
        }
        // A file that may not become longer is an error like others then, and not the end of the process.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let interrupt = Self(Arc::default());
        let watched = interrupt.clone();
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    watched.signal(signal);
                }
            })?;
        Ok(interrupt)
    }

    /// What the next signal does instead of ending the process. It returns the status for one more.
    pub(crate) fn on_signal(&self, action: impl Fn() -> ExitCode + Send + 'static) {
        self.state().action = Some(Box::new(action));
    }

    /// What signals do to a service. A third one that is to end it ends the process at once.
    pub(crate) fn serve(&self, action: impl Fn(Wish) + Send + 'static) {
        self.state().service = Some(Box::new(action));
    }

    /// Whether a signal has come.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.state().interrupted.is_some()
    }

    fn signal(&self, signal: i32) {
        let mut state = self.state();
        if let Some(service) = &state.service {
            let wish = match (signal, state.ends) {
                (SIGHUP, _) => Wish::Reload,
                (_, 0) => Wish::End,
                (_, 1) => Wish::Cancel,
                _ => force(ExitCode::Interrupted),
            };
            service(wish);
            state.ends += usize::from(wish != Wish::Reload);
            return;
        }
        let ended = match (&state.action, state.interrupted) {
            (Some(action), None) => action(),
            (_, status) => force(status.unwrap_or(ExitCode::Interrupted)),
        };
        state.interrupted = Some(ended);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the process at once, and says where the guest may be.
fn force(status: ExitCode) -> ! {
    match status {
        ExitCode::InDoubt => output::message(format_args!("{}", Whereabouts::InDoubt.sentence())),
        ExitCode::Kept => output::message(format_args!("{}", Whereabouts::Kept.sentence())),
        _ => {}
    }
    process::exit(status as i32)
}

/// Whether whoever started this process has told it to ignore a signal, as `nohup` does with SIGHUP.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
