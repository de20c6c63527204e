// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What devices sent before the end of RAM, from the file that it was kept in.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, ensure};
use multifd_core::{Error, Fault};
use multifd_migration::EarlySections;
use multifd_migration::stream::{
    EarlyPart, EarlyPlace, MAX_EARLY_DEVICES, SectionHead, SectionKind,
};
use serde::Serialize;

use super::early_layout;
use super::names::EARLY;

/// The sections of a file, checked. Only what is said of each device is in memory.
pub(crate) struct KeptEarly {
    file: File,
    /// Where the sections of each place begin.
    starts: [Option<u64>; EarlyPlace::ALL.len()],
    pub(crate) sections: u64,
    /// In the order in which they begin.
    pub(crate) devices: Vec<EarlyDevice>,
}

/// What a device has sent before the end of RAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EarlyDevice {
    pub(crate) name: String,
    pub(crate) instance: u32,
    pub(crate) version: u32,
    pub(crate) id: u32,
    /// It begins before RAM's first section.
    pub(crate) before_ram: bool,
    /// It is all of the device's state.
    pub(crate) full: bool,
    pub(crate) sections: u64,
    /// Of its state.
    pub(crate) bytes: u64,
}

impl KeptEarly {
    /// Reads all of a file, and checks that a source could have sent it beside RAM's sections of this id.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(super) fn open(file: File, ram_section_id: u32) -> anyhow::Result<Self> {
        let mut sections = Sections {
            ram_section_id,
            ..Sections::default()
        };
        let (mut starts, mut last) = ([None; EarlyPlace::ALL.len()], EarlyPlace::default());
        let mut reader = Reader::at(&file, 0);
        let (mut count, mut piece) = (0, Vec::new());
        loop {
            let at = reader.offset();
            let wrong = || format!("the section at byte {at:#x}");
            let Some((head, place)) = early_layout::decode(&mut reader).with_context(wrong)? else {
                break;
            };
            ensure!(place >= last, "{}: out of order", wrong());
            last = place;
            if let Some(start) = starts.get_mut(place as usize) {
                start.get_or_insert(at);
            }
            let device = sections.enter(&head, place).with_context(wrong)?;
            while early_layout::read_piece(&mut reader, &mut piece).with_context(wrong)? {
                device.bytes += piece.len() as u64;
            }
            count += 1;
        }
        Ok(Self {
            starts,
            sections: count,
            devices: sections.devices,
            file,
        })
    }

    /// How many devices have sent all of their state.
    pub(super) fn full(&self) -> usize {
        self.devices.iter().filter(|device| device.full).count()
    }

    /// Gives the sections of a place on, from the file.
    fn each_part(
        &self,
        wanted: EarlyPlace,
        send: &mut dyn FnMut(EarlyPart<'_>) -> Result<(), Error>,
    ) -> anyhow::Result<()> {
        let Some(start) = self.starts.get(wanted as usize).copied().flatten() else {
            return Ok(());
        };
        let (mut reader, mut piece) = (Reader::at(&self.file, start), Vec::new());
        while let Some((head, place)) = early_layout::decode(&mut reader)? {
            if place != wanted {
                break;
            }
            send(EarlyPart::Start { head: &head, place })?;
            while early_layout::read_piece(&mut reader, &mut piece)? {
                send(EarlyPart::Data(&piece))?;
            }
            send(EarlyPart::End)?;
        }
        Ok(())
    }
}

impl EarlySections for KeptEarly {
    fn send(
        &self,
        place: EarlyPlace,
        send: &mut dyn FnMut(EarlyPart<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let sent = self.each_part(place, send);
        sent.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::new(Fault::Caller, format!("{EARLY}: {error:#}")),
        })
    }
}

/// Which sections have begun.
#[derive(Default)]
struct Sections {
    ram_section_id: u32,
    devices: Vec<EarlyDevice>,
    /// The devices that may go on, by the ids of their sections.
    open: HashMap<u32, usize>,
}

impl Sections {
    /// A section begins; answers its device.
    fn enter(&mut self, head: &SectionHead, place: EarlyPlace) -> anyhow::Result<&mut EarlyDevice> {
        let id = head.id;
        ensure!(id != self.ram_section_id, "its id {id:#x} is RAM's");
        let index = match head.kind {
            SectionKind::Start | SectionKind::Full => self.begin(head, place)?,
            SectionKind::Part => self.open.get(&id).copied().context(CONTINUES)?,
            SectionKind::End => self.open.remove(&id).context(CONTINUES)?,
        };
        let device = self.devices.get_mut(index).context(CONTINUES)?;
        let is_same = device.name == head.idstr
            && (device.instance, device.version) == (head.instance, head.version);
        ensure!(is_same, "it continues another device's");
        device.sections += 1;
        Ok(device)
    }

    fn begin(&mut self, head: &SectionHead, place: EarlyPlace) -> anyhow::Result<usize> {
        let id = head.id;
        ensure!(!self.open.contains_key(&id), "its id {id:#x} begins twice");
        let index = self.devices.len();
        ensure!(
            index < MAX_EARLY_DEVICES,
            "more than {MAX_EARLY_DEVICES} devices"
        );
        let full = head.kind == SectionKind::Full;
        if !full {
            self.open.insert(id, index);
        }
        self.devices.push(EarlyDevice {
            name: head.idstr.clone(),
            instance: head.instance,
            version: head.version,
            id,
            before_ram: place == EarlyPlace::BeforeRam,
            full,
            sections: 0,
            bytes: 0,
        });
        Ok(index)
    }
}

/// Reads a file from somewhere on, whatever else reads it.
struct Reader<'f> {
    buffered: BufReader<At<'f>>,
}

struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl<'f> Reader<'f> {
    fn at(file: &'f File, offset: u64) -> Self {
        Self {
            buffered: BufReader::with_capacity(BUFFER, At { file, offset }),
        }
    }

    /// Of the next byte.
    fn offset(&self) -> u64 {
        self.buffered.get_ref().offset - self.buffered.buffer().len() as u64
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.buffered.read(buffer)
    }
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

const BUFFER: usize = 64 << 10;
const CONTINUES: &str = "it continues no other";

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::early_write::EarlyFile;
    use super::*;

    fn head(kind: SectionKind, id: u32, idstr: &str) -> SectionHead {
        SectionHead {
            kind,
            id,
            idstr: idstr.into(),
            instance: 1,
            version: 2,
        }
    }

    /// A file of sections with this data.
    fn written(sections: &[(SectionHead, EarlyPlace, &[u8])]) -> File {
        let mut file = EarlyFile::new(tempfile::tempfile().unwrap());
        for (head, place, data) in sections {
            let place = *place;
            file.take(EarlyPart::Start { head, place }).unwrap();
            file.take(EarlyPart::Data(data)).unwrap();
            file.take(EarlyPart::End).unwrap();
        }
        let bytes = file.finish().unwrap().map_or(0, |entry| entry.bytes);
        assert_eq!(file.file().metadata().unwrap().len(), bytes);
        file.file().try_clone().unwrap()
    }

    fn bytes_of(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn error_of(bytes: &[u8]) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let opened = KeptEarly::open(file, 1);
        opened
            .err()
            .map_or_else(String::new, |error| format!("{error:#}"))
    }

    use EarlyPlace::{BeforeRam, BehindStart, BesideRam};
    use SectionKind::{End, Full, Part, Start};

    #[test]
    fn a_section_of_any_length_comes_back() {
        for len in [0, 1, 65_535, 65_536, 65_537, 3 << 20] {
            let data: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[1]).collect();
            let kept = KeptEarly::open(
                written(&[
                    (head(Full, 2, "before"), BeforeRam, b"x"),
                    (head(Full, 2, "it"), BesideRam, &data),
                ]),
                1,
            )
            .unwrap();
            assert_eq!((kept.sections, kept.full()), (2, 2));
            let mut sent = Vec::new();
            let mut send = |part: EarlyPart<'_>| {
                match part {
                    EarlyPart::Start { head, .. } => assert_eq!(head.idstr, "it"),
                    EarlyPart::Data(data) => sent.extend_from_slice(data),
                    EarlyPart::End => {}
                }
                Ok(())
            };
            kept.send(BesideRam, &mut send).unwrap();
            kept.send(BehindStart, &mut |_| panic!("nothing is there"))
                .unwrap();
            assert!(sent == data, "{len}");
        }
    }

    #[test]
    fn a_failure_to_send_is_what_is_answered() {
        let file = written(&[(head(Full, 2, "it"), BeforeRam, b"x")]);
        let kept = KeptEarly::open(file, 1).unwrap();
        let mut refuse = |_: EarlyPart<'_>| Err(Error::new(Fault::Connection, "gone"));
        let error = kept.send(BeforeRam, &mut refuse).unwrap_err();
        assert_eq!(error.fault(), Fault::Connection);
    }

    #[test]
    fn a_file_that_is_cut_is_refused() {
        let start = (head(Start, 2, "one"), BeforeRam, &b"data"[..]);
        let end = (head(End, 2, "one"), BesideRam, &b""[..]);
        let first = bytes_of(&written(std::slice::from_ref(&start))).len();
        let bytes = bytes_of(&written(&[start, end]));
        for len in (1..bytes.len()).filter(|len| *len != first) {
            let error = error_of(&bytes[..len]);
            assert!(
                error.contains("the file ends in a section"),
                "{len}: {error}"
            );
        }
        assert_eq!(error_of(&bytes), "");
    }

    #[test]
    fn what_no_source_sends_is_refused() {
        type Sections<'s> = &'s [(SectionHead, EarlyPlace, &'s [u8])];
        let cases: &[(Sections<'_>, &str)] = &[
            (
                &[(head(Part, 2, "one"), BeforeRam, b"")],
                "continues no other",
            ),
            (
                &[(head(Full, 1, "one"), BeforeRam, b"")],
                "its id 0x1 is RAM's",
            ),
            (
                &[
                    (head(Start, 2, "one"), BeforeRam, b""),
                    (head(Full, 2, "one"), BeforeRam, b""),
                ],
                "begins twice",
            ),
            (
                &[
                    (head(Start, 2, "one"), BeforeRam, b""),
                    (head(Part, 2, "other"), BeforeRam, b""),
                ],
                "another device's",
            ),
            (
                &[
                    (head(Start, 2, "one"), BehindStart, b""),
                    (head(Part, 2, "one"), BeforeRam, b""),
                ],
                "out of order",
            ),
        ];
        for (sections, want) in cases {
            let error = error_of(&bytes_of(&written(sections)));
            assert!(error.contains(want), "{want}: {error}");
        }
        let good = bytes_of(&written(&[(head(Full, 2, "one"), BeforeRam, b"x")]));
        let changes: [(usize, u8, &str); 5] = [
            (0, 5, "type 5"),
            (1, 3, "place 3"),
            (6, 0, "not a valid device name"),
            (7, 0xff, "name"),
            (18, 0x7f, "wanted at most 1048576"),
        ];
        for (at, byte, want) in changes {
            let mut bytes = good.clone();
            bytes[at] = byte;
            let error = error_of(&bytes);
            assert!(error.contains(want), "{want}: {error}");
        }
    }
}
