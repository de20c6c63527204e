// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests of a few instructions for other processors.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::peer::{Processor, Qemu};

/// A guest that counts for ever, in one place of its memory. On POWER it counts as long as the hash table has all
/// translations that it has entered.
#[derive(Debug)]
pub struct Foreign {
    processor: Processor,
    _folder: TempDir,
    image: PathBuf,
}

impl Foreign {
    /// Writes the image of this processor's guest.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(processor: Processor) -> Result<Self> {
        let folder = TempDir::with_prefix("multifd-guest-")?;
        let image = folder.path().join("image");
        fs::write(&image, code(processor))?;
        Ok(Self {
            processor,
            _folder: folder,
            image,
        })
    }

    /// How much memory the machine has.
    #[must_use]
    pub fn memory(&self) -> u64 {
        match self.processor {
            Processor::Ppc64 => 256 << 20,
            _ => 16 << 20,
        }
    }

    /// What QEMU is told to run it.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        let image = self.image.display();
        let args = match self.processor {
            Processor::Aarch64 => {
                let loader = format!("loader,file={image},addr={AARCH64_START:#x},cpu-num=0");
                ["-cpu", "cortex-a57", "-device", &loader].map(String::from)
            }
            Processor::S390x => ["-kernel", &image.to_string(), "-smp", "1"].map(String::from),
            // What TCG has not, and would warn of.
            Processor::Ppc64 => {
                let machine = "cap-cfpc=broken,cap-ibs=broken,cap-ccf-assist=off";
                ["-machine", machine, "-bios", &image.to_string()].map(String::from)
            }
        };
        args.to_vec()
    }

    /// How far it has counted.
    ///
    /// # Errors
    /// QEMU's.
    pub fn count(&self, qemu: &mut Qemu) -> Result<u64> {
        let range = self.counter();
        let bytes = qemu.physical_memory(range)?;
        let bytes: [u8; 8] = bytes.try_into().ok().context("not 8 bytes")?;
        Ok(match self.processor {
            Processor::Aarch64 => u64::from_le_bytes(bytes),
            _ => u64::from_be_bytes(bytes),
        })
    }

    fn counter(&self) -> Range<u64> {
        let start = match self.processor {
            Processor::Aarch64 => 0x4080_0000,
            _ => 0x2000,
        };
        start..start + 8
    }
}

fn code(processor: Processor) -> Vec<u8> {
    match processor {
        Processor::Aarch64 => AARCH64.iter().flat_map(|word| word.to_le_bytes()).collect(),
        Processor::S390x => {
            let between = vec![0; S390X_START - S390X_PSW.len()];
            [&S390X_PSW[..], &between, &S390X].concat()
        }
        Processor::Ppc64 => {
            let code = PPC64.iter().flat_map(|word| word.to_be_bytes());
            std::iter::repeat_n(0, PPC64_START).chain(code).collect()
        }
    }
}

const AARCH64_START: u64 = 0x4040_0000;
const AARCH64: [u32; 5] = [
    0xd2a8_1000, // movz x0, #0x4080, lsl #16
    0xf940_0001, // 1: ldr x1, [x0]
    0x9100_0421, // add x1, x1, #1
    0xf900_0001, // str x1, [x0]
    0x17ff_fffd, // b 1b
];

/// Where the processor starts, with addresses of 31 bits.
const S390X_START: usize = 0x1_0000;
const S390X_PSW: [u8; 8] = [0, 8, 0, 0, 0x80, 1, 0, 0];
/// Without an instruction that sets the condition code: with TCG it is not known before it is needed.
const S390X: [u8; 24] = [
    0xa7, 0x19, 0x20, 0x00, // lghi %r1, 0x2000
    0xe3, 0x20, 0x10, 0x00, 0x00, 0x04, // 1: lg %r2, 0(%r1)
    0x41, 0x20, 0x20, 0x01, // la %r2, 1(%r2)
    0xe3, 0x20, 0x10, 0x00, 0x00, 0x24, // stg %r2, 0(%r1)
    0xa7, 0xf4, 0xff, 0xf8, // j 1b
];

/// Where firmware starts.
const PPC64_START: usize = 0x100;
/// Enters 64 translations into the hash table by hypercalls, each in a group of its own. Then it reads them for
/// ever, and counts up for each time that all of them are there.
const PPC64: [u32; 28] = [
    0x39c0_0000, // li r14, 0
    0x3860_0008, // 1: li r3, 8 (H_ENTER)
    0x3880_0000, // li r4, 0
    0x55c5_3830, // slwi r5, r14, 7: the index
    0x55c6_6026, // slwi r6, r14, 12
    0x60c6_0001, // ori r6, r6, 1: the virtual page, valid
    0x55c7_6026, // slwi r7, r14, 12
    0x60e7_0010, // ori r7, r7, 0x10: the real page, memory
    0x4400_0022, // sc 1
    0x39ce_0001, // addi r14, r14, 1
    0x2c0e_0040, // cmpwi r14, 64
    0x4180_ffd8, // blt 1b
    0x3a00_0000, // li r16, 0
    0x39c0_0000, // 2: li r14, 0
    0x3860_000c, // 3: li r3, 12 (H_READ)
    0x3880_0000, // li r4, 0
    0x55c5_3830, // slwi r5, r14, 7
    0x4400_0022, // sc 1
    0x55c6_6026, // slwi r6, r14, 12
    0x60c6_0010, // ori r6, r6, 0x10
    0x7c25_3000, // cmpd r5, r6
    0x4082_0000, // bne .: one is missing
    0x39ce_0001, // addi r14, r14, 1
    0x2c0e_0040, // cmpwi r14, 64
    0x4180_ffd8, // blt 3b
    0x3a10_0001, // addi r16, r16, 1
    0xfa00_2000, // std r16, 0x2000(0)
    0x4bff_ffc8, // b 2b
];
