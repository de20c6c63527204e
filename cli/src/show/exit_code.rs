//! What the command tells the shell.

use std::process::{ExitStatus, Termination};

use migration_params::ParamError;
use multifd_core::method::RegistryError;
use multifd_core::{Error, Fault};

use crate::show::failure::Failure;

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
  130  ended by SIGINT (Ctrl-C) or SIGTERM";

impl ExitCode {
    /// The status for an error, by what is known of it.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(Self::of_cause)
            .unwrap_or(Self::Local)
    }

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
            Self::Interrupted,
        ];
        codes
            .into_iter()
            .find(|code| status.code() == Some(*code as i32))
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.code);
        }
        if let Some(error) = cause.downcast_ref::<Error>() {
            return Some(error.fault().into());
        }
        if let Some(error) = cause.downcast_ref::<RegistryError>() {
            return Some(match error {
                RegistryError::Open(error) => error.fault().into(),
                _ => Self::Usage,
            });
        }
        cause.is::<ParamError>().then_some(Self::Usage)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_code() {
        let of = |error: anyhow::Error| ExitCode::of(&error.context("more words"));
        assert_eq!(of(anyhow::anyhow!("disk full")), ExitCode::Local);
        for (fault, code) in [
            (Fault::Peer, ExitCode::Peer),
            (Fault::Connection, ExitCode::Connection),
            (Fault::Device, ExitCode::Device),
            (Fault::Caller, ExitCode::Local),
            (Fault::Aborted, ExitCode::Interrupted),
        ] {
            assert_eq!(of(Error::new(fault, "what").into()), code);
        }
        let setting = migration_params::Settings::default().set("multifd-zlib-level=10");
        assert_eq!(of(setting.unwrap_err().into()), ExitCode::Usage);
        assert_eq!(
            of(Failure::new(ExitCode::Peer, "what").into()),
            ExitCode::Peer
        );
    }
}
