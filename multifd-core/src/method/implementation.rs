// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What does a method's work.

use std::fmt;

use super::CodecPath;

/// What does a method's work, and why: shown as one line for the log of a starting migration, for instance
/// `hardware (libqpl 1.9.0; ISA-L 2.31 as fallback)`, or `software (built in; no IAA device)`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Implementation {
    /// Who is to do it.
    pub path: CodecPath,
    /// The vendor's library, by its name or its file's.
    pub library: Option<String>,
    /// Its release, if it tells.
    pub version: Option<String>,
    /// The method's own software: what does the work if [`Self::path`] is software, else what does what the
    /// library does not.
    pub fallback: Option<String>,
    /// Why it is not the device.
    pub why: Option<String>,
}

impl Implementation {
    /// The method's own software, if there is nothing else to say.
    pub fn software() -> Self {
        Self::new(CodecPath::Software)
    }

    /// One of this kind, of which nothing else is known.
    pub fn new(path: CodecPath) -> Self {
        Self {
            path,
            library: None,
            version: None,
            fallback: None,
            why: None,
        }
    }

    /// The same, by a vendor's library.
    #[must_use]
    pub fn with_library(mut self, library: impl Into<String>) -> Self {
        self.library = Some(library.into());
        self
    }

    /// The same, of this release of the library.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The same, with this software.
    #[must_use]
    pub fn with_fallback(mut self, fallback: impl Into<String>) -> Self {
        self.fallback = Some(fallback.into());
        self
    }

    /// The same, and why it is not the device.
    #[must_use]
    pub fn with_why(mut self, why: Option<String>) -> Self {
        self.why = why;
        self
    }

    /// Whether a device is to do it.
    pub fn is_hardware(&self) -> bool {
        self.path == CodecPath::Hardware
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = self.library.as_ref().map(|library| match &self.version {
            Some(version) => format!("{library} {version}"),
            None => library.clone(),
        });
        let fallback = self.fallback.as_ref().map(|fallback| match self.path {
            CodecPath::Software => fallback.clone(),
            _ => format!("{fallback} as fallback"),
        });
        let parts: Vec<String> = [library, fallback, self.why.clone()]
            .into_iter()
            .flatten()
            .collect();
        f.write_str(self.path.name())?;
        if parts.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line() {
        assert_eq!(Implementation::software().to_string(), "software");
        let why = Some("no IAA device".to_owned());
        let software = Implementation::software()
            .with_fallback("built in")
            .with_why(why.clone());
        assert_eq!(software.to_string(), "software (built in; no IAA device)");
        let library = Implementation::new(CodecPath::VendorSoftware)
            .with_library("libqpl")
            .with_version("1.9.0")
            .with_why(why);
        let want = "vendor-software (libqpl 1.9.0; no IAA device)";
        assert_eq!(library.to_string(), want);
        let hardware = Implementation::new(CodecPath::Hardware)
            .with_library("libqatzip.so.3.2.0")
            .with_fallback("ISA-L 2.31");
        let want = "hardware (libqatzip.so.3.2.0; ISA-L 2.31 as fallback)";
        assert_eq!(hardware.to_string(), want);
        assert!(hardware.is_hardware() && !software.is_hardware());
    }
}
