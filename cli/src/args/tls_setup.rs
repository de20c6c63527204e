// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd tls-setup`.

use std::path::PathBuf;

use crate::credentials::host_names::HostNames;

/// Make certificates for a first try with TLS between a few hosts
///
/// A private authority signs a certificate for each host, valid for a year, and is forgotten: nobody can add a
/// host later, renew a certificate or revoke one. For that, have your own authority sign. Each host gets a
/// folder below DIR with QEMU's files, for --tls-dir and for a QEMU's tls-creds-x509 alike.
#[derive(Debug, clap::Args)]
pub(crate) struct TlsSetupArgs {
    /// A host by the name or the address that others connect to, or several, joined by commas; to be
    /// repeated for each host
    #[arg(long, value_name = "NAME[,NAME...]", required = true)]
    pub(crate) host: Vec<HostNames>,
    /// The folder to make, which must not exist
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}
