// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What becomes of the migrations of a relay, and who is told.

use std::sync::Arc;

use multifd_core::Error;
use multifd_migration::RelayReport;

use super::Relaying;
use super::board::Posted;
use super::entrance::Refusal;
use super::passage::Passage;
use super::plan::Plan;
use super::report::PassageReport;
use crate::show::exit_code::ExitCode;
use crate::show::log::{self, Identity};
use crate::show::tell;

impl Relaying<'_> {
    /// Connections of a source that are no migration.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        let identity = self.identify(refusal.uuid, Some(refusal.peer));
        self.failed(&identity, &refusal.failure().into());
    }

    /// A migration can be asked about.
    pub(super) fn post(&self, passage: &Passage) {
        let Plan {
            incoming, outgoing, ..
        } = &*self.plan;
        self.board.begin(Posted {
            identity: Arc::clone(&passage.identity),
            handle: passage.relay.handle(),
            methods: [incoming.name(), outgoing.name()],
        });
    }

    /// One of several has failed.
    pub(super) fn failed(&self, identity: &Arc<Identity>, error: &anyhow::Error) {
        self.board
            .end(identity, tell::record(identity, error), false);
        tell::failure_of(identity, error, self.args.json);
    }

    /// Reports a migration that has ended; answers how the command ends, if it does.
    pub(super) fn ended(
        &mut self,
        number: usize,
        result: Result<Box<RelayReport>, Error>,
    ) -> anyhow::Result<Option<ExitCode>> {
        self.progress = None;
        let Some(Passage { identity, .. }) = self.passages.remove(&number) else {
            return Ok(None);
        };
        let more = self.args.keep_listening;
        match result {
            Ok(report) => {
                let report =
                    PassageReport::new(&report, &identity, &self.plan, self.address.clone());
                self.board.end(&identity, report.brief(), true);
                log::within(&identity, || {
                    tell::printed(report.print(self.args.json, more))
                });
                Ok((!more).then_some(ExitCode::Ok))
            }
            Err(error) if more => {
                self.failed(&identity, &error.into());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
