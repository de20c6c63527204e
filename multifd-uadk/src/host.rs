// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What keeps this host's devices from being used, for a person to mend.
//!
//! The kernel's driver `hisi_zip` registers a Kunpeng's compression engine with `uacce`, which shows it
//! as a folder in `/sys/class/uacce` (the kernel's `sysfs-driver-uacce`) and as a file of the same name
//! in `/dev`. Whoever opens that file has a queue.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The first thing that is missing, and what to do about it.
pub(crate) fn diagnose() -> String {
    diagnose_in(Path::new("/sys/class/uacce"), Path::new("/dev"))
}

fn diagnose_in(class: &Path, dev: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(class)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    if names.is_empty() {
        return format!(
            "there is no device in {}: load the kernel's driver with `modprobe hisi_zip uacce_mode=1`, on a \
             Kunpeng whose firmware has the compression engine and the SMMU enabled",
            class.display()
        );
    }
    let zlib: Vec<&String> = names
        .iter()
        .filter(|name| {
            read(class, name, "algorithms")
                .lines()
                .any(|known| known == "zlib")
        })
        .collect();
    if zlib.is_empty() {
        return format!(
            "none of {} does zlib: load the kernel's driver with `modprobe hisi_zip uacce_mode=1`",
            names.join(", ")
        );
    }
    let obstacles: Vec<String> = zlib
        .iter()
        .filter_map(|name| Some(format!("{name} {}", obstacle(class, dev, name)?)))
        .collect();
    if obstacles.len() < zlib.len() {
        return format!(
            "{} seems usable: the system log has the library's own messages (`journalctl -t uadk-err`)",
            zlib.iter()
                .map(|name| name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    obstacles.join("; ")
}

/// What keeps one device from being used.
fn obstacle(class: &Path, dev: &Path, name: &str) -> Option<String> {
    let flags: u32 = read(class, name, "flags").trim().parse().unwrap_or(0);
    if flags & SHARED_ADDRESSES == 0 {
        return Some(
            "has no shared virtual addresses: load its driver with `modprobe hisi_zip uacce_mode=1`, \
             on a kernel with CONFIG_ARM_SMMU_V3_SVA and with the SMMU enabled in the firmware"
                .to_owned(),
        );
    }
    if read(class, name, "isolate").trim() == "1" {
        return Some("is isolated after hardware errors: reset it".to_owned());
    }
    if read(class, name, "available_instances").trim() == "0" {
        return Some(
            "has no queue left: end other users, or load its driver with a larger pf_q_num"
                .to_owned(),
        );
    }
    let node = dev.join(name);
    match File::options().read(true).write(true).open(&node) {
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(format!(
            "may not be opened: give this user read and write permission on {}, by a udev rule",
            node.display()
        )),
        Err(error) => Some(format!("cannot be opened at {}: {error}", node.display())),
    }
}

/// The text of an attribute; empty if it cannot be read.
fn read(class: &Path, name: &str, attribute: &str) -> String {
    fs::read_to_string(class.join(name).join(attribute)).unwrap_or_default()
}

/// `UACCE_DEV_SVA` of the kernel's `uacce.h`.
const SHARED_ADDRESSES: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_is_missing_is_said() {
        let root = tempfile::tempdir().unwrap();
        let (class, dev) = (root.path().join("uacce"), root.path().join("dev"));
        let says = |what: &str| {
            let said = diagnose_in(&class, &dev);
            assert!(said.contains(what), "{said}");
        };
        let write = |name: &str, attribute: &str, text: &str| {
            fs::create_dir_all(class.join(name)).unwrap();
            fs::write(class.join(name).join(attribute), text).unwrap();
        };
        says("there is no device in");
        write("hisi_sec2-1", "algorithms", "cipher\ndigest\n");
        says("none of hisi_sec2-1 does zlib");
        write(
            "hisi_zip-0",
            "algorithms",
            "zlib\ngzip\ndeflate\nlz77_zstd\n",
        );
        says("hisi_zip-0 has no shared virtual addresses");
        write("hisi_zip-0", "flags", "1\n");
        write("hisi_zip-0", "isolate", "1\n");
        says("hisi_zip-0 is isolated");
        write("hisi_zip-0", "isolate", "0\n");
        write("hisi_zip-0", "available_instances", "0\n");
        says("hisi_zip-0 has no queue left");
        write("hisi_zip-0", "available_instances", "256\n");
        says("hisi_zip-0 cannot be opened at");
        fs::create_dir(&dev).unwrap();
        fs::write(dev.join("hisi_zip-0"), "").unwrap();
        says("hisi_zip-0 seems usable");
    }
}
