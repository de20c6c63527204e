//! What is checked.

use std::sync::Arc;

use multifd_core::MultifdMethods;

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
