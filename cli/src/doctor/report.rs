// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The report, for humans and for programs.

use std::fmt;

use serde::Serialize;

use super::finding::Finding;
use super::survey::Survey;

/// All findings, by section.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    methods: Vec<Finding>,
    devices: Vec<Finding>,
    libraries: Vec<Finding>,
    system: Vec<Finding>,
}

/// The findings about a folder with credentials.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Credentials {
    pub(crate) tls: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(methods: Vec<Finding>, survey: &Survey, libraries: Vec<Finding>) -> Self {
        Self {
            methods,
            devices: survey.devices(),
            libraries,
            system: survey.system(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sections = [
            ("Methods", &self.methods),
            ("Devices", &self.devices),
            ("Libraries", &self.libraries),
            ("System", &self.system),
        ];
        write_sections(f, &sections)
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_sections(f, &[("TLS", &self.tls)])
    }
}

fn write_sections(f: &mut fmt::Formatter<'_>, sections: &[(&str, &Vec<Finding>)]) -> fmt::Result {
    for (number, (title, findings)) in sections.iter().enumerate() {
        let blank = if number > 0 { "\n\n" } else { "" };
        write!(f, "{blank}{title}")?;
        for Finding {
            name,
            status,
            what,
            advice,
        } in *findings
        {
            write!(f, "\n  {:<8}  {name}: {what}", status.name())?;
            if let Some(advice) = advice {
                write!(f, "\n            do: {advice}")?;
            }
        }
    }
    Ok(())
}
