// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The files that a destination writes: there when the migration has succeeded, and only then.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use multifd_core::memory::Mapping;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_migration::stream::AnnouncedBlock;

use super::lock::Lock;
use super::pending::Pending;
use super::writeback::Writeback;
use super::{holes, left_behind, sparse, sync, unreleased, zeros};
use crate::disk::ram::{self, RamArg};
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::output;

/// The files of one migration. Those that it has created are removed on drop, unless they are
/// [complete](Self::is_complete).
pub(crate) struct Files {
    /// Writes to the disk while memory arrives. The first to go.
    writeback: Option<Writeback>,
    blocks: Vec<BlockFile>,
    devices: Option<Pending>,
    /// All files under their last names.
    targets: Vec<PathBuf>,
    /// Whether they get a mark. Files that were there before may be memory of a process, where there is no
    /// room for one.
    marked: bool,
    /// The files that have got their names, which are locked until all is over.
    done: Vec<Place>,
    /// Whether files that were there before have been given to the source to write into.
    overwritten: bool,
    complete: bool,
}

/// The file of a block.
struct BlockFile {
    arg: RamArg,
    place: Place,
    /// All of it, once its length is known.
    mapped: Option<RamBlock>,
}

enum Place {
    /// A file that appears when all is there.
    New(Pending),
    /// A file that was there before.
    InPlace(File),
}

impl Files {
    /// Opens or creates all files, and locks them. Nothing is left to be found out but whether the source's
    /// blocks have room.
    pub(crate) fn plan(
        blocks: &[RamArg],
        devices: Option<&Path>,
        in_place: bool,
    ) -> anyhow::Result<Self> {
        ram::check(blocks, devices)?;
        let targets: Vec<PathBuf> = blocks
            .iter()
            .map(|arg| arg.path.clone())
            .chain(devices.map(Into::into))
            .collect();
        check_marks(&targets, in_place)?;
        let blocks = blocks.iter().map(|arg| {
            Ok(BlockFile {
                arg: arg.clone(),
                place: match in_place {
                    true => Place::InPlace(open(&arg.path)?),
                    false => Place::New(create(&arg.path, OR_IN_PLACE)?),
                },
                mapped: None,
            })
        });
        Ok(Self {
            writeback: None,
            blocks: blocks.collect::<anyhow::Result<_>>()?,
            devices: devices.map(|path| create(path, OTHERWISE)).transpose()?,
            targets,
            marked: !in_place,
            done: Vec::new(),
            overwritten: false,
            complete: false,
        })
    }

    /// Whether the memory that [`Self::memory`] makes holds only zeros.
    pub(crate) fn are_fresh(&self) -> bool {
        let is_new = |block: &BlockFile| matches!(block.place, Place::New(_));
        self.blocks.iter().all(is_new)
    }

    /// Makes the files as long as the source's blocks, and maps them.
    pub(crate) fn memory(
        &mut self,
        page_size: PageSize,
        announced: &[AnnouncedBlock],
    ) -> anyhow::Result<GuestMemory> {
        self.check_announced(announced)?;
        self.check_space(announced)?;
        let mut blocks = Vec::new();
        for block in announced {
            let file = self.blocks.iter_mut();
            let file = file.into_iter().find(|file| file.arg.name == block.name);
            let file = file.context("a block without a file")?;
            let mapped = file
                .map(block.used_length)
                .with_context(|| format!("block {:?}, {}", block.name, file.arg.path.display()))?;
            self.overwritten |= matches!(file.place, Place::InPlace(_));
            blocks.push(mapped);
        }
        let files = self.blocks.iter().map(|block| block.place.file());
        self.writeback = Writeback::start(files)?;
        Ok(GuestMemory::new(page_size, blocks)?)
    }

    /// Makes a part of a block zero.
    pub(crate) fn clear(&self, block: &RamBlock, range: Range<u64>) -> anyhow::Result<()> {
        let file = self
            .blocks
            .iter()
            .find(|file| file.arg.name == *block.name());
        let file = file.context("a block without a file")?;
        let path = || file.arg.path.display().to_string();
        zeros::clear(file.place.file(), block, range).with_context(path)
    }

    /// Writes the device state, makes sure that all of it is on the disk, and gives all files their names.
    /// From then on they stay, whatever happens: the source may be gone by now, and these the only copy.
    pub(crate) fn complete(&mut self, devices: &[u8]) -> anyhow::Result<()> {
        self.writeback = None;
        for block in &self.blocks {
            let path = || block.arg.path.display().to_string();
            block.finish().with_context(path)?;
        }
        if let Some(file) = &self.devices {
            let path = || file.target().display().to_string();
            file.handle().write_all(devices).with_context(path)?;
        }
        let mut new = Vec::new();
        for block in self.blocks.drain(..) {
            match block.place {
                Place::New(pending) => new.push(pending),
                in_place => self.done.push(in_place),
            }
        }
        new.extend(self.devices.take());
        self.mark_all()?;
        Pending::commit(&mut new).inspect_err(|_| self.unmark_all(self.targets.len()))?;
        self.done.extend(new.into_iter().map(Place::New));
        self.complete = true;
        Ok(())
    }

    /// Until the source has released the guest.
    fn mark_all(&self) -> anyhow::Result<()> {
        for (at, path) in self.marked().iter().enumerate() {
            unreleased::mark(path).inspect_err(|_| self.unmark_all(at))?;
        }
        Ok(())
    }

    /// After a failure, which is the one to tell of.
    fn unmark_all(&self, count: usize) {
        for path in self.marked().iter().take(count) {
            let _ = unreleased::unmark(path);
        }
    }

    /// Those of them that have a mark as long as the source has not released the guest.
    pub(crate) fn marked(&self) -> &[PathBuf] {
        match self.marked {
            true => &self.targets,
            false => &[],
        }
    }

    /// All files under their last names.
    pub(crate) fn targets(&self) -> &[PathBuf] {
        &self.targets
    }

    /// Whether all of the guest is in the files.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The file of a block.
    pub(crate) fn path_of(&self, block: &str) -> Option<PathBuf> {
        let mut blocks = self.blocks.iter();
        let found = blocks.find(|file| file.arg.name.as_str() == block)?;
        Some(found.arg.path.clone())
    }

    fn check_announced(&self, announced: &[AnnouncedBlock]) -> anyhow::Result<()> {
        let sent = || {
            let blocks = announced
                .iter()
                .map(|block| format!("{} ({} bytes)", block.name, block.used_length));
            blocks.collect::<Vec<_>>().join(", ")
        };
        for block in announced {
            let name = &block.name;
            let known = self.blocks.iter().any(|file| file.arg.name == *name);
            ensure!(
                known,
                "no file for the source's block {name}: give one with --ram {name}=FILE; it sends {}",
                sent()
            );
        }
        for file in &self.blocks {
            let name = &file.arg.name;
            let known = announced.iter().any(|block| block.name == *name);
            ensure!(known, "the source has no block {name}; it sends {}", sent());
        }
        Ok(())
    }

    /// Refuses blocks that do not fit together into a file system, where each alone might.
    fn check_space(&self, announced: &[AnnouncedBlock]) -> anyhow::Result<()> {
        let mut needs: Vec<(u64, &File, u64)> = Vec::new();
        for block in announced {
            let file = self.blocks.iter().find(|file| file.arg.name == block.name);
            let Some(Place::New(pending)) = file.map(|file| &file.place) else {
                continue;
            };
            let device = pending.handle().metadata()?.dev();
            let len = block.used_length;
            match needs.iter_mut().find(|(known, ..)| *known == device) {
                Some((_, _, need)) => *need = need.saturating_add(len),
                None => needs.push((device, pending.handle(), len)),
            }
        }
        for (_, file, need) in needs {
            sparse::check_space(file, need)?;
        }
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.overwritten || self.complete {
            return;
        }
        for block in &self.blocks {
            let path = block.arg.path.display();
            output::message(format_args!("multifd: {path} holds only part of the guest"));
        }
    }
}

impl BlockFile {
    /// Makes the file `len` bytes long, if it is new, and maps it.
    fn map(&mut self, len: u64) -> anyhow::Result<RamBlock> {
        let file = self.place.file();
        match &self.place {
            Place::InPlace(_) => check_len(file, len)?,
            // Room that is set aside there is memory that is used up.
            Place::New(_) if sparse::is_memory(file)? => file.set_len(len)?,
            Place::New(_) => sparse::reserve(file, len)?,
        }
        let mut mapping = Mapping::shared(file.as_fd(), usize::try_from(len)?)?;
        // A new file is all zero.
        if let Place::InPlace(file) = &self.place {
            holes::learn(&mut mapping, file);
        }
        let block = RamBlock::new(self.arg.name.clone(), Arc::new(mapping))?;
        sparse::fill(&block);
        Ok(self.mapped.insert(block).clone())
    }

    /// Gives back what zero pages take, if it was set aside. A file that was there before is written to the
    /// disk; a new one is when it is given its name.
    fn finish(&self) -> anyhow::Result<()> {
        let block = self.mapped.as_ref();
        let block = block.context("the source has announced no memory")?;
        match &self.place {
            Place::InPlace(file) => Ok(sync::any_file(file)?),
            Place::New(pending) if sparse::is_memory(pending.handle())? => Ok(()),
            Place::New(pending) => sparse::release_zeros(pending.handle(), block).map(drop),
        }
    }
}

impl Place {
    fn file(&self) -> &File {
        match self {
            Self::New(pending) => pending.handle(),
            Self::InPlace(file) => file,
        }
    }
}

/// Refuses files that hold a guest whose source has not released it, and those whose marks would replace something.
fn check_marks(targets: &[PathBuf], in_place: bool) -> Result<(), Failure> {
    for path in targets {
        if in_place {
            unreleased::refuse("destination", path)?;
            continue;
        }
        let mark = unreleased::check_free(path)?;
        if targets.contains(&mark) {
            let what = format!(
                "destination: {} is the name of a mark of {}",
                mark.display(),
                path.display()
            );
            return Err(Failure::usage(what).hint("choose another file"));
        }
    }
    Ok(())
}

fn create(path: &Path, hint: &str) -> anyhow::Result<Pending> {
    if path.symlink_metadata().is_ok() {
        let what = format!("destination: {} already exists", path.display());
        return Err(Failure::usage(what).hint(hint).into());
    }
    if path.file_name().is_none() {
        let what = format!("destination: {} does not name a file", path.display());
        return Err(Failure::usage(what).into());
    }
    Pending::file(path)
}

fn open(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    if !path.exists() {
        let what = format!("destination: {shown} does not exist");
        return Err(Failure::usage(what)
            .hint("create it with the block's length, or leave out --in-place")
            .into());
    }
    let context = || format!("destination: cannot open {shown}");
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.with_context(context)?;
    if Lock::attempt(&file).with_context(context)? == Lock::Busy {
        let what = format!("destination: {shown}: {}", left_behind::BUSY);
        return Err(Failure::new(ExitCode::Local, what).into());
    }
    Ok(file)
}

/// A file of memory may be longer: there, lengths are whole huge pages or chosen ahead.
fn check_len(file: &File, want: u64) -> anyhow::Result<()> {
    let got = file.metadata()?.len();
    if got != want && !(got > want && sparse::is_memory(file)?) {
        bail!("the file has {got} bytes, the source's block {want}");
    }
    Ok(())
}

const OTHERWISE: &str = "remove it or choose another file";
const OR_IN_PLACE: &str = "remove it, choose another file, or write into it with --in-place";

#[cfg(test)]
mod tests {
    use std::fs;

    use multifd_core::wire::BlockName;

    use super::*;
    use crate::show::failure;

    fn announced(name: &str, used_length: u64) -> AnnouncedBlock {
        let name = BlockName::new(name).unwrap();
        AnnouncedBlock { name, used_length }
    }

    fn arg(name: &str, path: &Path) -> RamArg {
        format!("{name}={}", path.display()).parse().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_when_all_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (ram, devices) = (folder.path().join("ram"), folder.path().join("devices"));
        let mut files = Files::plan(&[arg("a", &ram)], Some(&devices), false).unwrap();
        assert!(files.are_fresh());
        let partial = ["devices.partial", "ram.partial"];
        assert_eq!(names(folder.path()), partial);
        files
            .memory(PageSize::X86, &[announced("a", 8192)])
            .unwrap();
        assert_eq!(names(folder.path()), partial);
        files.complete(b"state").unwrap();
        assert!(files.is_complete());
        assert_eq!(
            names(folder.path()),
            ["devices", "devices.unreleased", "ram", "ram.unreleased"]
        );
        assert_eq!(fs::metadata(&ram).unwrap().len(), 8192);
        assert_eq!(fs::read(&devices).unwrap(), b"state");
        // The source may be gone by now: a whole copy stays.
        drop(files);
        assert_eq!(
            names(folder.path()),
            ["devices", "devices.unreleased", "ram", "ram.unreleased"]
        );
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (ram, devices) = (folder.path().join("ram"), folder.path().join("devices"));
        let plan = || Files::plan(&[arg("a", &ram)], Some(&devices), false).unwrap();
        drop(plan());
        assert_eq!(names(folder.path()), [""; 0]);
        let mut files = plan();
        files
            .memory(PageSize::X86, &[announced("a", 4096)])
            .unwrap();
        drop(files);
        assert_eq!(names(folder.path()), [""; 0]);
        // Nor does the memory stay if the devices' name is taken.
        let mut files = plan();
        files
            .memory(PageSize::X86, &[announced("a", 4096)])
            .unwrap();
        fs::write(&devices, "theirs").unwrap();
        assert!(files.complete(b"").is_err());
        assert!(!files.is_complete());
        drop(files);
        assert_eq!(names(folder.path()), ["devices"]);
        assert_eq!(fs::read(&devices).unwrap(), b"theirs");
    }

    #[test]
    fn nothing_is_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let ram = folder.path().join("ram");
        fs::write(&ram, [7; 8192]).unwrap();
        let refused = Files::plan(&[arg("a", &ram)], None, false).err().unwrap();
        assert_eq!(failure::exit_code(&refused), ExitCode::Usage);

        let mut files = Files::plan(&[arg("a", &ram)], None, true).unwrap();
        assert!(!files.are_fresh());
        let error = files
            .memory(PageSize::X86, &[announced("a", 12288)])
            .unwrap_err();
        assert!(format!("{error:#}").contains("has 8192 bytes, the source's block 12288"));
        files
            .memory(PageSize::X86, &[announced("a", 8192)])
            .unwrap();
        drop(files);
        assert_eq!(fs::read(&ram).unwrap(), [7; 8192]);
    }

    #[test]
    fn a_second_receiver_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        fs::write(&old, [7; 4096]).unwrap();
        for (path, in_place) in [(&new, false), (&old, true)] {
            let plan = || Files::plan(&[arg("a", path)], None, in_place);
            let first = plan().unwrap();
            let error = plan().err().unwrap();
            assert_eq!(failure::exit_code(&error), ExitCode::Local);
            assert!(
                format!("{error:#}").contains("another process"),
                "{error:#}"
            );
            drop(first);
            plan().unwrap();
        }
        assert_eq!(names(folder.path()), ["old"]);
    }

    #[test]
    fn blocks_and_files_must_match() {
        let folder = tempfile::tempdir().unwrap();
        let plan = || Files::plan(&[arg("a", &folder.path().join("a"))], None, false).unwrap();
        let unknown = [announced("a", 4096), announced("b", 4096)];
        let error = plan()
            .memory(PageSize::X86, &unknown)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--ram b=FILE") && error.contains("a (4096 bytes)"),
            "{error}"
        );
        let error = plan().memory(PageSize::X86, &[]).unwrap_err().to_string();
        assert!(error.contains("no block a"), "{error}");
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn all_blocks_together_must_fit() {
        let folder = tempfile::tempdir().unwrap();
        let args = ["a", "b"].map(|name| arg(name, &folder.path().join(name)));
        let plan = || Files::plan(&args, None, false).unwrap();
        let free = rustix::fs::statvfs(folder.path()).unwrap();
        // Each alone has room.
        let most = free.f_bavail * free.f_frsize / 3 * 2 / 4096 * 4096;
        for lengths in [[1 << 60, 4096], [most, most]] {
            let blocks = [announced("a", lengths[0]), announced("b", lengths[1])];
            let error = format!("{:#}", plan().memory(PageSize::X86, &blocks).unwrap_err());
            assert!(error.contains("do not fit"), "{error}");
        }
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
