// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Format
//!
//! A payload is a table of lengths, 32 bits each, big endian, one per page of the packet; then the
//! pages back to back. A page whose length is the page size follows as it is. Any other is one
//! complete zlib stream (RFC 1950) without a dictionary, shorter than the page, with its checksum.
//! Neither pages nor packets depend on each other.
//!
//! ## Who does the work
//!
//! The option `accelerator` decides ([`Accelerator`]):
//!
//! | value | |
//! |---|---|
//! | `auto`, the default | the device, if the library and the device are there and pass a trial; else this crate's software |
//! | `hardware` | the device, every page that is for one; without it an error that says what is missing |
//! | `library` | the device, or an error that says what is missing: the library has no software of its own for zlib. A page that the device fails at is done in software |
//! | `software` | this crate's software; nothing is loaded |
//!
//! The library is `libwd_comp.so.2` of UADK 2.4 or later, from where the system has it, or from the
//! folder or file that the option `uadk-library` names. It is loaded when the method is opened, and tried
//! on a page of the crate's own: what was compiled for other structures, or cannot reach the process's
//! memory, is found there. With `auto`, a page that the device fails at later is done
//! in software, and counted.
//!
//! Several pages of a channel are with the device at a time: requests are queued, and the library tells of those that
//! are done when it is polled. A device that has been silent for
//! [`ChannelSetup::accelerator_limit`] is left alone with its memory, which stays for ever. Where the library has no queues
//! for that, each request is waited for in the library's call, which has a limit of its own.
//! After a decompression by the device the checksum is compared in software, since the device does not
//! refuse a stream for it.
//!
//! The software sends streams that the device takes: with 4 KiB pages no distance exceeds 4 KiB. It
//! receives every legal stream. `isal-library` is the option of [`Isal`], which it is built upon.
//!
//! The level is the device's lowest.

mod abi;
mod device_recv;
mod device_send;
mod engine;
mod host;
mod library;
mod process;
mod recv;
mod request;
mod send;
mod session;
mod trial;
mod zlib;

use std::path::Path;
use std::sync::Arc;

#[cfg(doc)]
use multifd_core::method::Accelerator;
use multifd_core::method::Implementation;
use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodIdentity, MethodOptions, MultifdMethods,
    RecvMethod, SendMethod,
};
use multifd_deflate::{Deflate, Isal};

use crate::device_recv::DeviceRecv;
use crate::device_send::DeviceSend;
use crate::engine::Engine;
use crate::process::Process;
use crate::recv::UadkRecv;
use crate::request::Operation;
use crate::send::UadkSend;
use crate::zlib::NAME;

/// Opens the method `uadk`. Its options are `accelerator`, [`UadkFactory::LIBRARY_OPTION`] and
/// [`Isal::OPTION`].
///
/// UADK's library has one state per process. A factory shares it between the methods that it opens,
/// so a process has one factory: with a second one, only one of both gets the device.
#[derive(Debug, Default)]
pub struct UadkFactory {
    process: Process,
}

impl UadkFactory {
    /// The option that names the library's file, or the folder that it is in.
    pub const LIBRARY_OPTION: &str = engine::LIBRARY_OPTION;
}

impl MethodFactory for UadkFactory {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::UADK
    }

    fn open(&self, options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
        let config = |what: String| MethodError::config(NAME, what);
        let accelerator = options.accelerator().map_err(config)?;
        let deflate = Deflate::open(&Isal::from_option(options.text(Isal::OPTION)))
            .map_err(|error| config(error.to_string()))?;
        let location = options.text(Self::LIBRARY_OPTION).map(Path::new);
        let engine = Engine::open(&self.process, accelerator, location, &deflate)?;
        Ok(Arc::new(UadkMethod { engine, deflate }))
    }
}

/// The opened method.
#[derive(Debug)]
struct UadkMethod {
    engine: Engine,
    deflate: Deflate,
}

impl MultifdMethods for UadkMethod {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::UADK
    }

    fn implementation(&self) -> Implementation {
        self.engine.describe(&self.deflate)
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        Ok(match self.engine.session(setup, Operation::Compress)? {
            Some(session) => Box::new(DeviceSend::new(setup, &self.deflate, session)),
            None => Box::new(UadkSend::new(setup, &self.deflate)),
        })
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(match self.engine.session(setup, Operation::Decompress)? {
            Some(session) => Box::new(DeviceRecv::new(setup, &self.deflate, session)),
            None => Box::new(UadkRecv::new(setup, &self.deflate)),
        })
    }
}
