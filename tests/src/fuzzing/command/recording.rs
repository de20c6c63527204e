// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The recorded bytes of a connection.

use std::fs;

use anyhow::Result;

use super::inspect::inspect;
use crate::fuzzing::Target;
use crate::fuzzing::machine::Machine;

/// A main connection, or a channel.
pub(in crate::fuzzing) const RECORDING: Target = Target {
    name: "recording",
    run: |bytes| read(bytes).unwrap_or(false),
    seeds: || {
        let machines = Machine::all()?.into_iter();
        let connections = machines.flat_map(|machine| {
            let first = machine.channels.into_iter().next();
            [machine.main].into_iter().chain(first)
        });
        Ok(connections.collect())
    },
};

/// Answers whether all of it is in order.
fn read(bytes: &[u8]) -> Result<bool> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), bytes)?;
    Ok(inspect(file.path(), false) == Some(true))
}
