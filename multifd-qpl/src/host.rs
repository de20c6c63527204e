// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a host needs for libqpl to reach a device, as its kernel shows it.
//!
//! The driver `idxd` shows Intel's In-Memory Analytics Accelerators (IAA) as `iax<number>` below
//! `sys/bus/dsa/devices`, their work queues as folders in them, and a work queue that programs may
//! open as `dev/iax/wq<number>.<number>`.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What keeps a device from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// For a log.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) remedy: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)
    }
}

/// Looks whether some device of the host can be used, as far as its kernel shows. `root` is where
/// `sys` and `dev` are.
///
/// # Errors
/// The first thing that is missing for that.
pub(crate) fn look(root: &Path) -> Result<(), Missing> {
    let devices = folders(&root.join("sys/bus/dsa/devices"), "iax");
    if devices.is_empty() {
        return Err(missing(
            "no IAA device",
            "`lspci -d 8086:0cfe` lists those of the processor, and the kernel's driver idxd has to be loaded",
        ));
    }
    let queues: Vec<(&PathBuf, PathBuf)> = devices
        .iter()
        .flat_map(|device| {
            folders(device, "wq")
                .into_iter()
                .map(move |wq| (device, wq))
        })
        // libqpl passes over queues that one process has to itself.
        .filter(|(_, queue)| {
            let wanted = [("state", "enabled"), ("type", "user"), ("mode", "shared")];
            wanted
                .iter()
                .all(|(attribute, value)| is(queue, attribute, value))
        })
        .collect();
    if queues.is_empty() {
        return Err(missing(
            "no shared IAA work queue is enabled for programs",
            "configure one of type user and mode shared with accel-config",
        ));
    }
    if queues
        .iter()
        .all(|(device, _)| is(device, "pasid_enabled", "0"))
    {
        return Err(missing(
            "the IAA devices have no shared virtual memory",
            "boot with intel_iommu=on,sm_on",
        ));
    }
    open_one(&root.join("dev/iax"), queues.iter().map(|(_, queue)| queue))
}

/// Tells why none of the work queues can be opened, if that is so.
fn open_one<'q>(folder: &Path, queues: impl Iterator<Item = &'q PathBuf>) -> Result<(), Missing> {
    let mut result = Ok(());
    for queue in queues {
        let path = folder.join(queue.file_name().unwrap_or_default());
        match File::options().read(true).write(true).open(&path) {
            Ok(_) => return Ok(()),
            Err(error) if result.is_ok() => {
                result = Err(missing(
                    format!("{} cannot be opened: {error}", path.display()),
                    "give this user read and write access to it",
                ));
            }
            Err(_) => {}
        }
    }
    result
}

fn missing(what: impl Into<String>, remedy: &'static str) -> Missing {
    Missing {
        what: what.into(),
        remedy,
    }
}

/// The folders in `folder` whose names start like this, in order.
fn folders(folder: &Path, start: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders
}

/// Whether an attribute has this value. One that cannot be read has none.
fn is(folder: &Path, attribute: &str, value: &str) -> bool {
    fs::read_to_string(folder.join(attribute)).is_ok_and(|text| text.trim() == value)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A host with one device, which is complete but for what a test changes.
    struct Host(TempDir);

    impl Host {
        fn new() -> Self {
            let host = Self(TempDir::new().unwrap());
            host.set("sys/bus/dsa/devices/dsa0/state", "enabled");
            host.set("sys/bus/dsa/devices/iax1/state", "enabled");
            host.set("sys/bus/dsa/devices/iax1/pasid_enabled", "1");
            host.set("sys/bus/dsa/devices/iax1/wq1.0/state", "enabled");
            host.set("sys/bus/dsa/devices/iax1/wq1.0/type", "user");
            host.set("sys/bus/dsa/devices/iax1/wq1.0/mode", "shared");
            host.set("dev/iax/wq1.0", "");
            host
        }

        fn set(&self, path: &str, value: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }

        fn remove(&self, path: &str) {
            let path = self.0.path().join(path);
            fs::remove_dir_all(&path)
                .or_else(|_| fs::remove_file(&path))
                .unwrap();
        }

        fn missing(&self, want: &str) {
            let missing = look(self.0.path()).unwrap_err().to_string();
            assert!(missing.contains(want), "{missing}, wanted {want}");
        }
    }

    #[test]
    fn a_host_that_has_all_of_it() {
        assert_eq!(look(Host::new().0.path()), Ok(()));
    }

    #[test]
    fn the_first_thing_that_is_missing_is_told() {
        let host = Host::new();
        host.remove("dev/iax/wq1.0");
        host.missing("dev/iax/wq1.0 cannot be opened: No such file");
        // A second work queue that can be opened is enough.
        host.set("sys/bus/dsa/devices/iax1/wq1.1/state", "enabled");
        host.set("sys/bus/dsa/devices/iax1/wq1.1/type", "user");
        host.set("sys/bus/dsa/devices/iax1/wq1.1/mode", "shared");
        host.set("dev/iax/wq1.1", "");
        assert_eq!(look(host.0.path()), Ok(()));

        host.set("sys/bus/dsa/devices/iax1/pasid_enabled", "0");
        host.missing("intel_iommu=on,sm_on");
        host.set("sys/bus/dsa/devices/iax1/wq1.0/type", "kernel");
        host.set("sys/bus/dsa/devices/iax1/wq1.1/mode", "dedicated");
        host.missing("no shared IAA work queue is enabled");
        host.set("sys/bus/dsa/devices/iax1/wq1.1/mode", "shared");
        host.set("sys/bus/dsa/devices/iax1/wq1.1/state", "disabled");
        host.missing("no shared IAA work queue is enabled");
        host.remove("sys/bus/dsa/devices/iax1");
        host.missing("no IAA device");
        host.remove("sys");
        host.missing("no IAA device");
    }
}
