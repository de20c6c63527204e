// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Format
//!
//! A payload is one or more gzip members (RFC 1952) back to back; their content is the packet's
//! normal pages in order. Packets do not depend on each other. QATzip's default format adds an extra
//! field to each member that says how long it is, compressed and not; see `member.rs`.
//!
//! ## Who does the work
//!
//! The option `accelerator` decides when the method is opened ([`Accelerator`]):
//!
//! | `accelerator` | packets are done by |
//! |---|---|
//! | `auto` | a QAT device, by way of libqatzip; where there is none, this crate |
//! | `hardware` | a QAT device, every one; without it the method is not opened, and the error says what may be missing |
//! | `library` | libqatzip, with a device or with its own software; without a device only libqatzip before 1.3 |
//! | `software` | this crate; libqatzip is not loaded |
//!
//! libqatzip is `libqatzip.so.3` of the system, or the file that the option `qatzip-library` names.
//! With a device, a packet that it does not do is done by this crate (with `library`, by the library's
//! software first). Such a packet is counted with its reason, and the first one of a channel is logged. With
//! `hardware`, it ends the migration.
//!
//! That a device did a packet is known from how it is asked: its session has no software to fall back
//! to. What it makes is looked at too, since some drivers leave level 9 to software. In what is
//! received, only members that are exactly in QATzip's form reach the library, and only those of at
//! most 64 KiB a device; a sender without a device makes longer ones.
//!
//! ## A device that fails
//!
//! A call of the library that fails may have left the device at work: it may write to its output later.
//! Neither the session nor its memory is used again then, and the channel goes on without its device. A
//! call may also never return. So the library's sessions live on a second thread of their channel, which
//! the host starts, and which is left alone when it has been silent for longer than
//! [`ChannelSetup::accelerator_limit`].
//!
//! After a channel was set up, this crate opens nothing. libqatzip sleeps while it waits for the
//! device, and sets up an instance of the device when it is first used, which channels may share. Its
//! software looks for a device with every packet, and opens files to do so; from 1.3 on it also loses one
//! of the process's thread keys each time, and is refused unless the option `qatzip-without-device` is
//! `allow`: that is for tests and measurements.
//!
//! ## This crate's software
//!
//! What it sends is what QAT's hardware decompresses without help: members of at most 64 KiB of pages,
//! all with the extra field. It receives every legal member, of any length, with the extra field or
//! without it.
//!
//! Each level is slower than the one before
//! and compresses better. Level 1 is done by ISA-L where `libisal.so.2` is installed, or the file that the
//! option `isal-library` names (`none` to do without it); all others are libdeflate's levels of the same
//! number. Pages that look incompressible are stored at every level.

mod attempt;
mod device_recv;
mod device_send;
mod engine;
mod host;
mod member;
mod recv;
mod send;
mod session;
mod shape;
mod trial;
mod worker;

use std::sync::Arc;

#[cfg(doc)]
use multifd_core::method::Accelerator;
use multifd_core::method::Implementation;
use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodIdentity, MethodOptions, MultifdMethods,
    RecvMethod, SendMethod,
};
use multifd_deflate::{Deflate, Isal, Level};

use crate::device_recv::DeviceRecv;
use crate::device_send::DeviceSend;
use crate::engine::Engine;
use crate::recv::QatzipRecv;
use crate::send::QatzipSend;

use member::NAME;

/// Opens the method `qatzip`. Its options are `multifd-qatzip-level`, `accelerator`, `qatzip-library`
/// and [`Isal::OPTION`].
#[derive(Clone, Copy, Debug, Default)]
pub struct QatzipFactory;

impl MethodFactory for QatzipFactory {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::QATZIP
    }

    fn open(&self, options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
        let level = options
            .level("multifd-qatzip-level", 1..=9, 1)
            .map_err(|what| MethodError::config(NAME, what))?;
        let level = Level::new(level)
            .ok_or_else(|| MethodError::config(NAME, format!("there is no level {level}")))?;
        let deflate = Deflate::open(&Isal::from_option(options.text(Isal::OPTION)))
            .map_err(|error| MethodError::config(NAME, error.to_string()))?;
        let engine = Engine::open(options, level.number())?;
        Ok(Arc::new(QatzipMethod {
            level,
            deflate,
            engine,
        }))
    }
}

/// The opened method.
#[derive(Debug)]
struct QatzipMethod {
    level: Level,
    /// This crate's software, which every implementation may fall back to.
    deflate: Deflate,
    engine: Engine,
}

impl MultifdMethods for QatzipMethod {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::QATZIP
    }

    fn implementation(&self) -> Implementation {
        self.engine.describe(&self.deflate)
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        let own = QatzipSend::new(setup, self.level, &self.deflate);
        Ok(match &self.engine {
            Engine::Own(_) => Box::new(own),
            Engine::Vendor(vendor) => Box::new(DeviceSend::new(setup, vendor, own)?),
        })
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        let own = QatzipRecv::new(setup, &self.deflate);
        Ok(match &self.engine {
            Engine::Own(_) => Box::new(own),
            Engine::Vendor(vendor) => Box::new(DeviceRecv::new(setup, vendor, own)?),
        })
    }
}
