// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration between two QEMUs.

use std::time::Duration;

use crate::certificates::Role;
use crate::peer::{Binary, Builder};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::case::{Case, HOST, Run};
use super::hosts::Hosts;

const LIMIT: Duration = Duration::from_secs(300);

/// Runs a migration of this case between two QEMUs.
///
/// # Errors
/// A QEMU that cannot be started, and the migration's.
pub fn run(binary: &Binary, case: &Case<'_>) -> Result<Run> {
    let folder = TempDir::new()?;
    let machine = |path| binary.machine().memory_file(path, case.arena.bytes);
    let source = machine(&case.arena.source);
    let destination = machine(&case.arena.destination).incoming_defer();
    let source = with_credentials(source, case, Role::Client);
    let destination = with_credentials(destination, case, Role::Server);
    let (mut source, mut destination) = match case.hosts {
        Some(hosts) => (
            hosts.at_source(|| source.start())?,
            hosts.at_destination(|| destination.start())?,
        ),
        None => (source.start()?, destination.start()?),
    };
    for qemu in [&mut source, &mut destination] {
        qemu.set_capabilities(&[("multifd", true), ("return-path", true)])?;
        qemu.set_parameters(json!({
            "multifd-channels": case.channels,
            "multifd-compression": case.method.name(),
            "max-bandwidth": 0,
        }))?;
        if let Some(level) = case.level {
            let name = format!("multifd-{}-level", case.method);
            qemu.set_parameters(json!({name: level}))?;
        }
        if case.tls.is_some() {
            qemu.set_parameters(json!({"tls-creds": "tls0", "tls-hostname": HOST}))?;
        }
    }
    let uri = match case.hosts {
        Some(_) => format!("tcp:{}:0", Hosts::DESTINATION),
        None => format!("unix:{}", folder.path().join("socket").display()),
    };
    destination.migrate_incoming(&uri)?;
    let uri = match case.hosts {
        Some(_) => format!("tcp:{}:{}", Hosts::DESTINATION, destination.port()?),
        None => uri,
    };
    let before = (source.cpu_time()?.total(), destination.cpu_time()?.total());
    source.migrate(&uri)?;
    let info = source.wait_status(&["completed"], LIMIT)?;
    let after = (source.cpu_time()?.total(), destination.cpu_time()?.total());
    let number = |path| {
        info.pointer(path)
            .and_then(Value::as_u64)
            .context("query-migrate")
    };
    Ok(Run {
        wall: Duration::from_millis(number("/total-time")?),
        send_cpu: after.0.saturating_sub(before.0),
        recv_cpu: after.1.saturating_sub(before.1),
        bytes: number("/ram/transferred")?,
        samples: Vec::new(),
        rungs: Vec::new(),
    })
}

fn with_credentials(machine: Builder, case: &Case<'_>, role: Role) -> Builder {
    match case.tls {
        Some(tls) => machine.args(["-object", &tls.object(role, true)]),
        None => machine,
    }
}
