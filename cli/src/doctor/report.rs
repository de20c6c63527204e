// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The report, for humans and for programs.

use std::fmt;

use serde::Serialize;

use super::finding::Finding;
use super::survey::Survey;
use crate::show::screen;
use crate::show::wrap::wrapped;

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
    let width = screen::columns();
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
            let lines = |first: &str, text: &str| wrapped(first, text, INDENT, width);
            let first = format!("  {:<8}  ", status.name());
            write!(f, "\n{}", lines(&first, &format!("{name}: {what}")))?;
            if let Some(advice) = advice {
                let first = " ".repeat(INDENT);
                write!(f, "\n{}", lines(&first, &format!("do: {advice}")))?;
            }
        }
    }
    Ok(())
}

const INDENT: usize = "  unusable  ".len();
