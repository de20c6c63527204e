// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QEMUs that emulate another processor.

use super::{Binary, Qemu, Unavailable};
use crate::peer::binary::{Wanted, found_unless_switched_off};

/// A processor that a QEMU of its own emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// Arm of 64 bits.
    Aarch64,
    /// IBM's mainframes.
    S390x,
    /// POWER of 64 bits.
    Ppc64,
}

impl Processor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aarch64, Self::S390x, Self::Ppc64];

    /// Its name: `aarch64`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::S390x => "s390x",
            Self::Ppc64 => "ppc64",
        }
    }

    /// The machine that its guests of ours are for.
    #[must_use]
    pub fn machine(self) -> &'static str {
        match self {
            Self::Aarch64 => "virt",
            Self::S390x => "s390-ccw-virtio",
            Self::Ppc64 => "pseries",
        }
    }

    fn wanted(self) -> &'static Wanted {
        match self {
            Self::Aarch64 => &AARCH64,
            Self::S390x => &S390X,
            Self::Ppc64 => &PPC64,
        }
    }
}

impl Qemu {
    /// The QEMU of this machine that emulates a processor, or why there is none: the one that for instance
    /// `MULTIFD_QEMU_AARCH64` names, else `qemu-system-aarch64` on `PATH`.
    ///
    /// # Errors
    ///
    /// See [`Unavailable`].
    pub fn emulator(processor: Processor) -> Result<Binary, Unavailable> {
        let wanted = processor.wanted();
        let binary = wanted.find(|| wanted.on_path())?;
        Ok(binary.that_emulates())
    }
}

/// A QEMU that emulates a processor to test against, or `None`; as [`require`](super::require).
///
/// # Errors
///
/// A missing one is an error where [peers are required](super::are_required), unless for instance
/// `MULTIFD_QEMU_AARCH64=none` asks for a run without it.
pub fn require_emulator(processor: Processor) -> anyhow::Result<Option<Binary>> {
    found_unless_switched_off(Qemu::emulator(processor))
}

static AARCH64: Wanted = Wanted {
    program: "qemu-system-aarch64",
    variable: "MULTIFD_QEMU_AARCH64",
    script: "scripts/install-qemu.sh aarch64",
    ..Wanted::CURRENT
};
static S390X: Wanted = Wanted {
    program: "qemu-system-s390x",
    variable: "MULTIFD_QEMU_S390X",
    script: "scripts/install-qemu.sh s390x",
    ..Wanted::CURRENT
};
static PPC64: Wanted = Wanted {
    program: "qemu-system-ppc64",
    variable: "MULTIFD_QEMU_PPC64",
    script: "scripts/install-qemu.sh ppc64",
    ..Wanted::CURRENT
};
