// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Keeping what devices send before the end of RAM, while it comes.

use std::fs::File;
use std::io::{self, Write as _};

use multifd_migration::stream::EarlyPart;

use super::early_layout;
use super::manifest::EarlyEntry;
use crate::disk::checksum::Checksum;

/// The file that sections are written to. No more than a piece of them is in memory.
pub(super) struct EarlyFile {
    file: File,
    /// Data that has no place in the file yet.
    piece: Vec<u8>,
    bytes: u64,
    sections: u64,
    checksum: Checksum,
}

impl EarlyFile {
    /// `file` is new.
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            piece: Vec::new(),
            bytes: 0,
            sections: 0,
            checksum: Checksum::default(),
        }
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, part: EarlyPart<'_>) -> io::Result<()> {
        match part {
            EarlyPart::Start { head, place } => {
                self.sections += 1;
                self.put(&early_layout::encode(head, place)?)
            }
            EarlyPart::Data(mut data) => {
                while !data.is_empty() {
                    let room = PIECE.saturating_sub(self.piece.len()).max(1);
                    let (now, later) = data.split_at(room.min(data.len()));
                    self.piece.extend_from_slice(now);
                    data = later;
                    if self.piece.len() >= PIECE {
                        self.put_piece()?;
                    }
                }
                Ok(())
            }
            EarlyPart::End => {
                if !self.piece.is_empty() {
                    self.put_piece()?;
                }
                // The last piece has no bytes.
                self.put_piece()
            }
        }
    }

    /// Makes sure that all of it is on the disk; answers what that is, if there is anything.
    pub(super) fn finish(&self) -> io::Result<Option<EarlyEntry>> {
        self.file.sync_all()?;
        let entry = EarlyEntry {
            bytes: self.bytes,
            sections: self.sections,
            crc32: Some(self.checksum.value()),
        };
        Ok(Some(entry).filter(|entry| entry.sections > 0))
    }

    fn put_piece(&mut self) -> io::Result<()> {
        let mut piece = std::mem::take(&mut self.piece);
        let len = u32::try_from(piece.len()).map_err(io::Error::other)?;
        self.put(&len.to_be_bytes())?;
        self.put(&piece)?;
        piece.clear();
        self.piece = piece;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        self.checksum.update(bytes);
        Ok(())
    }
}

/// Bytes of a piece, but for a section's last.
const PIECE: usize = 64 << 10;
