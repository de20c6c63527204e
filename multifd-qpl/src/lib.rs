// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Format
//!
//! A payload is a table of lengths and then the pages back to back; `multifd_deflate::table` has the
//! layout. A page is sent as it is, or as one complete raw deflate stream (RFC 1951), which is shorter
//! than the page and stands alone. Distances are at most 4 KiB, because the device remembers no more.
//!
//! ## Implementations
//!
//! The format is complete in software here, both ways. Where a host has the device and libqpl, the
//! library is loaded at run time and the device does the work. The option `accelerator` says which of
//! them may be used:
//!
//! | `accelerator` | what does the work |
//! |---|---|
//! | `auto` | the device if the host has one that works, else this project's software; without a device nothing is loaded, unless a library is named |
//! | `hardware` | the device, every page; without one the method cannot be opened, and the error says what is missing |
//! | `library` | libqpl: with the device if there is one, else its own software |
//! | `software` | this project's software |
//!
//! A page that the device or the library cannot do is done by this project's software, and counted in
//! [`PathCounts`](multifd_core::method::PathCounts); with `hardware` it ends the migration. A device that has been
//! silent for [`ChannelSetup::accelerator_limit`] is left alone with its memory, which stays for ever. The option `qpl-library` is the path of libqpl,
//! by default `libqpl.so.1` in the system's folders; any release from 1.5 on will do. The option
//! `isal-library` is described at [`Isal`].

mod abi;
mod device_recv;
mod device_send;
mod engine;
mod error;
mod host;
mod job;
mod library;
mod recv;
mod send;
mod session;
mod software;
#[cfg(test)]
mod stand_in;
mod status;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::Arc;

use multifd_core::method::{Accelerator, Implementation};
use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodIdentity, MethodOptions, MultifdMethods,
    RecvMethod, SendMethod,
};
use multifd_deflate::{Deflate, Isal, table};

use crate::device_recv::DeviceRecv;
use crate::device_send::DeviceSend;
use crate::engine::{Engine, LIBRARY_OPTION};
use crate::error::NAME;
use crate::job::SoftwareJob;
use crate::recv::QplRecv;
use crate::send::QplSend;
use crate::session::Session;

/// Opens the method `qpl`. Its options are `accelerator`, `qpl-library` and `isal-library`.
#[derive(Clone, Copy, Debug, Default)]
pub struct QplFactory;

impl MethodFactory for QplFactory {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::QPL
    }

    fn open(&self, options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
        let accelerator = options
            .accelerator()
            .map_err(|what| MethodError::config(NAME, what))?;
        let deflate = Deflate::open(&Isal::from_option(options.text(Isal::OPTION)))
            .map_err(|error| MethodError::config(NAME, error.to_string()))?;
        let library = options.text(LIBRARY_OPTION);
        let engine = Engine::choose(accelerator, library).map_err(|missing| {
            let what = format!("{}={accelerator}, but {missing}", Accelerator::OPTION);
            MethodError::device(NAME, what)
        })?;
        Ok(Arc::new(QplMethod { engine, deflate }))
    }
}

/// The opened method.
#[derive(Debug)]
struct QplMethod {
    engine: Engine,
    /// This project's own implementation, alone or for what the library cannot do.
    deflate: Deflate,
}

impl MultifdMethods for QplMethod {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::QPL
    }

    fn implementation(&self) -> Implementation {
        self.engine.describe(&self.deflate)
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        let page = setup.page_size;
        let encoder = self.deflate.page_encoder(page.bytes());
        Ok(match &self.engine {
            Engine::Software { .. } => Box::new(QplSend::new(setup, encoder, None)),
            Engine::Library { library, .. } => {
                let job = SoftwareJob::new(library).map_err(no_job)?;
                Box::new(QplSend::new(setup, encoder, Some(job)))
            }
            Engine::Hardware(hardware) => {
                let session = Session::start(setup, hardware, setup.packet_bytes())?;
                Box::new(DeviceSend::new(setup, &self.deflate, session))
            }
        })
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        let page = setup.page_size;
        let decoder = self.deflate.decoder();
        Ok(match &self.engine {
            Engine::Software { .. } => Box::new(QplRecv::new(setup, decoder, None)),
            Engine::Library { library, .. } => {
                let job = SoftwareJob::new(library).map_err(no_job)?;
                Box::new(QplRecv::new(setup, decoder, Some(job)))
            }
            Engine::Hardware(hardware) => {
                let count = page.pages_per_packet();
                let input = *table::payload_limits(count, page.bytes()).end();
                let session = Session::start(setup, hardware, input)?;
                Box::new(DeviceRecv::new(setup, &self.deflate, session))
            }
        })
    }
}

fn no_job(status: status::Status) -> MethodError {
    MethodError::device(NAME, format!("libqpl cannot set up a job: {status}"))
}
