//! What SIGINT and SIGTERM do.

use std::sync::{Arc, Mutex, PoisonError};
use std::{io, process, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::show::exit_code::ExitCode;

/// Ends what is running when a signal asks for it. A second signal ends the process at once.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    interrupted: bool,
    action: Option<Box<dyn Fn() + Send>>,
}

impl Interrupt {
    /// Takes over the signals. As long as there is no [action](Self::on_signal), a signal ends the
    /// process.
    pub(crate) fn install() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let interrupt = Self(Arc::default());
        let watched = interrupt.clone();
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for _ in signals.forever() {
                    watched.signal();
                }
            })?;
        Ok(interrupt)
    }

    /// What the next signal does instead of ending the process.
    pub(crate) fn on_signal(&self, action: impl Fn() + Send + 'static) {
        self.state().action = Some(Box::new(action));
    }

    /// Whether a signal has come.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.state().interrupted
    }

    fn signal(&self) {
        let mut state = self.state();
        match &state.action {
            Some(action) if !state.interrupted => action(),
            _ => process::exit(ExitCode::Interrupted as i32),
        }
        state.interrupted = true;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
