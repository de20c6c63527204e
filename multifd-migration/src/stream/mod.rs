// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The main channel of a QEMU migration, byte for byte.
//!
//! One connection carries all that is not a packet of pages: what machine this is, its RAM blocks,
//! where the rounds end, and the device state. All integers are big endian.
//!
//! | part | what it is | read as | written by |
//! |---|---|---|---|
//! | head | magic `QEVM`, version 3, [`Configuration`] | [`Event::Configuration`] | [`Outgoing::configuration`] |
//! | [commands](Command) | between sections | [`Event::Command`] | [`Outgoing::command`] |
//! | [other sections](EarlySection) | between RAM's | [`Event::EarlyStart`], [`Event::EarlyData`], [`Event::EarlyEnd`] | [`Outgoing::early_section`] |
//! | RAM START | the list of [blocks](AnnouncedBlock) | [`Event::RamStart`] | [`Outgoing::ram_start`] |
//! | RAM PART | any number; the rounds | [`Event::Sync`], [`Event::ZeroPage`] | [`Outgoing::ram_part`] |
//! | RAM END | the last round, with the guest stopped | as PART | [`Outgoing::ram_end`] |
//! | [tail](Tail) | device state and VM description | [`Incoming::read_tail`] | [`Outgoing::tail`] |
//!
//! The other way go the [messages](ReturnMessage) of the return path.
//!
//! Nothing here has threads, knows memory or decides anything: a destination asks [`Incoming`] for the
//! next event, a source tells [`Outgoing`] what to write. Everything is checked before it is believed,
//! and every length that a peer chose has a limit.

mod beginning;
mod command;
mod configuration;
mod device;
mod early;
mod end;
mod error;
mod event;
mod ids;
mod incoming;
mod json;
mod outgoing;
mod problem;
mod ram;
mod reader;
mod return_path;
mod section;
mod tail;
#[cfg(test)]
mod tests;
mod vmdesc;
mod walk;
mod writer;

pub use command::{Command, PageSizes};
pub use configuration::{
    Configuration, MAIN_VERSION, MAPPED_RAM, MAX_CAPABILITIES, MAX_MACHINE_NAME_LEN,
    X_IGNORE_SHARED,
};
pub use device::{DeviceSection, SectionInfo};
pub use early::{
    EarlyPart, EarlyPlace, EarlySection, MAX_EARLY_DEVICES, MAX_UNKNOWN_LEN, SectionHead,
    SectionKind,
};
pub use end::MAX_DESCRIPTION_LEN;
pub use error::{Direction, Position, StreamError};
pub use event::Event;
pub use ids::{CommandId, MessageId};
pub use incoming::Incoming;
pub use outgoing::{Outgoing, RAM_SECTION_ID, RamSection};
pub use problem::Problem;
pub use ram::{
    AnnouncedBlock, MAX_BLOCKS, RAM_IDSTR, RAM_INSTANCE, RAM_VERSION, RamPart, SyncMode,
};
pub use reader::Reader;
pub use return_path::{ReturnMessage, ReturnReader};
pub use section::EMPTY_TAIL;
pub use tail::{MAX_TAIL_LEN, Tail};
pub use vmdesc::MAX_DEVICES;
pub use writer::Writer;
