// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The stream's first bytes, and the configuration section behind them.
//!
//! | size | field |
//! |---|---|
//! | 4 | magic `QEVM` |
//! | 4 | version 3 |
//! | 1 | `0x07` |
//! | 4 + n | machine name |
//! | .. | sub-sections, each only if it is needed |
//!
//! A sub-section is `0x05`, its name behind one byte of length, version 1 as four bytes, and its data.
//! The configuration has no footer. That multifd is on, its method and its channels are not in it.

use multifd_core::PageSize;
use multifd_core::wire::{MAIN_MAGIC, Uuid};

use super::section::{self, SectionType};
use super::{Problem, Reader, StreamError, Writer};

/// What a source says about itself before anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The machine type, with its version: `pc-i440fx-10.0`. QEMU compares it with its own as far as
    /// it goes, so an empty one suits every machine.
    pub machine: String,
    /// Binary logarithm of the target page size. Not sent for x86.
    pub page_bits: Option<u32>,
    /// The capabilities that both sides must have on or off alike: [`X_IGNORE_SHARED`] and
    /// [`MAPPED_RAM`]. No others are ever sent.
    pub capabilities: Vec<String>,
    /// The VM's UUID. Sent when the source has the capability `validate-uuid`.
    pub uuid: Option<Uuid>,
}

/// The capability to leave shared memory where it is.
pub const X_IGNORE_SHARED: &str = "x-ignore-shared";
/// The capability to give every page its fixed place in a file.
pub const MAPPED_RAM: &str = "mapped-ram";
/// The version of the main stream.
pub const MAIN_VERSION: u32 = 3;
/// The configuration's place in the stream, behind magic and version.
pub(super) const CONFIGURATION_OFFSET: u64 = 8;
/// Most bytes of a machine name. QEMU's have up to about 30.
pub const MAX_MACHINE_NAME_LEN: u32 = 1024;
/// Most capabilities in a configuration. There are two.
pub const MAX_CAPABILITIES: u32 = 16;

impl Configuration {
    /// The size of the guest's pages: what it names, or else what this side is set to, or else 4 KiB.
    ///
    /// # Errors
    /// It names another size than this side is set to, or one that cannot be migrated with multifd.
    pub fn page_size(&self, wanted: Option<PageSize>) -> Result<PageSize, Problem> {
        let Some(bits) = self.page_bits else {
            return Ok(wanted.unwrap_or_default());
        };
        let bytes = 1_u32.checked_shl(bits);
        match (bytes.and_then(PageSize::new), wanted) {
            (Some(got), None) => Ok(got),
            (Some(got), Some(want)) if got == want => Ok(got),
            (_, want) => Err(Problem::PageBits { got: bits, want }),
        }
    }

    /// Refuses what is for memory that is elsewhere.
    pub(super) fn check_capabilities(&self) -> Result<(), Problem> {
        let Some(name) = self.capabilities.first() else {
            return Ok(());
        };
        Err(Problem::Unsupported {
            what: format!("the capability {name}"),
            advice: match name.as_str() {
                MAPPED_RAM => "turn it off at the source; it is for files, not for connections",
                _ => "turn it off at the source",
            },
        })
    }

    /// Reads the stream from its first byte to the end of the configuration.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, StreamError> {
        expect_u32(reader, "the stream's magic", MAIN_MAGIC)?;
        expect_u32(reader, "the stream's version", MAIN_VERSION)?;
        let at = reader.offset();
        let kind = reader.u8("the configuration")?;
        if kind != SectionType::CONFIGURATION.0 {
            let want = "the configuration (0x07); set send-configuration=on at the source";
            return Err(reader.wrong(at, Problem::value("a section's type", kind, want)));
        }
        let mut configuration = Self {
            machine: read_machine(reader)?,
            ..Self::default()
        };
        while reader.peek("what follows the configuration")? == SectionType::SUBSECTION.0 {
            configuration.read_subsection(reader)?;
        }
        Ok(configuration)
    }

    /// Writes the stream from its first byte to the end of the configuration.
    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), StreamError> {
        let machine_len = count(
            "the length of the machine name",
            self.machine.len(),
            MAX_MACHINE_NAME_LEN,
        );
        let capabilities = count(
            "the number of capabilities",
            self.capabilities.len(),
            MAX_CAPABILITIES,
        );
        let at = writer.position();
        let wrong = |problem| StreamError::Caller { at, problem };
        let (machine_len, capabilities) =
            (machine_len.map_err(wrong)?, capabilities.map_err(wrong)?);

        writer.put(&MAIN_MAGIC.to_be_bytes())?;
        writer.put(&MAIN_VERSION.to_be_bytes())?;
        writer.put(&[SectionType::CONFIGURATION.0])?;
        writer.put(&machine_len.to_be_bytes())?;
        writer.put(self.machine.as_bytes())?;
        if let Some(bits) = self.page_bits {
            start_subsection(writer, PAGE_BITS)?;
            writer.put(&bits.to_be_bytes())?;
        }
        if capabilities > 0 {
            start_subsection(writer, CAPABILITIES)?;
            writer.put(&capabilities.to_be_bytes())?;
            for name in &self.capabilities {
                section::put_short_string(writer, name)?;
            }
        }
        if let Some(uuid) = self.uuid {
            start_subsection(writer, UUID)?;
            writer.put(&uuid.0)?;
        }
        Ok(())
    }

    fn read_subsection(&mut self, reader: &mut Reader) -> Result<(), StreamError> {
        const WHAT: &str = "a sub-section of the configuration";
        let at = reader.offset();
        reader.u8(WHAT)?;
        let name = section::text("sub-section", reader.short_string(WHAT)?)
            .map_err(|problem| reader.wrong(at, problem))?;
        expect_u32(reader, "a sub-section's version", SUBSECTION_VERSION)?;
        let repeated = match name.as_str() {
            PAGE_BITS => self.page_bits.replace(reader.u32(WHAT)?).is_some(),
            UUID => self.uuid.replace(Uuid(reader.array(WHAT)?)).is_some(),
            CAPABILITIES => {
                let repeated = !self.capabilities.is_empty();
                self.capabilities = read_capabilities(reader)?;
                repeated
            }
            _ => {
                let what = "sub-section of the configuration";
                return Err(reader.wrong(at, Problem::Unknown { what, got: name }));
            }
        };
        if repeated {
            let (what, when) = (WHAT, "comes twice");
            return Err(reader.wrong(at, Problem::Order { what, when }));
        }
        Ok(())
    }
}

fn read_machine(reader: &mut Reader) -> Result<String, StreamError> {
    let at = reader.offset();
    let len = reader.u32("the length of the machine name")?;
    let len = usize_up_to("the length of the machine name", len, MAX_MACHINE_NAME_LEN)
        .map_err(|problem| reader.wrong(at, problem))?;
    if len == 0 {
        return Ok(String::new());
    }
    section::text("machine", reader.bytes(len, "the machine name")?)
        .map_err(|problem| reader.wrong(at, problem))
}

fn read_capabilities(reader: &mut Reader) -> Result<Vec<String>, StreamError> {
    const WHAT: &str = "the list of capabilities";
    let at = reader.offset();
    let count = reader.u32(WHAT)?;
    let count = usize_up_to("the number of capabilities", count, MAX_CAPABILITIES)
        .map_err(|problem| reader.wrong(at, problem))?;
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        let at = reader.offset();
        let got = section::text("capability", reader.short_string(WHAT)?)
            .map_err(|problem| reader.wrong(at, problem))?;
        if ![X_IGNORE_SHARED, MAPPED_RAM].contains(&got.as_str()) {
            let what = "capability";
            return Err(reader.wrong(at, Problem::Unknown { what, got }));
        }
        names.push(got);
    }
    Ok(names)
}

fn start_subsection(writer: &mut Writer, name: &str) -> Result<(), StreamError> {
    writer.put(&[SectionType::SUBSECTION.0])?;
    section::put_short_string(writer, name)?;
    writer.put(&SUBSECTION_VERSION.to_be_bytes())
}

fn expect_u32(reader: &mut Reader, what: &'static str, want: u32) -> Result<(), StreamError> {
    let at = reader.offset();
    let got = reader.u32(what)?;
    if got == want {
        Ok(())
    } else {
        Err(reader.wrong(at, Problem::value(what, got, format_args!("{want:#x}"))))
    }
}

fn usize_up_to(what: &'static str, got: u32, max: u32) -> Result<usize, Problem> {
    let (got, max) = (u64::from(got), u64::from(max));
    match usize::try_from(got) {
        Ok(value) if got <= max => Ok(value),
        _ => Err(Problem::TooMany { what, got, max }),
    }
}

fn count(what: &'static str, got: usize, max: u32) -> Result<u32, Problem> {
    u32::try_from(got)
        .ok()
        .filter(|count| *count <= max)
        .ok_or(Problem::TooMany {
            what,
            got: got as u64,
            max: max.into(),
        })
}

const PAGE_BITS: &str = "configuration/target-page-bits";
const CAPABILITIES: &str = "configuration/capabilities";
const UUID: &str = "configuration/uuid";
const SUBSECTION_VERSION: u32 = 1;
