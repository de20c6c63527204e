// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! RAM blocks on the command line, and the memory that a source sends.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;
use multifd_core::memory::Mapping;
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};

use super::{distinct, holes};
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// A RAM block and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RamArg {
    pub(crate) name: BlockName,
    pub(crate) path: PathBuf,
}

impl FromStr for RamArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').unwrap_or((DEFAULT_BLOCK, text));
        let name = BlockName::new(name).ok_or_else(|| {
            format!("{name:?} is not a valid RAM block name, wanted 1 to 255 bytes")
        })?;
        if path.is_empty() {
            return Err(format!("no file for the block {name}"));
        }
        Ok(Self {
            name,
            path: path.into(),
        })
    }
}

/// The block of QEMU's machine `none`.
pub(crate) const DEFAULT_BLOCK: &str = "ram";

/// Refuses one block named twice, where one file would hide the other, and one file given twice: for two blocks, or
/// for a block and the devices.
pub(crate) fn check(args: &[RamArg], devices: Option<&Path>) -> Result<(), Failure> {
    for (at, arg) in args.iter().enumerate() {
        if args.iter().skip(at + 1).any(|other| other.name == arg.name) {
            let what = format!("--ram names the block {} twice", arg.name);
            return Err(Failure::usage(what).hint("give each file a name: --ram NAME=FILE"));
        }
    }
    let blocks = args.iter();
    let blocks = blocks.map(|arg| (format!("--ram {}", arg.name), arg.path.as_path()));
    let devices = devices.map(|path| ("--devices".to_owned(), path));
    distinct::check(&blocks.chain(devices).collect::<Vec<_>>())
}

/// Maps the files that a source sends.
pub(crate) fn source_memory(args: &[RamArg], page_size: PageSize) -> anyhow::Result<GuestMemory> {
    check(args, None)?;
    let blocks: anyhow::Result<Vec<_>> = args.iter().map(|arg| block(arg, page_size)).collect();
    Ok(GuestMemory::new(page_size, blocks?)?)
}

fn block(arg: &RamArg, page: PageSize) -> anyhow::Result<RamBlock> {
    let path = &arg.path;
    let (mapping, len) = map(path).with_context(|| format!("source: {}", path.display()))?;
    if !page.is_aligned(len) {
        let path = path.display();
        let what = format!("source: {path}: {len} bytes, wanted a multiple of {page}");
        return Err(Failure::new(ExitCode::Local, what).into());
    }
    Ok(RamBlock::new(arg.name.clone(), Arc::new(mapping))?)
}

fn map(path: &Path) -> anyhow::Result<(Mapping, u64)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    if len == 0 {
        anyhow::bail!("is empty, or not a regular file");
    }
    let mut mapping = Mapping::private(file.as_fd(), usize::try_from(len)?)?;
    holes::learn(&mut mapping, &file);
    Ok((mapping, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_a_name_and_a_file() {
        for (text, name, path) in [
            ("guest.img", "ram", "guest.img"),
            ("pc.ram=/dev/shm/guest", "pc.ram", "/dev/shm/guest"),
            ("/rom@etc/acpi/tables=a=b", "/rom@etc/acpi/tables", "a=b"),
        ] {
            let arg: RamArg = text.parse().unwrap();
            assert_eq!(
                (arg.name.as_str(), arg.path.as_path()),
                (name, Path::new(path))
            );
        }
        for text in ["", "=file", "name="] {
            assert!(text.parse::<RamArg>().is_err(), "{text:?}");
        }
        let twice = ["a", "b"].map(|path| path.parse().unwrap());
        assert_eq!(check(&twice, None).unwrap_err().code, ExitCode::Usage);
    }
}
