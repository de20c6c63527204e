// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Errors of a method.

use std::io;

use crate::error::Fault;
use crate::pages::PayloadError;

/// What a method reports. Core adds side, channel, packet and block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// The peer sent a payload that is not of this method, or damaged.
    #[error("{method}: {what} (payload byte {at})")]
    Corrupt {
        /// The method's name.
        method: &'static str,
        /// Byte offset in the payload, near which it went wrong.
        at: usize,
        /// What was got and what was wanted.
        what: String,
    },
    /// The peer announced a payload that is shorter than its content.
    #[error("{method}: {error}")]
    Payload {
        /// The method's name.
        method: &'static str,
        /// Where it ended.
        error: PayloadError,
    },
    /// The payload's connection failed.
    #[error(transparent)]
    Connection(io::Error),
    /// An accelerator, its driver, or a compression library failed.
    #[error("{method}: {what}")]
    Device {
        /// The method's name.
        method: &'static str,
        /// What failed, and what to do about it.
        what: String,
    },
    /// The method cannot be had as it is configured.
    #[error("{method}: {what}")]
    Config {
        /// The method's name.
        method: &'static str,
        /// The parameter, what was given, what is allowed.
        what: String,
    },
}

impl MethodError {
    /// The peer sent something else at byte `at` of the payload.
    pub fn corrupt(method: &'static str, at: usize, what: impl Into<String>) -> Self {
        Self::Corrupt {
            method,
            at,
            what: what.into(),
        }
    }

    /// An accelerator, its driver, or a compression library failed.
    pub fn device(method: &'static str, what: impl Into<String>) -> Self {
        Self::Device {
            method,
            what: what.into(),
        }
    }

    /// A parameter that the method cannot work with.
    pub fn config(method: &'static str, what: impl Into<String>) -> Self {
        Self::Config {
            method,
            what: what.into(),
        }
    }

    /// What reading a payload answered: `payload.read_exact(..).map_err(MethodError::payload("zstd"))`.
    pub fn payload(method: &'static str) -> impl Fn(PayloadError) -> Self {
        move |error| match error {
            PayloadError::Connection(error) => Self::Connection(error),
            error => Self::Payload { method, error },
        }
    }

    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Corrupt { .. } | Self::Payload { .. } => Fault::Peer,
            Self::Connection(_) => Fault::Connection,
            Self::Device { .. } => Fault::Device,
            Self::Config { .. } => Fault::Caller,
        }
    }
}
