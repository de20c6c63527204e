// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd tls-setup`.

use std::path::PathBuf;

use super::help;
use crate::credentials::host_names::HostNames;

/// Create certificates for trying TLS between a few hosts
///
/// A temporary authority signs a certificate for each host, valid for a year, and is then discarded:
/// nobody can add a host later, renew a certificate or revoke one. For that, have your own authority
/// sign. Each host gets a folder below DIR with QEMU's files, for --tls-dir and for QEMU's
/// tls-creds-x509 alike.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(EXAMPLES, &[&help::LOOKS]))]
pub(crate) struct TlsSetupArgs {
    /// A host, by the name or address that others connect to, or by several separated by commas; may
    /// be repeated, once for each host
    #[arg(long, value_name = "NAME[,NAME...]", required = true)]
    pub(crate) host: Vec<HostNames>,
    /// The folder to create; it must not exist
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
    multifd tls-setup credentials \\
      --host source,192.0.2.1 \\
      --host destination,192.0.2.7";
