// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is known at the start, or is found out by the first who says it.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{self as queue, select_biased};

use crate::engine::control::{Control, Gate};

/// A value that threads wait for until somebody says what it is.
#[derive(Debug)]
pub(super) struct Known<T> {
    value: Arc<OnceLock<T>>,
    known: Gate,
}

impl<T: Copy + PartialEq> Known<T> {
    /// Known only when somebody [says](Self::or) it, whatever is given here.
    pub(super) fn new(value: Option<T>) -> Self {
        Self {
            value: Arc::new(value.map_or_else(OnceLock::new, OnceLock::from)),
            known: Gate::new(),
        }
    }

    /// Closed once somebody has said the value: to be selected on.
    pub(super) fn known(&self) -> &queue::Receiver<Infallible> {
        self.known.opened()
    }

    /// The value, if there is one yet.
    pub(super) fn value(&self) -> Option<T> {
        self.value.get().copied()
    }

    /// The value; `said` becomes it if there is none.
    pub(super) fn or(&self, said: T) -> T {
        let value = *self.value.get_or_init(|| said);
        if value == said {
            self.known.open();
        }
        value
    }

    /// Waits for the value, if there is none yet; `None` if the migration ends before.
    pub(super) fn wait(&self, control: &Control) -> Option<T> {
        if let Some(value) = self.value() {
            return Some(value);
        }
        select_biased! {
            recv(control.woken()) -> _ => None,
            recv(self.known()) -> _ => self.value(),
        }
    }

    /// Where the value is, or will be.
    pub(super) fn cell(&self) -> Arc<OnceLock<T>> {
        Arc::clone(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn the_first_word_counts() {
        let known = Known::new(None);
        assert_eq!((known.value(), known.or(1), known.or(2)), (None, 1, 1));
        let control = Control::new();
        assert_eq!(known.wait(&control), Some(1));
        assert_eq!(Known::new(Some(7)).wait(&control), Some(7));
    }

    #[test]
    fn nobody_waits_after_the_end() {
        let control = Control::new();
        control.fail(Error::aborted());
        assert_eq!(Known::<u8>::new(None).wait(&control), None);
    }
}
