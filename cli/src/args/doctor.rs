// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd doctor`.

use std::path::PathBuf;

use super::LibraryArgs;

/// Say what this host has for each method, and what to do about what cannot be used
///
/// Methods with what would do their work, devices, libraries, and the system. Each finding is ok, missing
/// or unusable, and `do:` is the one thing to do next. It needs no rights: what this user may not read is
/// a finding too. The exit status is 0 whatever is found.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// A folder with the /sys, /proc, /dev, /etc and libraries of another host [default: this host's]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) root: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) libraries: LibraryArgs,
    /// Look at a folder with credentials instead, of --tls-dir or of a QEMU's tls-creds-x509
    ///
    /// Dates, names, who has signed, usage, whether each key is that of its certificate, what is revoked, and the
    /// subject of each certificate as --tls-authz wants it.
    #[arg(long, value_name = "DIR", conflicts_with = "root")]
    pub(crate) tls_dir: Option<PathBuf>,
    /// Print the findings as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
