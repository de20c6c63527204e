// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the command tells the shell.

use std::process::{ExitStatus, Termination};

use multifd_core::Fault;

/// The status that the process ends with. Its numbers are part of the command's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// All went well.
    Ok = 0,
    /// Something on this side: a file, memory, a limit of the system.
    Local = 1,
    /// The arguments, or a setting that is refused.
    Usage = 2,
    /// The peer sent what it must not send, is set up differently, or could not take the guest.
    Peer = 3,
    /// The connection could not be made, broke, or was silent for too long.
    Connection = 4,
    /// An accelerator, its driver or its library.
    Device = 5,
    /// Memory arrived that is not what was sent.
    Differs = 6,
    /// A source does not know whether the destination has the guest.
    InDoubt = 7,
    /// A destination has all of the guest, and the source has not released it.
    Kept = 8,
    /// A signal asked for the end.
    Interrupted = 130,
}

/// The table of the help texts.
pub(crate) const HELP: &str = "\
Exit status:
    0  all went well
    1  this side: a file, memory, a limit of the system
    2  the arguments, or a setting that is refused
    3  the peer: it sent what it must not send, is set up differently, or refused the guest
    4  the connection could not be made, broke, or was silent for too long
    5  an accelerator, its driver or its library
    6  demo, bench: the memory that arrived is not what was sent
    7  in doubt: the destination may have the guest; look there before it runs anywhere
    8  kept: all of the guest is here, but the source has not released it
  130  ended by SIGINT (Ctrl-C) or SIGTERM, or by multifd cancel";

impl ExitCode {
    /// The status that a child process of this command has ended with; `None` if it is none of these,
    /// or if a signal has killed it.
    pub(crate) fn of_child(status: ExitStatus) -> Option<Self> {
        let codes = [
            Self::Ok,
            Self::Local,
            Self::Usage,
            Self::Peer,
            Self::Connection,
            Self::Device,
            Self::Differs,
            Self::InDoubt,
            Self::Kept,
            Self::Interrupted,
        ];
        codes
            .into_iter()
            .find(|code| status.code() == Some(*code as i32))
    }
}

impl From<Fault> for ExitCode {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Peer => Self::Peer,
            Fault::Connection => Self::Connection,
            Fault::Device => Self::Device,
            Fault::Aborted => Self::Interrupted,
            _ => Self::Local,
        }
    }
}

impl Termination for ExitCode {
    fn report(self) -> std::process::ExitCode {
        (self as u8).into()
    }
}
