// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Vendors' libraries that methods are tested with.

use std::env;
use std::io::{self, Write as _};

use anyhow::{Result, bail};

/// The file of the library `name`, for instance `qatzip`, or `None` if this machine has none and may do
/// without. The environment variable `MULTIFD_QATZIP_LIBRARY`, and so on, names it, or is `none`;
/// `scripts/install-libqatzip.sh` gets it.
///
/// `None` is announced on stderr, past the test harness's capture: the test that asked is to return at
/// once.
///
/// # Errors
/// The library is missing, and `MULTIFD_REQUIRE_PEERS=1` says that it may not be.
pub fn require(name: &str) -> Result<Option<String>> {
    let variable = format!("MULTIFD_{}_LIBRARY", name.to_ascii_uppercase());
    let named = env::var(&variable).ok().filter(|file| !file.is_empty());
    let switched_off = named.as_deref() == Some("none");
    let missing = match named {
        Some(file) if !switched_off => return Ok(Some(file)),
        Some(_) => format!("{variable}=none switches the tests off"),
        None => format!(
            "no lib{name}: run scripts/install-lib{name}.sh, put its folder into LD_LIBRARY_PATH and \
             name the file in {variable}"
        ),
    };
    if !switched_off
        && env::var("MULTIFD_REQUIRE_PEERS").is_ok_and(|value| value == "1" || value == "true")
    {
        bail!("a library is required: {missing}");
    }
    // In one piece, so that lines of tests that run at once do not mix.
    io::stderr().write_all(format!("skipped: {missing}\n").as_bytes())?;
    Ok(None)
}
