// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd params`: what can be set, and what it does here.

mod effect;

use std::collections::HashMap;
use std::io;

use migration_params::{Group, Known, SettingsUpdate, known};
use serde_json::{Value, json};

use self::effect::Effect;
use crate::args::ParamsArgs;
use crate::ends::settings;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::wrap::wrapped;
use crate::show::{output, screen};

pub(crate) fn run(args: &ParamsArgs) -> anyhow::Result<ExitCode> {
    let all = rows()?;
    match (&args.name, args.json) {
        (None, false) => print(&all)?,
        (None, true) => output::json(&all.iter().map(Row::object).collect::<Vec<_>>())?,
        (Some(name), json) => {
            let row = all.iter().find(|row| row.known.name == name);
            let row = row.ok_or_else(|| unknown(name))?;
            match json {
                true => output::json(&row.object())?,
                false => row.print()?,
            }
        }
    }
    Ok(ExitCode::Ok)
}

/// A parameter or capability, as it is here.
struct Row {
    known: Known,
    /// What it is unless it is set.
    default: String,
    effect: Effect,
}

fn rows() -> anyhow::Result<Vec<Row>> {
    let defaults = settings::effective(&[])?;
    let mut defaults: HashMap<_, _> = defaults.entries().collect();
    Ok(known()
        .map(|known| {
            let default = defaults.remove(known.name).unwrap_or_default();
            Row {
                effect: Effect::of(&known, &default),
                default,
                known,
            }
        })
        .collect())
}

impl Row {
    /// QEMU's default, where it is another one.
    fn of_qemu(&self) -> Option<&str> {
        (self.known.default != self.default).then_some(&self.known.default)
    }

    fn object(&self) -> Value {
        let Self {
            known,
            default,
            effect,
        } = self;
        let (commands, why) = match effect {
            Effect::Used(commands) => (*commands, None),
            Effect::Refused(why) => (&[][..], Some(why)),
            Effect::None => (&[][..], None),
        };
        json!({
            "name": known.name,
            "group": known.group.to_string().to_lowercase(),
            "type": known.kind,
            "unit": known.unit,
            "default": default,
            "default-of-qemu": known.default,
            "allowed": known.allowed,
            "description": known.description,
            "effect": effect.name(),
            "used-by": commands,
            "refused-because": why,
        })
    }

    /// The only one.
    fn print(&self) -> io::Result<()> {
        let known = &self.known;
        let default = with_unit(&self.default, known.unit);
        let of_qemu = match self.of_qemu() {
            None => "the same".to_owned(),
            Some(other) => with_unit(other, known.unit),
        };
        let kind = format!(
            "{} ({})",
            known.group.to_string().to_lowercase(),
            known.kind
        );
        for (first, text) in [
            (known.name, known.description),
            ("  type       ", &kind),
            ("  values     ", &known.allowed),
            ("  default    ", &default),
            ("  in QEMU    ", &of_qemu),
            ("  effect     ", &self.effect.to_string()),
        ] {
            let first = if first == known.name {
                format!("{first}: ")
            } else {
                first.into()
            };
            line(&first, text, "  default    ".len())?;
        }
        Ok(())
    }
}

/// A few lines for each: a table of six columns fits no terminal.
fn print(rows: &[Row]) -> io::Result<()> {
    let mut group = None;
    for row in rows {
        let known = &row.known;
        if group != Some(known.group) {
            let blank = if group.is_some() { "\n" } else { "" };
            let plural = match known.group {
                Group::Parameter => "Parameters",
                Group::Capability => "Capabilities",
            };
            output::line(format_args!(
                "{blank}{plural}: NAME=DEFAULT, type, accepted values"
            ))?;
            group = Some(known.group);
        }
        let default = with_unit(&row.default, known.unit);
        let of_qemu = row.of_qemu().map_or_else(String::new, |other| {
            format!(" (QEMU: {})", with_unit(other, known.unit))
        });
        let (name, kind, allowed) = (known.name, known.kind, &known.allowed);
        let text = format!("{name}={default}{of_qemu}, {kind}, {allowed}");
        line("  ", &text, INDENT)?;
        let indent = " ".repeat(INDENT);
        line(&indent, known.description, INDENT)?;
        line(&indent, &format!("Here: {}.", row.effect), INDENT)?;
    }
    Ok(())
}

fn line(first: &str, text: &str, indent: usize) -> io::Result<()> {
    let text = wrapped(first, text, indent, screen::columns());
    output::line(format_args!("{text}"))
}

fn with_unit(value: &str, unit: &str) -> String {
    let value = if value.is_empty() { "''" } else { value };
    if unit.is_empty() {
        value.to_owned()
    } else {
        format!("{value} {unit}")
    }
}

/// Says which name may have been meant, as when it is set.
fn unknown(name: &str) -> anyhow::Error {
    match format!("{name}=").parse::<SettingsUpdate>() {
        Err(error) => error.into(),
        Ok(_) => Failure::usage(format!(
            "{name:?} is not the name of a parameter or capability"
        ))
        .into(),
    }
}

const INDENT: usize = 6;
