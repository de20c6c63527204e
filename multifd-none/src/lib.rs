// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The method `none`: pages travel as they are.
//!
//! A payload is the packet's normal pages back to back, in the order of the packet, and nothing
//! else: `n` pages of `P` bytes are exactly `n * P` bytes. Nothing is copied on either side; the
//! pages go between the connection and guest memory directly.
//!
//! It is also the smallest complete method. A new one has the same three files: `lib.rs` opens the
//! method, `send.rs` is the state of a sending channel, `recv.rs` that of a receiving one.
//!
//! ```
//! use multifd_core::{MethodOptions, Registry};
//!
//! let mut registry = Registry::new();
//! registry.register(multifd_none::NoneFactory)?;
//! let method = registry.open("none", &MethodOptions::new())?;
//! assert_eq!(method.name(), "none");
//! # Ok::<(), multifd_core::method::RegistryError>(())
//! ```

mod recv;
mod send;

use std::sync::Arc;

use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodId, MethodOptions, MultifdMethods, RecvMethod,
    SendMethod,
};

use recv::NAME;

/// Opens the method `none`. It takes no options.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoneFactory;

impl MethodFactory for NoneFactory {
    fn id(&self) -> MethodId {
        MethodId::NONE
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn open(&self, _options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
        Ok(Arc::new(NoneMethod))
    }
}

/// The opened method: there is nothing to configure.
#[derive(Debug)]
struct NoneMethod;

impl MultifdMethods for NoneMethod {
    fn id(&self) -> MethodId {
        MethodId::NONE
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn send_setup(&self, _setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        Ok(Box::new(send::NoneSend))
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(Box::new(recv::NoneRecv::new(setup)))
    }
}
