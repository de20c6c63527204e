// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a relay is to do with each migration.

use std::sync::Arc;
use std::time::Duration;

use migration_params::{Settings, ZeroPageDetection};
use multifd_core::{MultifdMethods, Registry};
use multifd_migration::{Relay, RelayConfig, method_options};

use super::turn::Turns;
use crate::args::{AdaptArgs, RelayArgs, Switch};
use crate::ends::processors::ChannelThreads;
use crate::ends::{methods, settings};
use crate::net::tls::{ClientSide, ServerSide};
use crate::net::uri::Uri;
use crate::show::failure::Failure;
use crate::show::log::Named;

/// The two sides, as they are for every migration.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) config: RelayConfig,
    /// The methods of the two sides.
    pub(super) incoming: Arc<dyn MultifdMethods>,
    pub(super) outgoing: Arc<dyn MultifdMethods>,
    /// The destination.
    pub(super) to: Uri,
    /// With the source.
    pub(super) tls: ServerSide,
    /// With the destination.
    pub(super) outgoing_tls: ClientSide,
    /// Where the channels' threads run.
    adapt: AdaptArgs,
    /// How long to wait for the destination to listen.
    pub(super) wait: Duration,
    /// The connections of one migration are made one after the other: a relay on the other side sees by
    /// that which of them belong together.
    pub(super) connecting: Turns,
}

impl Plan {
    /// Checks the arguments and opens the methods.
    ///
    /// # Errors
    /// A wrong setting, or one that a relay has nothing to do with; a method that cannot be opened.
    pub(super) fn new(args: &RelayArgs) -> anyhow::Result<Self> {
        let incoming = settings::effective(&args.incoming)?;
        let outgoing = settings::effective(&args.outgoing)?;
        if outgoing.parameters.zero_page_detection == ZeroPageDetection::Legacy {
            let what = "--out zero-page-detection=legacy is not for a relay: it finds zero pages in \
                        packets (multifd) or not at all (none)";
            return Err(Failure::usage(what).into());
        }
        let registry = methods::registry()?;
        let host = methods::host(&registry);
        incoming.check_incoming(methods::TRANSPORT, &host)?;
        outgoing.check_migrate(methods::TRANSPORT, &host)?;
        let mut config = RelayConfig::with_parameters(&incoming.parameters, &outgoing.parameters);
        config.forwarder.uuid = args.uuid;
        config.forwarder.page_size = args.page_size;
        config.forwarder.limits = args.limits();
        config.forwarder.adapt = args.adapt.config();
        let (tls, outgoing_tls) =
            credentials(args, (&incoming, &outgoing), &args.to, args.limits().init)?;
        Ok(Self {
            tls,
            outgoing_tls,
            config,
            incoming: method(args, &registry, &incoming)?,
            outgoing: method(args, &registry, &outgoing)?,
            to: args.to.clone(),
            adapt: args.adapt.clone(),
            wait: args.wait,
            connecting: Turns::default(),
        })
    }

    /// The same with what the files with certificates and keys are now, and those of `args`.
    ///
    /// # Errors
    /// They cannot be used.
    pub(super) fn reloaded(&self, args: &RelayArgs) -> anyhow::Result<Self> {
        let incoming = settings::effective(&args.incoming)?;
        let outgoing = settings::effective(&args.outgoing)?;
        let limit = self.config.forwarder.limits.init;
        let (tls, outgoing_tls) = credentials(args, (&incoming, &outgoing), &self.to, limit)?;
        Ok(Self {
            tls,
            outgoing_tls,
            ..self.clone()
        })
    }

    /// A relay for one migration, which runs on these threads.
    pub(super) fn relay(&self, threads: &Named) -> Relay {
        let mut config = self.config.clone();
        let threads = ChannelThreads::new(&self.adapt, threads.clone());
        config.forwarder.threads = Arc::new(threads);
        Relay::new(
            config,
            Arc::clone(&self.incoming),
            Arc::clone(&self.outgoing),
        )
    }
}

/// The method of a side.
fn method(
    args: &RelayArgs,
    registry: &Registry,
    settings: &Settings,
) -> anyhow::Result<Arc<dyn MultifdMethods>> {
    let parameters = &settings.parameters;
    let options = args.accelerator.options(method_options(parameters));
    let method = registry.open(parameters.multifd_compression.name(), &options)?;
    methods::tell(&*method, args.quiet);
    Ok(method)
}

/// Where a relay listens and where it connects are not the same.
///
/// # Errors
/// They are.
pub(super) fn check_ends(listening: &[Uri], to: &Uri) -> Result<(), Failure> {
    match listening.contains(to) {
        true => Err(Failure::usage(format!(
            "--listen and --to are both {to}: it would connect to itself"
        ))),
        false => Ok(()),
    }
}

/// Who a relay is to each side, and whom it wants there.
fn credentials(
    args: &RelayArgs,
    (incoming, outgoing): (&Settings, &Settings),
    to: &Uri,
    limit: Duration,
) -> Result<(ServerSide, ClientSide), Failure> {
    let Switch(verify_peer) = args.tls.tls_verify_peer;
    Ok((
        ServerSide::new(&incoming.parameters, verify_peer, limit)?,
        ClientSide::new(&outgoing.parameters, "--out", to, limit)?,
    ))
}
