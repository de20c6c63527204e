// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A line of the table.

use crate::peer::Processor;

/// What a case is about: all columns but what was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The QEMUs.
    pub peers: Peers,
    /// What the command does: `recv`, `recv --save, send --load`.
    pub role: &'static str,
    /// The machine type.
    pub machine: String,
    /// The compression method; of both sides if they differ: `none, zstd`.
    pub method: String,
    /// What else is set: how barriers and zero pages are sent, the return path, a guest that runs.
    pub mode: String,
    /// How many channels; of both sides if they differ.
    pub channels: String,
}

/// Which QEMUs take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// A QEMU sends to the command.
    From(Age),
    /// The command sends to a QEMU.
    To(Age),
    /// From one QEMU to another, with the command between them.
    Between(Age, Age),
}

/// Which of the QEMUs of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// The current one.
    Current,
    /// The one from before 9.0.
    Old,
    /// The one that is newer than the current one.
    New,
    /// The one that emulates another processor, of the same age as the current one.
    Emulator(Processor),
}

impl Row {
    /// A short name for messages, with everything in it that tells one case from another.
    #[must_use]
    pub fn name(&self) -> String {
        let Self {
            peers,
            role,
            machine,
            method,
            mode,
            channels,
        } = self;
        format!("{role} {peers:?}, {machine}, {method}, {mode}, {channels} channels")
    }

    /// The columns but the last, with the versions of the QEMUs.
    #[must_use]
    pub fn columns(&self, version: &dyn Fn(Age) -> String) -> [String; 6] {
        [
            self.peers.text(version),
            format!("`{}`", self.role.replace(", ", "`, `")),
            self.machine.clone(),
            self.method.clone(),
            self.mode.clone(),
            self.channels.clone(),
        ]
    }
}

impl Peers {
    /// Who they are.
    #[must_use]
    pub fn ages(self) -> [Age; 2] {
        match self {
            Self::From(age) | Self::To(age) => [age, age],
            Self::Between(from, to) => [from, to],
        }
    }

    fn text(self, version: &dyn Fn(Age) -> String) -> String {
        match self {
            Self::From(age) => format!("from {}", version(age)),
            Self::To(age) => format!("to {}", version(age)),
            Self::Between(from, to) => format!("{} to {}", version(from), version(to)),
        }
    }
}
