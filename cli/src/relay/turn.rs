// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Taking turns.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Something with a name that one at a time may do.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<(Mutex<HashSet<String>>, Condvar)>);

/// Somebody's turn, until it is dropped.
pub(super) struct Turn(Turns, String);

impl Turns {
    /// Waits for a turn at `what`; `None` once that `is_cancelled`.
    pub(super) fn take(&self, what: &str, is_cancelled: &dyn Fn() -> bool) -> Option<Turn> {
        let mut taken = self.lock();
        while taken.contains(what) {
            if is_cancelled() {
                return None;
            }
            let (_, freed) = &*self.0;
            (taken, _) = freed
                .wait_timeout(taken, LOOK)
                .unwrap_or_else(PoisonError::into_inner);
        }
        taken.insert(what.to_owned());
        Some(Turn(self.clone(), what.to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        let (taken, _) = &*self.0;
        taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Self(turns, what) = self;
        turns.lock().remove(what);
        let (_, freed) = &*turns.0;
        freed.notify_all();
    }
}

/// How often to see whether it is cancelled.
const LOOK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const GO_ON: &dyn Fn() -> bool = &|| false;

    #[test]
    fn one_at_a_time() {
        let (turns, inside) = (Turns::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _turn = turns.take("it", &|| false);
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn somebody_waits_for_nobody_elses() {
        let turns = Turns::default();
        let _turn = turns.take("it", GO_ON);
        assert!(turns.take("another", GO_ON).is_some());
        assert!(turns.take("it", &|| true).is_none());
    }
}
