// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who may connect, on the command line.

use crate::net::allowed::{Allowed, Network};
use crate::net::uri::Uri;
use crate::show::failure::Failure;

/// Who may connect to an address.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AllowArgs {
    /// Accept connections from these addresses only: an address or a network, such as 192.0.2.0/24;
    /// may be repeated [default: all]
    ///
    /// Others are closed at once and counted. This keeps out whoever cannot have such an address, but
    /// it identifies nobody: only TLS does.
    #[arg(long, value_name = "CIDR")]
    allow: Vec<Network>,
    /// Accept connections from these users only, by number, over a unix socket; may be repeated
    /// [default: all]
    ///
    /// As for --allow. The mode of the socket's folder keeps others from connecting at all.
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
}

impl AllowArgs {
    /// The rules for whoever connects to one of `addresses`.
    ///
    /// # Errors
    /// Rules of another kind of address.
    pub(crate) fn at(&self, addresses: &[Uri]) -> Result<Allowed, Failure> {
        Allowed::at(addresses, &self.allow, &self.allow_uid)
    }
}
