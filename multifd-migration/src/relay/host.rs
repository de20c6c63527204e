// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a relay wants of its host.

use multifd_core::ChannelId;
use multifd_core::transport::Transport;
use multifd_core::wire::Uuid;

use crate::HostError;
use crate::stream::{AnnouncedBlock, Configuration};

/// What a relay wants of the host.
pub trait RelayHost {
    /// Makes a connection to the destination. Called first for the main connection, with `None`, when
    /// the source has made its own and a channel at least; then for each channel to the destination.
    /// `uuid` is the VM's, as the source says. The connection can be [duplicated](Transport::duplicate)
    /// if it is the main one.
    ///
    /// # Errors
    /// The destination cannot be reached; the source's connections are closed.
    fn connect(
        &mut self,
        uuid: Uuid,
        channel: Option<ChannelId>,
    ) -> Result<Box<dyn Transport>, HostError>;

    /// The source has said what it sends, so it has made all of its connections. Called once, before
    /// any page: the last moment to say no.
    ///
    /// # Errors
    /// The host does not want this guest to pass, or knows of connections that the source has made and
    /// that belong to no channel.
    fn announced(
        &mut self,
        configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<(), HostError> {
        let _ = (configuration, blocks);
        Ok(())
    }
}
