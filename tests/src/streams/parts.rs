// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a main channel says, without what differs from one migration of a guest to the next.

use anyhow::{Context as _, Result, bail, ensure};

use super::plan::Early;

/// The parts of a main channel that are the guest's. Left out are the commands, and the sections of RAM but the
/// first one: how many rounds there are is a matter of each migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Magic, version, configuration.
    pub head: Vec<u8>,
    /// Sections of others before RAM's.
    pub before: Vec<u8>,
    /// RAM's first section: the blocks.
    pub start: Vec<u8>,
    /// Sections of others behind that.
    pub behind: Vec<u8>,
    /// Sections of others behind one of RAM's PART sections.
    pub beside: Vec<u8>,
    /// All behind RAM's last section.
    pub tail: Vec<u8>,
}

impl Parts {
    /// Takes a main channel apart. `early` is as long as the sections of others are: nothing else says it.
    ///
    /// # Errors
    /// It is none, or has what is not expected.
    pub fn read(main: &[u8], early: &Early) -> Result<Self> {
        let mut cursor = Cursor { main, at: 0 };
        let head = cursor.head()?;
        cursor.commands()?;
        let before = cursor.take(early.before.len())?.to_vec();
        cursor.commands()?;
        let start = cursor.at;
        ensure!(cursor.u8()? == 1, "RAM does not start");
        let id = cursor.u32()?;
        let name = usize::from(cursor.u8()?);
        ensure!(cursor.take(name)? == b"ram", "another section than RAM's");
        cursor.take(8)?;
        let mut left = cursor.u64()? & !0xfff;
        while left > 0 {
            let name = usize::from(cursor.u8()?);
            cursor.take(name)?;
            left = left.checked_sub(cursor.u64()?).context("the total")?;
        }
        cursor.words(id)?;
        let start = main.get(start..cursor.at).context("the start")?.to_vec();
        cursor.commands()?;
        let behind = cursor.take(early.behind.len())?.to_vec();
        let mut beside = None;
        loop {
            cursor.commands()?;
            let kind = cursor.u8()?;
            ensure!(cursor.u32()? == id, "another section than RAM's");
            cursor.words(id)?;
            match kind {
                2 => {
                    cursor.commands()?;
                    // Behind the last round, if there are several.
                    if beside.is_none() && !cursor.is_at_ram(id) {
                        beside = Some(cursor.take(early.beside.len())?.to_vec());
                    }
                }
                3 => break,
                _ => bail!("a section of type {kind}"),
            }
        }
        let tail = main.get(cursor.at..).context("no tail")?.to_vec();
        Ok(Self {
            head,
            before,
            start,
            behind,
            beside: beside.unwrap_or_default(),
            tail,
        })
    }
}

struct Cursor<'m> {
    main: &'m [u8],
    at: usize,
}

impl<'m> Cursor<'m> {
    fn head(&mut self) -> Result<Vec<u8>> {
        ensure!(self.take(9)? == b"QEVM\0\0\0\x03\x07", "no main channel");
        let machine = usize::try_from(self.u32()?)?;
        self.take(machine)?;
        while self.main.get(self.at) == Some(&5) {
            self.take(1)?;
            let name = usize::from(self.u8()?);
            let name = self.take(name)?;
            self.take(4)?;
            match name {
                b"configuration/target-page-bits" => self.take(4)?,
                b"configuration/uuid" => self.take(16)?,
                b"configuration/capabilities" => {
                    ensure!(self.u32()? == 0, "capabilities");
                    &[]
                }
                other => bail!("the sub-section {}", other.escape_ascii()),
            };
        }
        Ok(self.main.get(..self.at).context("the head")?.to_vec())
    }

    /// Whether a section of RAM that has begun goes on here.
    fn is_at_ram(&self, id: u32) -> bool {
        let rest = self.main.get(self.at..).unwrap_or_default();
        let id = id.to_be_bytes();
        [2, 3]
            .iter()
            .any(|kind| rest.starts_with(&[&[*kind], &id[..]].concat()))
    }

    fn commands(&mut self) -> Result<()> {
        while self.main.get(self.at) == Some(&8) {
            self.take(3)?;
            let [high, low] = [self.u8()?, self.u8()?];
            self.take(usize::from(u16::from_be_bytes([high, low])))?;
        }
        Ok(())
    }

    /// Passes by a RAM section's words and its footer.
    fn words(&mut self, id: u32) -> Result<()> {
        loop {
            match self.u64()? & 0xfff {
                0x10 => break,
                0x200 => {}
                0x002 => {
                    let name = usize::from(self.u8()?);
                    self.take(name + 1)?;
                }
                0x022 => {
                    self.take(1)?;
                }
                flags => bail!("a word with the flags {flags:#x}"),
            }
        }
        ensure!(self.u8()? == 0x7e && self.u32()? == id, "no footer");
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'m [u8]> {
        let rest = self.main.get(self.at..).unwrap_or_default();
        let (taken, _) = rest.split_at_checked(len).context("the stream ends")?;
        self.at += len;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(*self.take(1)?.first().context("a byte")?)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into()?))
    }
}
