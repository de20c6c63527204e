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

impl ExitCode {
    /// Every status.
    pub(crate) const ALL: [Self; 10] = [
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

    /// What it means, for the help texts.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "success",
            Self::Local => "this side failed: a file, memory, a limit of the system",
            Self::Usage => "an argument or a setting was refused",
            Self::Peer => {
                "the peer sent something invalid, is configured differently, or refused the guest"
            }
            Self::Connection => {
                "the connection could not be made, broke, or was silent for too long"
            }
            Self::Device => "an accelerator, its driver or its library failed",
            Self::Differs => "the memory that arrived is not what was sent",
            Self::InDoubt => {
                "in doubt: the destination may have the guest; look there before starting it anywhere"
            }
            Self::Kept => "kept: all of the guest is here, but the source has not released it",
            Self::Interrupted => "ended by SIGINT (Ctrl-C), SIGTERM or multifd cancel",
        }
    }

    /// The status that a child process of this command has ended with; `None` if it is none of these,
    /// or if a signal has killed it.
    pub(crate) fn of_child(status: ExitStatus) -> Option<Self> {
        Self::ALL
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
