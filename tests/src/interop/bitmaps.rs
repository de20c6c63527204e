// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Dirty bitmaps of the disk that a test gives a QEMU, as the node `disk`.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::peer::Qemu;

/// A bitmap: its name, the bytes that it marks, and whether its image keeps it.
pub type Bitmap = (String, u64, bool);

/// The bytes that [`mark`] marks.
pub const MARKED: u64 = 640 << 10;

/// Adds a bitmap, and marks something in it; an image that can keeps it where it is `persistent`.
///
/// # Errors
/// What QEMU says.
pub fn mark(qemu: &mut Qemu, name: &str, persistent: bool) -> Result<()> {
    let bitmap =
        json!({"node": "disk", "name": name, "granularity": 65_536, "persistent": persistent});
    qemu.execute("block-dirty-bitmap-add", bitmap)?;
    let write = json!({"command-line": format!("qemu-io disk \"write 1M {MARKED}\"")});
    qemu.execute("human-monitor-command", write)?;
    Ok(())
}

/// All of the disk's, by name.
///
/// # Errors
/// What QEMU says, and an answer without what belongs into it.
pub fn of_disk(qemu: &mut Qemu) -> Result<Vec<Bitmap>> {
    let nodes = qemu.execute("query-named-block-nodes", json!({}))?;
    let nodes = nodes.as_array().context("no nodes")?;
    let disk = nodes.iter().find(|node| node["node-name"] == "disk");
    let bitmaps = disk.and_then(|disk| disk["dirty-bitmaps"].as_array());
    let bitmaps = bitmaps.into_iter().flatten().map(|bitmap: &Value| {
        let name = bitmap["name"].as_str().context("no name")?.to_owned();
        let count = bitmap["count"].as_u64().context("no count")?;
        Ok((name, count, bitmap["persistent"] == true))
    });
    let mut bitmaps = bitmaps.collect::<Result<Vec<_>>>()?;
    bitmaps.sort_unstable();
    Ok(bitmaps)
}
