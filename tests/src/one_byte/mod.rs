//! The method of `docs/adding-a-method.md`, just as that page builds it.

mod recv;
mod send;

use std::sync::Arc;

use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodId, MethodOptions, MultifdMethods, RecvMethod,
    SendMethod,
};

/// Opens the method `one-byte`: a page of one repeated byte travels as that byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneByteFactory;

impl MethodFactory for OneByteFactory {
    fn id(&self) -> MethodId {
        ID
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn open(&self, _options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
        Ok(Arc::new(OneByteMethod))
    }
}

/// The opened method: there is nothing to configure.
#[derive(Debug)]
struct OneByteMethod;

impl MultifdMethods for OneByteMethod {
    fn id(&self) -> MethodId {
        ID
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        Ok(Box::new(send::OneByteSend::new(setup)))
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(Box::new(recv::OneByteRecv::new(setup)))
    }
}

/// The value of `multifd-compression`.
const NAME: &str = "one-byte";

/// A number that no method of QEMU has.
const ID: MethodId = match MethodId::new(30) {
    Some(id) => id,
    None => MethodId::NONE,
};

/// A page follows as it is.
const RAW: u8 = 0;
/// One byte follows, which the whole page consists of.
const REPEATED: u8 = 1;
