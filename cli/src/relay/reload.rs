// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a relay reads again while it runs.

use std::time::Duration;

use anyhow::anyhow;

use super::plan::Plan;
use crate::args::{Command, RelayArgs};
use crate::config::{Given, InForce, Reading, Unusable};
use crate::net::allowed::Allowed;
use crate::net::uri::Uri;
use crate::show::log::SERVICE;
use crate::show::tell;

/// Where options come from, and what they are.
pub(super) struct Options<'g> {
    given: &'g Given,
    in_force: InForce,
    /// Where the relay listens.
    addresses: Vec<Uri>,
}

/// What may be another thing from one migration to the next.
pub(super) struct Changeable {
    pub(super) grace: Duration,
    pub(super) max_migrations: usize,
}

/// All that was read again.
pub(super) struct Reloaded {
    pub(super) plan: Plan,
    pub(super) allowed: Allowed,
    pub(super) changeable: Changeable,
}

impl Changeable {
    pub(super) fn new(args: &RelayArgs) -> Self {
        Self {
            grace: args.grace,
            max_migrations: args.max_migrations.get(),
        }
    }
}

impl<'g> Options<'g> {
    pub(super) fn new(given: &'g Given, in_force: &InForce, addresses: Vec<Uri>) -> Self {
        Self {
            given,
            in_force: in_force.clone(),
            addresses,
        }
    }

    /// Reads the file, certificates and keys again, and says what is another thing than in `plan` and before; nothing if they
    /// cannot be used: then all stays as it was.
    pub(super) fn reload(&mut self, plan: &Plan) -> Option<Reloaded> {
        match self.read(plan) {
            Ok((reloaded, in_force)) => {
                ::log::info!(target: SERVICE, "the certificates have been read again");
                for change in self.in_force.changes(&in_force) {
                    match RELOADED.contains(&&*change.name) {
                        true => ::log::info!(target: SERVICE, "{change}"),
                        false => ::log::warn!(
                            target: SERVICE,
                            "{change}: that needs a restart, until then it stays as it was"
                        ),
                    }
                }
                self.in_force.take(&RELOADED, &in_force);
                Some(reloaded)
            }
            Err(error) => {
                let text = format!("the options and the certificates stay as they were: {error:#}");
                tell::logged(&error, &text);
                None
            }
        }
    }

    fn read(&self, plan: &Plan) -> anyhow::Result<(Reloaded, InForce)> {
        let Reading { args, in_force } = self.given.read().map_err(|error| match error {
            Unusable::File(failure) => failure.into(),
            Unusable::CommandLine(error) => anyhow!("{error}"),
        })?;
        let Command::Relay(args) = args.command else {
            return Err(anyhow!("the command line is that of another command"));
        };
        let reloaded = Reloaded {
            plan: plan.reloaded(&args)?,
            allowed: args.allow.at(&self.addresses)?,
            changeable: Changeable::new(&args),
        };
        Ok((reloaded, in_force))
    }
}

/// The options that can change while a relay runs.
const RELOADED: [&str; 9] = [
    "allow",
    "allow-uid",
    "grace",
    "in.tls-authz",
    "in.tls-creds",
    "max-migrations",
    "out.tls-creds",
    "out.tls-hostname",
    "tls-verify-peer",
];
