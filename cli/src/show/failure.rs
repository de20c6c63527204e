// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command's own error, and the exit status of any error.

use migration_params::ParamError;
use multifd_core::Error;
use multifd_core::method::RegistryError;
use multifd_migration::{DestinationFailure, SourceFailure};

use crate::show::exit_code::ExitCode;
use crate::show::whereabouts::Whereabouts;

/// An error of the command itself, with its exit status and perhaps what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Failure {
    pub(crate) code: ExitCode,
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
    /// Where the guest is, if the failure decides that.
    pub(crate) guest: Option<Whereabouts>,
}

impl Failure {
    pub(crate) fn new(code: ExitCode, what: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            hint: None,
            guest: None,
        }
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, what)
    }

    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// The exit status for an error, by what is known of it: first of all, where the guest is.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    match guest(error) {
        Some(Whereabouts::InDoubt) => return ExitCode::InDoubt,
        Some(Whereabouts::Kept | Whereabouts::NotStarted) => return ExitCode::Kept,
        _ => {}
    }
    let known = error.chain().find_map(of_cause);
    // What nothing is known of is this side's: a file, memory, a limit of the system.
    known.unwrap_or(ExitCode::Local)
}

/// Where the guest is after `error`; `None` if the error says nothing of it.
pub(crate) fn guest(error: &anyhow::Error) -> Option<Whereabouts> {
    error.chain().find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.guest;
        }
        if let Some(failure) = cause.downcast_ref::<SourceFailure>() {
            return Some(failure.guest.into());
        }
        let failure = cause.downcast_ref::<DestinationFailure>()?;
        Some(failure.guest.into())
    })
}

/// The engine's error, if `cause` is one or has one.
pub(crate) fn migration_error<'a>(
    cause: &'a (dyn std::error::Error + 'static),
) -> Option<&'a Error> {
    let source = cause.downcast_ref::<SourceFailure>();
    let destination = cause.downcast_ref::<DestinationFailure>();
    source
        .map(|failure| &failure.error)
        .or(destination.map(|failure| &failure.error))
        .or_else(|| cause.downcast_ref::<Error>())
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<ExitCode> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.code);
    }
    if let Some(error) = migration_error(cause) {
        return Some(error.fault().into());
    }
    if let Some(error) = cause.downcast_ref::<RegistryError>() {
        return Some(match error {
            RegistryError::Open(error) => error.fault().into(),
            _ => ExitCode::Usage,
        });
    }
    cause.is::<ParamError>().then_some(ExitCode::Usage)
}

#[cfg(test)]
mod tests {
    use multifd_core::Fault;

    use super::*;

    #[test]
    fn each_error_has_its_code() {
        let of = |error: anyhow::Error| exit_code(&error.context("more words"));
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
