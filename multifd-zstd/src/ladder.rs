// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the sender may choose from for each packet.

use multifd_core::MethodError;
use multifd_core::method::Rung;
use zstd_safe::{CCtx, CParameter};

use crate::format::NAME;

/// The rungs, from pages as they are to the highest level that QEMU has; costs are nanoseconds per byte, copy and
/// connection included, on memory that holds programs, libraries and text.
pub(crate) const LADDER: &[Rung] = &[
    Rung::raw(0.4),
    Rung::new("-50", -50, 1.2, 0.33),
    Rung::new("-8", -8, 1.8, 0.54),
    Rung::new("-4", -4, 2.2, 0.6),
    Rung::new("1", 1, 3.1, 0.685),
    Rung::new("2", 2, 3.7, 0.708),
    Rung::new("3", 3, 4.3, 0.718),
    Rung::new("5", 5, 8.2, 0.728),
    Rung::new("6", 6, 12.2, 0.734),
    Rung::new("9", 9, 18.0, 0.736),
    Rung::new("12", 12, 28.0, 0.737),
    Rung::new("15", 15, 60.0, 0.74),
    Rung::new("19", 19, 200.0, 0.75),
];

/// A compressor for one level.
pub(crate) fn compressor(level: i32) -> Result<CCtx<'static>, MethodError> {
    let mut context = CCtx::try_create()
        .ok_or_else(|| MethodError::device(NAME, "no memory for a compressor"))?;
    let fast: &[_] = if level == 1 { &FAST } else { &[] };
    for parameter in [CParameter::CompressionLevel(level)].iter().chain(fast) {
        context.set_parameter(*parameter).map_err(failed)?;
    }
    Ok(context)
}

/// The library failed at what cannot fail for reasons of the pages.
pub(crate) fn failed(code: zstd_safe::ErrorCode) -> MethodError {
    MethodError::device(NAME, zstd_safe::get_error_name(code))
}

/// Level 1 is for links that are faster than the compressor. A window of half a packet stays in the
/// cache, and a search that takes larger steps where it finds nothing still has its literals
/// compressed: together a seventh less time for a fortieth more bytes on mixed data.
#[cfg(feature = "experimental")]
const FAST: [CParameter; 3] = [
    CParameter::WindowLog(18),
    CParameter::TargetLength(2),
    CParameter::LiteralCompressionMode(zstd_safe::ParamSwitch::Enable),
];
/// Without the parameter for literals the steps stay as they are: larger ones would leave literals uncompressed.
#[cfg(not(feature = "experimental"))]
const FAST: [CParameter; 1] = [CParameter::WindowLog(18)];
