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
//! `multifd-qatzip-level` is 1 to 9, by default 1, as in QEMU. It is libdeflate's level of the same
//! number; from 1 on each is slower than the one before and compresses better. Pages that look
//! incompressible are stored at every level.
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
mod stored;

use std::sync::Arc;

use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodId, MethodOptions, MultifdMethods, RecvMethod,
    SendMethod,
};

/// Opens the method `qatzip`. Its option is `multifd-qatzip-level`.
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
        Ok(Arc::new(QatzipMethod { level }))
    }
}

/// The opened method.
#[derive(Debug)]
struct QatzipMethod {
    /// 1 to 9.
    level: u8,
}

impl MultifdMethods for QatzipMethod {
    fn id(&self) -> MethodId {
        MethodId::QATZIP
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        Ok(Box::new(send::QatzipSend::new(setup, self.level)?))
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(Box::new(recv::QatzipRecv::new(setup)))
    }
}

/// The value of `multifd-compression`.
const NAME: &str = "qatzip";
