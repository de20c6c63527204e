// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]

mod recv;
mod send;

use std::sync::Arc;

use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodIdentity, MethodOptions, MultifdMethods,
    RecvMethod, SendMethod,
};

/// Opens the method `none`. It takes no options.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoneFactory;

impl MethodFactory for NoneFactory {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::NONE
    }

    fn open(&self, _options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
        Ok(Arc::new(NoneMethod))
    }
}

/// The opened method: there is nothing to configure.
#[derive(Debug)]
struct NoneMethod;

impl MultifdMethods for NoneMethod {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::NONE
    }

    fn send_setup(&self, _setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        Ok(Box::new(send::NoneSend))
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(Box::new(recv::NoneRecv::new(setup)))
    }
}
