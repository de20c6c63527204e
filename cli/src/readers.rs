//! What reads texts and files that others have written, for the fuzz targets. Nothing else takes it.

use std::path::Path;

use migration::SourceConfig;
use multifd_core::GuestMemory;

use crate::disk::saved::Saved;
use crate::inspect;
use crate::net::uri::{Uri, UriError};
use crate::show::output;

/// What `multifd inspect` prints.
#[derive(Debug)]
pub struct Inspected {
    /// For a human.
    pub text: String,
    /// With `--json`.
    pub json: String,
    /// Whether nothing was found that must not be.
    pub is_in_order: bool,
}

/// Does what `multifd inspect` does, with `--verify` or without.
///
/// # Errors
/// What it prints of one.
pub fn inspected(path: &Path, verify: bool) -> Result<Inspected, String> {
    let (text, json, is_in_order) = inspect::look(path, verify).map_err(|error| printed(&error))?;
    Ok(Inspected {
        text: output::safe(&text),
        json,
        is_in_order,
    })
}

/// Reads a folder as `multifd send --load` does; answers how a source would send it, and the memory.
///
/// # Errors
/// What it prints of one.
pub fn load(path: &Path) -> Result<(SourceConfig, GuestMemory), String> {
    let saved = Saved::open(path).map_err(|error| printed(&error))?;
    let memory = saved.memory().map_err(|error| printed(&error))?;
    let mut config = SourceConfig::default();
    saved.configure(&mut config);
    Ok((config, memory))
}

/// Reads an address; answers how it is printed.
///
/// # Errors
/// What is printed of one.
pub fn address(text: &str) -> Result<String, String> {
    let uri: Uri = text
        .parse()
        .map_err(|error: UriError| printed(&error.into()))?;
    Ok(uri.to_string())
}

fn printed(error: &anyhow::Error) -> String {
    output::safe(&format!("{error:#}"))
}
