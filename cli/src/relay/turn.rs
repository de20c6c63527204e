//! Taking turns.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Something that one at a time may do.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<(Mutex<bool>, Condvar)>);

/// Somebody's turn, until it is dropped.
pub(super) struct Turn(Turns);

impl Turns {
    /// Waits for a turn.
    pub(super) fn take(&self) -> Turn {
        let mut taken = self.lock();
        while *taken {
            let (_, freed) = &*self.0;
            taken = freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Turn(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        let (taken, _) = &*self.0;
        taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.lock() = false;
        let (_, freed) = &*self.0.0;
        freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn one_at_a_time() {
        let (turns, inside) = (Turns::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _turn = turns.take();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
