//! The files that a destination writes: there when the migration has succeeded, and only then.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use migration::stream::AnnouncedBlock;
use multifd_core::memory::Mapping;
use multifd_core::{GuestMemory, PageSize, RamBlock};

use crate::disk::ram::{self, RamArg};
use crate::disk::sparse;
use crate::show::failure::Failure;
use crate::show::output;

/// The files of one migration. Unless they are [kept](Self::keep), those that it has created are
/// removed on drop.
pub(crate) struct Files {
    blocks: Vec<RamArg>,
    devices: Option<PathBuf>,
    in_place: bool,
    /// What has been created so far.
    created: Vec<Created>,
    /// The blocks for which room was set aside on a disk.
    reserved: Vec<(File, RamBlock)>,
    /// Whether files that were there before have been written to.
    overwritten: bool,
}

/// A file that this process has created.
struct Created {
    target: PathBuf,
    renamed: bool,
}

impl Files {
    /// Checks what can be checked before the source says how long each block is.
    pub(crate) fn plan(
        blocks: &[RamArg],
        devices: Option<&Path>,
        in_place: bool,
    ) -> Result<Self, Failure> {
        ram::check_names(blocks)?;
        for arg in blocks {
            let path = arg.path.display();
            match (arg.path.exists(), in_place) {
                (true, false) => {
                    let what = format!("destination: {path} exists already");
                    return Err(Failure::usage(what)
                        .hint("remove it, choose another file, or write into it with --in-place"));
                }
                (false, true) => {
                    let what = format!("destination: {path} does not exist");
                    return Err(Failure::usage(what)
                        .hint("create it with the block's length, or leave out --in-place"));
                }
                _ => {}
            }
        }
        if let Some(path) = devices.filter(|path| path.exists()) {
            let what = format!("destination: {} exists already", path.display());
            return Err(Failure::usage(what).hint("remove it or choose another file"));
        }
        Ok(Self {
            blocks: blocks.to_vec(),
            devices: devices.map(Into::into),
            in_place,
            created: Vec::new(),
            reserved: Vec::new(),
            overwritten: false,
        })
    }

    /// Whether the memory that [`Self::memory`] makes holds only zeros.
    pub(crate) fn are_fresh(&self) -> bool {
        !self.in_place
    }

    /// Makes the files as long as the source's blocks, and maps them.
    pub(crate) fn memory(&mut self, announced: &[AnnouncedBlock]) -> anyhow::Result<GuestMemory> {
        self.check_announced(announced)?;
        let mut blocks = Vec::new();
        for block in announced {
            let arg = self.blocks.iter().find(|arg| arg.name == block.name);
            let arg = arg.cloned().context("a block without a file")?;
            let mapped = self
                .map(&arg, block.used_length)
                .with_context(|| format!("block {:?}, {}", arg.name, arg.path.display()))?;
            blocks.push(mapped);
        }
        Ok(GuestMemory::new(PageSize::X86, blocks)?)
    }

    /// Writes the device state, and gives all files their names.
    pub(crate) fn complete(&mut self, devices: &[u8]) -> anyhow::Result<()> {
        for (file, block) in &self.reserved {
            sparse::release_zeros(file, block)
                .with_context(|| format!("block {}", block.name()))?;
        }
        if let Some(path) = self.devices.clone() {
            self.create(&path)
                .and_then(|mut file| Ok(file.write_all(devices)?))
                .with_context(|| path.display().to_string())?;
        }
        for file in &mut self.created {
            let path = file.target.display().to_string();
            ensure!(
                !file.target.exists(),
                "{path} has been created by somebody else meanwhile"
            );
            fs::rename(partial(&file.target), &file.target).context(path)?;
            file.renamed = true;
        }
        Ok(())
    }

    /// The migration has succeeded: leaves the files where they are.
    pub(crate) fn keep(mut self) {
        self.created.clear();
        self.overwritten = false;
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
            let known = self.blocks.iter().any(|arg| arg.name == *name);
            ensure!(
                known,
                "no file for the source's block {name}: give one with --ram {name}=FILE; it sends {}",
                sent()
            );
        }
        for arg in &self.blocks {
            let name = &arg.name;
            let known = announced.iter().any(|block| block.name == *name);
            ensure!(known, "the source has no block {name}; it sends {}", sent());
        }
        Ok(())
    }

    fn map(&mut self, arg: &RamArg, len: u64) -> anyhow::Result<RamBlock> {
        if self.in_place {
            let file = self.open(&arg.path, len)?;
            return map(&file, arg, len);
        }
        let file = self.create(&arg.path)?;
        if is_memory(&file)? {
            // Room that is set aside there is memory that is used up.
            sparse::check_space(&file, len)?;
            file.set_len(len)?;
            return map(&file, arg, len);
        }
        sparse::reserve(&file, len)?;
        let block = map(&file, arg, len)?;
        self.reserved.push((file, block.clone()));
        Ok(block)
    }

    fn open(&mut self, path: &Path, want: u64) -> anyhow::Result<File> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let got = file.metadata()?.len();
        if got != want && !(got > want && is_memory(&file)?) {
            bail!("the file has {got} bytes, the source's block {want}");
        }
        self.overwritten = true;
        Ok(file)
    }

    fn create(&mut self, target: &Path) -> anyhow::Result<File> {
        let path = partial(target);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(OWNER_ONLY)
            .open(&path)
            .with_context(|| {
                let path = path.display();
                format!("cannot create {path} (one of an earlier migration may be removed)")
            })?;
        self.created.push(Created {
            target: target.into(),
            renamed: false,
        });
        Ok(file)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for file in &self.created {
            let path = if file.renamed {
                file.target.clone()
            } else {
                partial(&file.target)
            };
            if let Err(error) = fs::remove_file(&path) {
                let path = path.display();
                output::message(format_args!("multifd: cannot remove {path}: {error}"));
            }
        }
        if self.overwritten {
            for arg in &self.blocks {
                let path = arg.path.display();
                output::message(format_args!(
                    "multifd: {path} holds a part of the guest only"
                ));
            }
        }
    }
}

fn map(file: &File, arg: &RamArg, len: u64) -> anyhow::Result<RamBlock> {
    let mapping = Mapping::shared(file.as_fd(), usize::try_from(len)?)?;
    Ok(RamBlock::new(arg.name.clone(), Arc::new(mapping))?)
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Whether a file is of memory, where lengths are whole huge pages or chosen ahead.
fn is_memory(file: &File) -> anyhow::Result<bool> {
    let system = rustix::fs::fstatfs(file)?;
    let is = |magic: u32| u32::try_from(system.f_type).is_ok_and(|kind| kind == magic);
    Ok(is(HUGETLBFS_MAGIC) || is(TMPFS_MAGIC))
}

/// Linux's `HUGETLBFS_MAGIC`.
const HUGETLBFS_MAGIC: u32 = 0x9584_58f6;
/// Linux's `TMPFS_MAGIC`, which memfds have as well.
const TMPFS_MAGIC: u32 = 0x0102_1994;
/// A guest's memory holds its secrets.
const OWNER_ONLY: u32 = 0o600;

#[cfg(test)]
mod tests {
    use multifd_core::wire::BlockName;

    use super::*;
    use crate::show::exit_code::ExitCode;

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
        files.memory(&[announced("a", 8192)]).unwrap();
        assert_eq!(names(folder.path()), ["ram.partial"]);
        files.complete(b"state").unwrap();
        files.keep();
        assert_eq!(names(folder.path()), ["devices", "ram"]);
        assert_eq!(fs::metadata(&ram).unwrap().len(), 8192);
        assert_eq!(fs::read(&devices).unwrap(), b"state");
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let plan = || Files::plan(&[arg("a", &folder.path().join("ram"))], None, false).unwrap();
        let mut files = plan();
        files.memory(&[announced("a", 4096)]).unwrap();
        drop(files);
        // The guest runs on at the source, so not even a complete copy may stay.
        let mut files = plan();
        files.memory(&[announced("a", 4096)]).unwrap();
        files.complete(b"").unwrap();
        drop(files);
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn nothing_is_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let ram = folder.path().join("ram");
        fs::write(&ram, [7; 8192]).unwrap();
        let refused = Files::plan(&[arg("a", &ram)], None, false);
        assert_eq!(refused.err().unwrap().code, ExitCode::Usage);

        let mut files = Files::plan(&[arg("a", &ram)], None, true).unwrap();
        assert!(!files.are_fresh());
        let error = files.memory(&[announced("a", 12288)]).unwrap_err();
        assert!(format!("{error:#}").contains("has 8192 bytes, the source's block 12288"));
        files.memory(&[announced("a", 8192)]).unwrap();
        drop(files);
        assert_eq!(fs::read(&ram).unwrap(), [7; 8192]);
    }

    #[test]
    fn blocks_and_files_must_match() {
        let folder = tempfile::tempdir().unwrap();
        let plan = || Files::plan(&[arg("a", &folder.path().join("a"))], None, false).unwrap();
        let unknown = [announced("a", 4096), announced("b", 4096)];
        let error = plan().memory(&unknown).unwrap_err().to_string();
        assert!(
            error.contains("--ram b=FILE") && error.contains("a (4096 bytes)"),
            "{error}"
        );
        let error = plan().memory(&[]).unwrap_err().to_string();
        assert!(error.contains("no block a"), "{error}");
        let huge = [announced("a", 1 << 60)];
        let error = format!("{:#}", plan().memory(&huge).unwrap_err());
        assert!(error.contains("do not fit"), "{error}");
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
