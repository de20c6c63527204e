// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What signals do to a relay that is left running.

use std::sync::Arc;
use std::time::Instant;

use super::Relaying;
use super::reload::Reloaded;
use crate::ends::interrupt::Wish;
use crate::show::log::SERVICE;

impl Relaying<'_> {
    /// Does what a signal wants.
    pub(super) fn heed(&mut self, wish: Wish) {
        match wish {
            Wish::End => {
                self.entrance.stop();
                let grace = self.changeable.grace;
                self.supervisor.stopping(grace);
                self.end = Instant::now().checked_add(grace);
                self.board.set_ending(self.end);
                let (left, seconds) = (self.passages.len(), grace.as_secs_f32());
                if left > 0 {
                    ::log::info!(
                        target: SERVICE,
                        "takes no more migrations; {left} under way may go on for {seconds} s, and another signal \
                         cancels them"
                    );
                }
            }
            Wish::Cancel => {
                self.end = Some(Instant::now());
                self.board.set_ending(self.end);
            }
            Wish::Reload => self.reload(),
        }
    }

    /// Reads again what may have changed; what is under way keeps what it has.
    fn reload(&mut self) {
        let is_ending = self.end.is_some();
        if !is_ending {
            self.supervisor.reloading();
        }
        if let Some(reloaded) = self.options.reload(&self.plan) {
            let Reloaded {
                plan,
                allowed,
                changeable,
            } = reloaded;
            self.plan = Arc::new(plan);
            self.entrance.set_tls(self.plan.tls.clone());
            self.entrance.take_only(allowed);
            self.changeable = changeable;
            self.board.set_most(self.changeable.max_migrations);
        }
        if !is_ending {
            self.supervisor.ready();
        }
    }
}
