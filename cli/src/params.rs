// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd params`: what can be set.

use std::io;

use migration_params::{Known, known};
use serde_json::{Value, json};

use crate::args::ParamsArgs;
use crate::show::exit_code::ExitCode;
use crate::show::output;

pub(crate) fn run(args: &ParamsArgs) -> anyhow::Result<ExitCode> {
    if args.json {
        let list: Vec<Value> = known().map(|known| object(&known)).collect();
        output::json(&list)?;
    } else {
        print()?;
    }
    Ok(ExitCode::Ok)
}

fn object(known: &Known) -> Value {
    json!({
        "name": known.name,
        "group": known.group.to_string().to_lowercase(),
        "type": known.kind,
        "unit": known.unit,
        "default": known.default,
        "allowed": known.allowed,
        "description": known.description,
    })
}

/// One entry takes two lines: a table of six columns fits no terminal.
fn print() -> io::Result<()> {
    let mut group = None;
    for known in known() {
        if group != Some(known.group) {
            let blank = if group.is_some() { "\n" } else { "" };
            let plural = match known.group {
                migration_params::Group::Parameter => "Parameters",
                migration_params::Group::Capability => "Capabilities",
            };
            output::line(format_args!(
                "{blank}{plural} (NAME=DEFAULT, type, accepted values)"
            ))?;
            group = Some(known.group);
        }
        let unit = if known.unit.is_empty() {
            String::new()
        } else {
            format!(" {}", known.unit)
        };
        let default = if known.default.is_empty() {
            "\"\""
        } else {
            &known.default
        };
        let (name, kind, allowed) = (known.name, known.kind, known.allowed);
        output::line(format_args!("  {name}={default}{unit}, {kind}, {allowed}"))?;
        output::line(format_args!("      {}", known.description))?;
    }
    Ok(())
}
