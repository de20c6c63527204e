//! The method `qatzip`: pages as gzip members in the form that Intel QAT compresses and decompresses.
//!
//! A payload is one or more gzip members (RFC 1952) back to back; their content is the packet's
//! normal pages in order. Packets do not depend on each other. QATzip's default format adds an extra
//! field to each member that says how long it is, compressed and not; see `member.rs`.
//!
//! This implementation is software only. What it sends is what QAT's hardware decompresses without
//! help: members of at most 64 KiB of pages, all with the extra field. It receives every legal
//! member, of any length, with the extra field or without it.
//!
//! `multifd-qatzip-level` is 1 to 9, by default 1, as in QEMU. Each level is slower than the one before
//! and compresses better. Level 1 is done by ISA-L where `libisal.so.2` is installed, or the file that the
//! option `isal-library` names (`none` to do without it); all others are libdeflate's levels of the same
//! number. Pages that look incompressible are stored at every level.
//!
//! ```
//! use multifd_core::{MethodOptions, Registry};
//!
//! let mut registry = Registry::new();
//! registry.register(multifd_qatzip::QatzipFactory)?;
//! let options = MethodOptions::new().with("multifd-qatzip-level", 3);
//! let method = registry.open("qatzip", &options)?;
//! assert_eq!(method.name(), "qatzip");
//! # Ok::<(), multifd_core::method::RegistryError>(())
//! ```

mod member;
mod recv;
mod send;

use std::sync::Arc;

use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodId, MethodOptions, MultifdMethods, RecvMethod,
    SendMethod,
};
use multifd_deflate::{Deflate, Isal, Level};

/// Opens the method `qatzip`. Its options are `multifd-qatzip-level` and [`Isal::OPTION`].
#[derive(Clone, Copy, Debug, Default)]
pub struct QatzipFactory;

impl MethodFactory for QatzipFactory {
    fn id(&self) -> MethodId {
        MethodId::QATZIP
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn open(&self, options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
        let level = options
            .level("multifd-qatzip-level", 1..=9, 1)
            .map_err(|what| MethodError::config(NAME, what))?;
        let level = Level::new(level)
            .ok_or_else(|| MethodError::config(NAME, format!("there is no level {level}")))?;
        let deflate = Deflate::open(&Isal::from_option(options.text(Isal::OPTION)))
            .map_err(|error| MethodError::config(NAME, error.to_string()))?;
        Ok(Arc::new(QatzipMethod { level, deflate }))
    }
}

/// The opened method.
#[derive(Debug)]
struct QatzipMethod {
    level: Level,
    deflate: Deflate,
}

impl MultifdMethods for QatzipMethod {
    fn id(&self) -> MethodId {
        MethodId::QATZIP
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn implementation(&self) -> String {
        format!("software ({})", self.deflate.implementation())
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        let sender = send::QatzipSend::new(setup, self.level, &self.deflate);
        Ok(Box::new(sender))
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(Box::new(recv::QatzipRecv::new(setup, &self.deflate)))
    }
}

/// The value of `multifd-compression`.
const NAME: &str = "qatzip";
