//! Errors of this crate.

use crate::Code;

/// Why the library cannot be used, or what it answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system's loader does not load the library; it says why.
    #[error("{0}")]
    Load(String),
    /// A function is missing.
    #[error("{file} has no function {function}, wanted libqatzip 1.1 or newer")]
    Function {
        /// The file that was loaded.
        file: String,
        /// The function's name in `qatzip.h`.
        function: &'static str,
    },
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

impl Error {
    /// What the library answered; `None` if it was not asked.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Failed { code, .. } => Some(*code),
            _ => None,
        }
    }
}
