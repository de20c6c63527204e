// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a sender works.

use std::sync::Arc;

use crate::adapt::AdaptConfig;
use crate::engine::limits::Limits;
use crate::method::{Spawn, StdThreads};
use crate::wire::Uuid;

/// How a [`Sender`](super::Sender) works.
#[derive(Clone)]
#[non_exhaustive]
pub struct SenderConfig {
    /// The VM's UUID, all zero if it has none. The destination refuses another one than its own.
    pub uuid: Uuid,
    /// Look for zero pages in the channels' threads and list them without payload: QEMU's
    /// `zero-page-detection=multifd`. Only receivers since QEMU 9.0 understand it; on by default.
    pub zero_pages: bool,
    /// Choose for each packet how much to compress it; `None`, the default, keeps to what the method was opened with.
    pub adapt: Option<AdaptConfig>,
    /// How long things are waited for. A destination that is set to more channels than there are takes nothing.
    pub limits: Limits,
    /// Starts the threads.
    pub threads: Arc<dyn Spawn>,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self {
            uuid: Uuid::default(),
            zero_pages: true,
            adapt: None,
            limits: Limits::default(),
            threads: Arc::new(StdThreads),
        }
    }
}

impl std::fmt::Debug for SenderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "SenderConfig(uuid {}, zero_pages {})",
            self.uuid, self.zero_pages
        )
    }
}
