// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration between two hypervisors of ours: the command's demo.

use anyhow::{Context, Result, ensure};
use migration_params::Compression;
use multifd_tests::command::Multifd;
use serde_json::Value;

use crate::args::Args;
use crate::run::Run;

/// With KVM where it can be used, or with threads as vCPUs.
pub(crate) fn run(
    multifd: &Multifd,
    method: Compression,
    threads: bool,
    args: &Args,
) -> Result<Run> {
    let mut command: Vec<String> = ["demo", "--json", "--pattern=sequential"]
        .map(String::from)
        .into();
    command.extend([
        format!("--memory={}M", args.memory),
        format!("--working-set={}M", args.working_set),
        format!("--dirty-rate={}", u64::from(args.rate) * 1000 * 4096),
        format!("--methods={}", method.name()),
        format!("--channels={}", args.channels),
        format!("--set=downtime-limit={}", args.downtime_limit),
        "--set=auto-converge=off".into(),
    ]);
    if threads {
        command.push("--threads".into());
    }
    for path in &args.fill {
        command.push(format!("--fill={}", path.display()));
    }
    let finished = multifd.start(command)?.finish()?;
    let report = finished.json(0)?;
    let row = report.pointer("/results/0").context("no result")?;
    ensure!(row.get("verified") == Some(&Value::Bool(true)), "{row:#}");
    let number = |name: &str| row.get(name).and_then(Value::as_f64).context("no number");
    let processors = report.pointer("/guest/processors").and_then(Value::as_str);
    Ok(Run {
        who: format!("ours, {}", processors.unwrap_or("?")),
        down: number("downtime")?,
        total: number("total-time")?,
        rounds: number("dirty-sync-count")?,
    })
}
