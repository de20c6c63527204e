// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The method of `docs/adding-a-method.md`, just as that page builds it.

mod format;
mod recv;
mod send;

use std::sync::Arc;

use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodIdentity, MethodOptions, MultifdMethods,
    RecvMethod, SendMethod,
};

use format::METHOD;

/// Opens the method `one-byte`: a page of one repeated byte travels as that byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneByteFactory;

impl MethodFactory for OneByteFactory {
    fn identity(&self) -> MethodIdentity {
        METHOD
    }

    fn open(&self, _options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
        Ok(Arc::new(OneByteMethod))
    }
}

/// The opened method: there is nothing to configure.
#[derive(Debug)]
struct OneByteMethod;

impl MultifdMethods for OneByteMethod {
    fn identity(&self) -> MethodIdentity {
        METHOD
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        Ok(Box::new(send::OneByteSend::new(setup)))
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(Box::new(recv::OneByteRecv::new(setup)))
    }
}
