// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What this machine has for the cases.

use std::sync::OnceLock;

use anyhow::Result;

use super::Age;
use crate::command::Multifd;
use crate::guest;
use crate::peer::{self, Binary, Processor, Qemu};

/// The QEMUs and the command.
#[derive(Clone, Debug)]
pub struct Lab {
    current: Binary,
    old: Option<Binary>,
    new: Option<Binary>,
    /// Looked for only if a case needs one.
    emulators: OnceLock<Vec<(Processor, Binary)>>,
    multifd: Multifd,
}

/// What this machine has, or `None` where it lacks a QEMU or an assembler and tests may do without; then
/// that has been said on stderr.
///
/// # Errors
/// Peers are required and one is missing, or the command does not compile.
pub fn require() -> Result<Option<Lab>> {
    let Some(current) = peer::require()? else {
        return Ok(None);
    };
    if guest::require(LEAST_MEMORY)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Lab {
        current,
        old: peer::require_old()?,
        new: peer::require_new()?,
        emulators: OnceLock::new(),
        multifd: Multifd::build()?,
    }))
}

impl Lab {
    /// The QEMU of an age. Where there is [none](Self::has) it is the current one: a case that needs it is not run.
    #[must_use]
    pub fn qemu(&self, age: Age) -> &Binary {
        self.of_age(age).unwrap_or(&self.current)
    }

    /// Whether there is a QEMU of this age. If not, that has been said on stderr.
    ///
    /// # Errors
    /// There is none, but peers are required.
    pub fn has(&self, age: Age) -> Result<bool> {
        if let Age::Emulator(processor) = age {
            return Ok(peer::require_emulator(processor)?.is_some());
        }
        Ok(self.of_age(age).is_some())
    }

    fn of_age(&self, age: Age) -> Option<&Binary> {
        match age {
            Age::Current => Some(&self.current),
            Age::Old => self.old.as_ref(),
            Age::New => self.new.as_ref(),
            Age::Emulator(wanted) => {
                let mut emulators = self.emulators().iter();
                emulators.find_map(|(processor, binary)| (*processor == wanted).then_some(binary))
            }
        }
    }

    fn emulators(&self) -> &[(Processor, Binary)] {
        self.emulators.get_or_init(|| {
            let all = Processor::ALL.into_iter();
            all.filter_map(|processor| Some((processor, Qemu::emulator(processor).ok()?)))
                .collect()
        })
    }

    /// The command.
    #[must_use]
    pub fn multifd(&self) -> &Multifd {
        &self.multifd
    }

    /// The version of a QEMU: `10.0`.
    #[must_use]
    pub fn version(&self, age: Age) -> String {
        let (major, minor) = self.qemu(age).version();
        format!("{major}.{minor}")
    }
}

/// Any guest will do to see whether there is an assembler.
const LEAST_MEMORY: u64 = 4 << 20;
