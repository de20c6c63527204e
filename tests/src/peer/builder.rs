// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command line of a QEMU.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Binary, Qemu, accelerator};
use crate::guest::Counter;

/// The name that a machine's memory has in the migration stream, if the machine is `none`.
///
/// It is the same for memory from a file and for memory that QEMU allocates itself.
pub const RAM_BLOCK: &str = "ram";

/// Describes a QEMU process; made by [`Binary::machine`].
///
/// Without further calls it is a `none` machine with 4 MiB of anonymous memory and no devices that
/// does not start its guest.
#[derive(Clone, Debug)]
pub struct Builder {
    binary: Binary,
    machine: String,
    memory: Memory,
    prealloc: bool,
    uuid: Option<String>,
    incoming: bool,
    running: bool,
    disk: Option<PathBuf>,
    args: Vec<OsString>,
}

#[derive(Clone, Debug)]
struct Memory {
    file: Option<PathBuf>,
    bytes: u64,
}

impl Binary {
    /// Starts the description of a process of this QEMU.
    #[must_use]
    pub fn machine(&self) -> Builder {
        Builder::new(self.clone())
    }
}

impl Builder {
    fn new(binary: Binary) -> Self {
        Self {
            binary,
            machine: "none".to_owned(),
            memory: Memory {
                file: None,
                bytes: 4 << 20,
            },
            prealloc: false,
            uuid: None,
            incoming: false,
            running: false,
            disk: None,
            args: Vec::new(),
        }
    }

    /// The machine type, as after `-machine`: `none` unless set.
    #[must_use]
    pub fn machine_type(mut self, name: &str) -> Self {
        name.clone_into(&mut self.machine);
        self
    }

    /// Anonymous memory of `bytes` bytes.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Memory { file: None, bytes };
        self
    }

    /// Memory of `bytes` bytes that is the file at `path`, shared with everyone who maps the file.
    ///
    /// An existing file keeps its content; a missing one is made, as zeros. On hugetlbfs `bytes` has
    /// to be a multiple of the mount's page size.
    #[must_use]
    pub fn memory_file(mut self, path: impl Into<PathBuf>, bytes: u64) -> Self {
        self.memory = Memory {
            file: Some(path.into()),
            bytes,
        };
        self
    }

    /// Boots this guest, in a machine of the memory that it is for, and writes what it prints on the
    /// first serial port to a file. The machine may be any but `none`.
    #[must_use]
    pub fn boot(mut self, guest: &Counter) -> Self {
        self.memory.bytes = guest.memory();
        self.boot_disk(guest.image())
    }

    /// Boots the disk of a guest. As [`Self::boot`], but the memory is whatever it is.
    #[must_use]
    pub fn boot_disk(mut self, disk: PathBuf) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Whether QEMU touches the whole memory file before it answers QMP. Off unless set.
    #[must_use]
    pub fn prealloc(mut self, prealloc: bool) -> Self {
        self.prealloc = prealloc;
        self
    }

    /// The guest's UUID in its printed form; none unless set, which is all zeros on the wire.
    #[must_use]
    pub fn uuid(mut self, uuid: &str) -> Self {
        self.uuid = Some(uuid.to_owned());
        self
    }

    /// Makes the process a destination that waits for `migrate-incoming`.
    #[must_use]
    pub fn incoming_defer(mut self) -> Self {
        self.incoming = true;
        self
    }

    /// Lets the guest run from the start, and on a destination from the end of the migration.
    #[must_use]
    pub fn running(mut self) -> Self {
        self.running = true;
        self
    }

    /// Adds arguments at the end of the command line.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Starts the process and connects to its QMP.
    ///
    /// # Errors
    ///
    /// If the process does not start, ends at once (the error then holds its stderr) or does not greet
    /// on QMP in time.
    pub fn start(self) -> Result<Qemu> {
        Qemu::start(|qmp_socket| self.command(qmp_socket))
    }

    fn command(&self, qmp_socket: &Path) -> Command {
        let mut command = Command::new(self.binary.path());
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        for folder in self.binary.data() {
            command.arg("-L").arg(folder);
        }
        let accelerator = match self.disk {
            _ if self.binary.emulates() => "tcg".into(),
            Some(_) => accelerator::for_code(),
            None => accelerator::for_memory(),
        };
        command.arg("-accel").arg(accelerator);
        self.add_memory(&mut command);
        if let Some(disk) = &self.disk {
            self.add_guest(&mut command, disk, &qmp_socket.with_file_name(SERIAL));
        }
        if let Some(uuid) = &self.uuid {
            command.args(["-uuid", uuid]);
        }
        if self.incoming {
            command.args(["-incoming", "defer"]);
        }
        if !self.running {
            command.arg("-S");
        }
        let mut socket = OsString::from("socket,id=qmp,path=");
        socket.push(escape_commas(qmp_socket));
        command.arg("-chardev").arg(socket);
        command.args(["-mon", "chardev=qmp,mode=control"]);
        command.args(&self.args);
        command
    }

    fn add_guest(&self, command: &mut Command, disk: &Path, serial: &Path) {
        let (interface, device) = match self.machine.split(',').next() {
            Some("microvm") => ("none,id=boot", Some("virtio-blk-device,drive=boot")),
            _ => ("floppy", None),
        };
        let mut drive = OsString::from(format!("if={interface},format=raw,readonly=on,file="));
        drive.push(escape_commas(disk));
        command.arg("-drive").arg(drive);
        if let Some(device) = device {
            command.args(["-device", device]);
        }
        let mut file = OsString::from("file,id=serial,path=");
        file.push(escape_commas(serial));
        command.arg("-chardev").arg(file);
        command.args(["-serial", "chardev:serial"]);
    }

    fn add_memory(&self, command: &mut Command) {
        let Memory { file, bytes } = &self.memory;
        command.arg("-m").arg(format!("size={bytes}B"));
        let Some(file) = file else {
            command.arg("-machine").arg(&self.machine);
            return;
        };
        let prealloc = if self.prealloc { "on" } else { "off" };
        let mut object = OsString::from(format!(
            "memory-backend-file,id={RAM_BLOCK},size={bytes},share=on,prealloc={prealloc},mem-path="
        ));
        object.push(escape_commas(file));
        command.arg("-object").arg(object);
        let machine = format!("{},memory-backend={RAM_BLOCK}", self.machine);
        command.arg("-machine").arg(machine);
    }
}

/// QEMU splits options at commas and reads two as one that belongs to the value.
fn escape_commas(path: &Path) -> OsString {
    // Lossless for every path that can be made on the machines the tests run on: those are UTF-8.
    OsString::from(path.to_string_lossy().replace(',', ",,"))
}

/// The file in a process's folder that gets what the guest prints.
pub(super) const SERIAL: &str = "serial";
