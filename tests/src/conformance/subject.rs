// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is checked.

use std::sync::Arc;

use multifd_core::method::{Implementation, Rung};
use multifd_core::{
    ChannelSetup, MethodError, MethodIdentity, MultifdMethods, Pages, RecvMethod, Segments,
    SendMethod,
};

/// Whether a payload that was changed on its way can be told from one that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// The format has no checksum: a change may go unnoticed and give other pages.
    Unchecked,
    /// The format has a checksum: no change may give other pages.
    Checked,
}

/// A method to be checked, and what its format promises.
#[derive(Clone)]
pub struct Subject {
    /// The opened method.
    pub method: Arc<dyn MultifdMethods>,
    /// What its format promises about changed payloads.
    pub integrity: Integrity,
}

impl Subject {
    /// A method to be checked.
    pub fn new(method: Arc<dyn MultifdMethods>, integrity: Integrity) -> Self {
        Self { method, integrity }
    }
}

/// A method whose channels are asked for rungs of its ladder: for these, one after the other and again.
#[derive(Clone)]
pub struct OnRungs {
    /// The opened method.
    pub method: Arc<dyn MultifdMethods>,
    /// The rungs, from 0 on.
    pub rungs: Vec<usize>,
}

struct OnRungsSend {
    state: Box<dyn SendMethod>,
    rungs: Vec<usize>,
    packets: usize,
}

impl MultifdMethods for OnRungs {
    fn identity(&self) -> MethodIdentity {
        self.method.identity()
    }

    fn implementation(&self) -> Implementation {
        self.method.implementation()
    }

    fn ladder(&self) -> &'static [Rung] {
        self.method.ladder()
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        let most = self.rungs.iter().max().map(|rung| rung + 1);
        let state = self.method.send_setup(&setup.clone().with_rungs(most))?;
        Ok(Box::new(OnRungsSend {
            state,
            rungs: self.rungs.clone(),
            packets: 0,
        }))
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        self.method.recv_setup(setup)
    }
}

impl SendMethod for OnRungsSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        if let Some(rung) = self.rungs.iter().cycle().nth(self.packets) {
            self.state.select(*rung);
        }
        self.packets += 1;
        self.state.send_prepare(pages, out)
    }
}
