// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Errors of this crate.

use vendor_library::LoadError;

use crate::Code;

/// Why the library cannot be used, or what it answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be loaded, or has not all functions of libqatzip 1.1.
    #[error("{}", missing(.0))]
    Load(#[from] LoadError),
    /// The library's structures are not those of libqatzip 1.1 to 2.0.
    #[error("{file} is not a libqatzip that is known (1.1 to 2.0): {what}")]
    Layout {
        /// The file that was loaded.
        file: String,
        /// What was got and what was wanted.
        what: String,
    },
    /// A function answered an error.
    #[error("{function}: {code}")]
    Failed {
        /// The function's name in `qatzip.h`.
        function: &'static str,
        /// What it answered.
        code: Code,
    },
}

fn missing(error: &LoadError) -> String {
    match error {
        LoadError::Function { .. } => format!("{error}, wanted libqatzip 1.1 or newer"),
        _ => error.to_string(),
    }
}

impl Error {
    /// What the library answered; `None` if it was not asked.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Failed { code, .. } => Some(*code),
            _ => None,
        }
    }
}
