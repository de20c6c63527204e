//! The command `multifd`, as processes.

mod build;
mod process;

pub use build::Multifd;
pub use process::{Finished, Running};
