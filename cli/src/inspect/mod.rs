// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd inspect`: says what is in a folder or a recording.

mod anomaly;
mod channel;
mod devices;
mod early;
mod folder;
mod main_channel;
mod print;
mod ram_packet;
mod recording;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use multifd_core::PageSize;
use multifd_core::wire::{MAIN_MAGIC, MULTIFD_MAGIC};
use serde::Serialize;

use crate::args::InspectArgs;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::output;
use channel::ChannelRecord;
use folder::FolderRecord;
use main_channel::MainRecord;

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let record = Record::read(&args.path, args.verify, args.page_size)?;
    if args.json {
        output::json(&record)?;
    } else {
        output::line(format_args!("{}", record.text().trim_end()))?;
    }
    Ok(if record.is_in_order() {
        ExitCode::Ok
    } else {
        ExitCode::Peer
    })
}

/// What [`run`] prints: for a human, and as JSON; and whether nothing was found that must not be.
pub(crate) fn look(path: &Path, verify: bool) -> anyhow::Result<(String, String, bool)> {
    let record = Record::read(path, verify, None)?;
    let json = output::json_text(&record)?;
    Ok((record.text(), json, record.is_in_order()))
}

/// What was found.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Record {
    SavedMigration(Box<FolderRecord>),
    MainChannel(Box<MainRecord>),
    MultifdChannel(Box<ChannelRecord>),
}

impl Record {
    fn read(path: &Path, verify: bool, page_size: Option<PageSize>) -> anyhow::Result<Self> {
        if path.is_dir() {
            return Ok(Self::SavedMigration(
                FolderRecord::read(path, verify)?.into(),
            ));
        }
        if verify {
            let what = format!(
                "{} is not a folder: only folders have checksums",
                path.display()
            );
            return Err(Failure::usage(what).into());
        }
        Self::read_file(path, page_size).with_context(|| path.display().to_string())
    }

    fn read_file(path: &Path, page_size: Option<PageSize>) -> anyhow::Result<Self> {
        let mut magic = [0; 4];
        ensure!(
            path.metadata()?.is_file(),
            "neither a folder nor a regular file"
        );
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.read_exact(&mut magic)
            .with_context(|| format!("the file has {len} bytes, no connection's"))?;
        match u32::from_be_bytes(magic) {
            MAIN_MAGIC => Ok(Self::MainChannel(MainRecord::read(path, page_size)?.into())),
            MULTIFD_MAGIC => Ok(Self::MultifdChannel(
                ChannelRecord::read(path, page_size)?.into(),
            )),
            got => bail!(
                "not a recorded connection, nor the folder of a saved guest: the first bytes are {got:#010x}, wanted {MAIN_MAGIC:#010x} of a main channel or \
                 {MULTIFD_MAGIC:#010x} of a multifd channel"
            ),
        }
    }

    /// Whether nothing was found that must not be.
    fn is_in_order(&self) -> bool {
        match self {
            Self::SavedMigration(_) => true,
            Self::MainChannel(main) => main.error.is_none(),
            Self::MultifdChannel(channel) => channel.anomalies.is_empty(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::SavedMigration(folder) => folder.to_string(),
            Self::MainChannel(main) => main.to_string(),
            Self::MultifdChannel(channel) => channel.to_string(),
        }
    }
}
