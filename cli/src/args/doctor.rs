// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd doctor`.

use std::path::PathBuf;

use super::LibraryArgs;
use super::help::{self, OUTPUT};

/// Check what this host offers for each method, and how to fix what is unusable
///
/// It lists the methods with what would do their work, devices, libraries, and the system. Each
/// finding is ok, missing or unusable, and `do:` is the next thing to do. It needs no privileges:
/// what this user may not read is a finding, too.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(EXAMPLES, &[&help::LOOKS]))]
pub(crate) struct DoctorArgs {
    /// A folder with the /sys, /proc, /dev, /etc and libraries of another host [default: this host's]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) libraries: LibraryArgs,
    /// Check a folder with credentials instead, for --tls-dir or for QEMU's tls-creds-x509
    ///
    /// Dates, names, issuers, key usage, whether each key belongs to its certificate, what is
    /// revoked, and the subject of each certificate as --tls-authz expects it.
    #[arg(long, value_name = "DIR", conflicts_with = "root")]
    pub(crate) tls_dir: Option<PathBuf>,
    /// Print the findings as a JSON object
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
    multifd doctor
    multifd doctor \\
      --tls-dir /etc/pki/multifd

The exit status does not depend on the
findings.";
