// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration between two processes of ours: this program again, in another role.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::case::{Case, Run};
use super::hosts::Hosts;
use super::role::{Address, Played, Role, VARIABLE};
use crate::certificates::Credentials;
use crate::libqpl;

/// Runs a migration of this case between two processes.
///
/// # Errors
/// A process that cannot be started, and the migration's.
pub fn run(case: &Case<'_>) -> Result<Run> {
    let folder = TempDir::new()?;
    let address = match case.hosts {
        Some(_) => Address::Tcp((Hosts::DESTINATION, 0).into()),
        None => Address::Unix(folder.path().join("socket")),
    };
    let role = |is_source, memory: &Path, address| Role {
        is_source,
        bare: case.bare,
        memory: memory.to_owned(),
        blocks: case.blocks,
        address,
        method: case.method.name().to_owned(),
        level: case.level,
        adapt: case.adapt,
        channels: case.channels,
        libqpl: case.libqpl.map(str::to_owned),
        isal: case.isal.map(str::to_owned),
        tls: case.tls.map(|tls| Credentials::path(tls).to_owned()),
    };
    let at_destination = || start(case, &role(false, &case.arena.destination, address));
    let (mut destination, mut received) = match case.hosts {
        Some(hosts) => hosts.at_destination(at_destination)?,
        None => at_destination()?,
    };
    let address = line(&mut received)?;
    let at_source = || start(case, &role(true, &case.arena.source, address));
    let (mut source, mut sent) = match case.hosts {
        Some(hosts) => hosts.at_source(at_source)?,
        None => at_source()?,
    };
    let (sent, received): (Played, Played) = (line(&mut sent)?, line(&mut received)?);
    ensure!(
        source.wait()?.success() && destination.wait()?.success(),
        "a side failed"
    );
    Ok(Run {
        wall: Duration::from_micros(sent.wall),
        send_cpu: Duration::from_micros(sent.cpu),
        recv_cpu: Duration::from_micros(received.cpu),
        bytes: sent.bytes,
        samples: sent.samples,
        rungs: sent.rungs,
    })
}

fn start(case: &Case<'_>, role: &Role) -> Result<(Child, BufReader<ChildStdout>)> {
    let program = env::current_exe()?;
    let mut command = match case.libqpl.and_then(libqpl::loader) {
        Some(loader) => libqpl::command(&loader, &program),
        None => Command::new(program),
    };
    let mut child = command
        .env(VARIABLE, serde_json::to_string(role)?)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("no output")?;
    Ok((child, BufReader::new(output)))
}

fn line<T: DeserializeOwned>(output: &mut impl BufRead) -> Result<T> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    ensure!(!line.is_empty(), "a side ended without a result");
    Ok(serde_json::from_str(&line)?)
}
