// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether a guest runs, and the section of a stream that says so.
//!
//! QEMU's section `globalstate`, version 1: the length of the state's name with its NUL, `u32`; then 100 bytes,
//! the name and its NUL first.

use crate::stream::{DeviceSection, Tail};

/// Whether a guest ran when it was migrated, and so whether it runs once it has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RunState {
    /// It ran, and goes on.
    #[default]
    Running,
    /// It was paused, and stays so.
    Paused,
}

impl RunState {
    /// The section's name: a host that knows all its devices by name meets it among them.
    pub const SECTION: &'static str = "globalstate";

    /// The section that tells a destination, a QEMU as well, that the guest stays paused. A guest that
    /// runs needs none.
    pub(crate) fn section(self) -> Option<DeviceSection> {
        match self {
            Self::Running => None,
            Self::Paused => {
                let name = b"paused\0";
                let len = u32::try_from(name.len()).ok()?;
                let mut data = len.to_be_bytes().to_vec();
                data.extend_from_slice(name);
                data.resize(LEN, 0);
                Some(DeviceSection {
                    name: Self::SECTION.into(),
                    instance: 0,
                    version: VERSION,
                    data,
                })
            }
        }
    }
}

impl Tail {
    /// Whether the guest runs once it has arrived, as the source says in the section `globalstate`. `None` if
    /// there is none, or none that can be found without a VM description.
    ///
    /// QEMU has many names for a guest that does not run, `paused` and `prelaunch` among them; all of them
    /// are [`RunState::Paused`].
    pub fn run_state(&self) -> Option<RunState> {
        let mut sections = self.sections.iter().flatten();
        let section = sections.find(|section| section.idstr == RunState::SECTION)?;
        if section.version != VERSION {
            return None;
        }
        let name = self.data(section).get(size_of::<u32>()..)?;
        let name = name.split(|byte| *byte == 0).next()?;
        Some(match name {
            // A guest that sleeps runs, too: something may wake it.
            b"running" | b"suspended" => RunState::Running,
            _ => RunState::Paused,
        })
    }
}

const VERSION: u32 = 1;
/// Bytes of the section's state.
const LEN: usize = 4 + 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::SectionInfo;

    fn tail(name: &[u8]) -> Tail {
        let mut bytes = vec![0, 0, 0, 9];
        bytes.extend_from_slice(name);
        bytes.resize(LEN, 0);
        let section = SectionInfo {
            id: 3,
            idstr: RunState::SECTION.into(),
            instance: 0,
            version: VERSION,
            offset: 0,
            len: LEN,
        };
        Tail {
            bytes,
            description: None,
            sections: Some(vec![section]),
        }
    }

    #[test]
    fn qemus_names_are_known() {
        for (name, state) in [
            (&b"running"[..], RunState::Running),
            (b"suspended", RunState::Running),
            (b"paused", RunState::Paused),
            (b"prelaunch", RunState::Paused),
            (b"postmigrate", RunState::Paused),
            (b"", RunState::Paused),
        ] {
            assert_eq!(tail(name).run_state(), Some(state), "{name:?}");
        }
        let mut other = tail(b"running");
        other.sections = None;
        assert_eq!(other.run_state(), None);
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(RunState::Running.section(), None);
        let section = RunState::Paused.section().unwrap();
        assert_eq!(section.data.len(), LEN);
        assert_eq!(section.data[..4], [0, 0, 0, 7]);
        let mut read = tail(b"");
        read.bytes = section.data;
        assert_eq!(read.run_state(), Some(RunState::Paused));
    }
}
