// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Builds the hosts of `tests/hosts` as folders.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::harness::{Folder, run};

/// A host that `--root` can name.
pub(crate) struct Tree {
    folder: Folder,
}

impl Tree {
    /// Builds the host that `tests/hosts/NAME.host` describes.
    pub(crate) fn of(name: &str) -> Result<Self> {
        let file = format!("{}/tests/hosts/{name}.host", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&file).context(file)?;
        let tree = Self {
            folder: Folder::new()?,
        };
        let mut section = "";
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                Some(folder) => section = folder,
                None if line.is_empty() => {}
                None => tree.set(section, line).with_context(|| line.to_owned())?,
            }
        }
        Ok(tree)
    }

    /// Makes what a line describes, in place of what is there.
    pub(crate) fn set(&self, folder: &str, line: &str) -> Result<()> {
        let folder = self.folder.path(folder);
        fs::create_dir_all(&folder)?;
        if let Some((name, value)) = line.split_once(" = ") {
            let value = value.replace("\\n", "\n").replace("\\t", "\t");
            fs::write(folder.join(name), value + "\n")?;
        } else if let Some((name, target)) = line.split_once(" -> ") {
            let _ = fs::remove_file(folder.join(name));
            symlink(target, folder.join(name))?;
        } else if let Some((name, mode)) = line.split_once(" mode ") {
            fs::write(folder.join(name), "")?;
            let mode = fs::Permissions::from_mode(u32::from_str_radix(mode, 8)?);
            fs::set_permissions(folder.join(name), mode)?;
        } else if let Some(name) = line.strip_suffix(" elf") {
            fs::write(folder.join(name), b"\x7fELF\x02\x01\x01")?;
        } else if let Some(name) = line.strip_suffix('/') {
            fs::create_dir_all(folder.join(name))?;
        } else {
            bail!("not a line of a host");
        }
        Ok(())
    }

    /// Takes a file, a link or a folder away.
    pub(crate) fn remove(&self, path: &str) -> Result<()> {
        let path = self.folder.path(path);
        let metadata = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
        if metadata.is_dir() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.root()
    }

    /// What the command says of it.
    pub(crate) fn doctor(&self) -> Result<Value> {
        run(&[
            "doctor",
            "--json",
            "--root",
            &self.root().display().to_string(),
        ])?
        .json(0)
    }
}
