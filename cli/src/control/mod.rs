// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd status`, `multifd cancel` and `multifd tune`: a running relay is asked and told things.

mod ask;
mod status;

pub(crate) use status::status;

use serde_json::{Value, json};

use crate::args::{CancelArgs, TuneArgs};
use crate::ends::settings;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::units::Rate;
use crate::show::{output, relay_status};
use ask::{Relay, named};

/// Cancels a migration.
pub(crate) fn cancel(args: &CancelArgs) -> anyhow::Result<ExitCode> {
    let mut relay = Relay::connect(&args.relay)?;
    let mut arguments = json!({ "migration": named(args.migration) });
    if let (Some(reason), Some(members)) = (&args.reason, arguments.as_object_mut()) {
        members.insert("reason".into(), reason.as_str().into());
    }
    let migration = relay.expect("cancel", &arguments)?;
    output::line(format_args!(
        "{}: cancelled; the guest runs on at its source",
        relay_status::name(&migration)
    ))?;
    Ok(ExitCode::Ok)
}

/// Changes the bandwidth of a migration.
pub(crate) fn tune(args: &TuneArgs) -> anyhow::Result<ExitCode> {
    for text in &args.set {
        let name = text.split('=').next().unwrap_or_default();
        if name != NAME {
            let what = format!("{name} cannot be changed while a migration runs");
            return Err(Failure::usage(what).hint("max-bandwidth=SIZE can").into());
        }
    }
    // As it is read everywhere else.
    let bandwidth = settings::effective(&args.set)?.parameters.max_bandwidth;
    let mut relay = Relay::connect(&args.relay)?;
    let arguments = json!({ "migration": named(args.migration), NAME: bandwidth.value() });
    let migration = relay.expect("tune", &arguments)?;
    let name = relay_status::name(&migration);
    match migration.get(NAME).and_then(Value::as_u64) {
        Some(0) | None => output::line(format_args!("{name}: {NAME} is unlimited"))?,
        Some(bytes) => output::line(format_args!("{name}: {NAME} is {}", Rate(bytes)))?,
    }
    Ok(ExitCode::Ok)
}

const NAME: &str = "max-bandwidth";
