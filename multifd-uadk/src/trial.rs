//! Whether a device does what it is wanted for, tried on a page of this module's own.

use multifd_deflate::Deflate;

use crate::process::{Driver, Unusable};
use crate::session::{Operation, Session};
use crate::zlib::Stream;

/// Has the device compress a page and decompress it again. That it was opened does not say that it
/// can reach the process's memory, nor that the library is of a known kind.
///
/// # Errors
/// What it did wrong.
pub(crate) fn run(driver: &Driver, deflate: &Deflate) -> Result<(), Unusable> {
    let session =
        |operation| Session::new(driver, operation, PAGE, 2 * PAGE).ok_or(Unusable::NoSession);
    let failed = |what: String| Unusable::Trial { what };
    let page = page();
    let mut compress = session(Operation::Compress)?;
    let stream = compress
        .run(&page)
        .map_err(|reason| failed(format!("it does not compress ({})", reason.name())))?;
    let mut decoded = vec![0; PAGE];
    Stream::parse(stream)
        .and_then(|stream| stream.decode(&mut deflate.decoder(), &mut decoded))
        .map_err(|what| failed(format!("it compressed a page to {what}")))?;
    if decoded != page {
        return Err(failed("it compressed a page to another one".to_owned()));
    }
    let mut decompress = session(Operation::Decompress)?;
    let decompressed = decompress
        .run(stream)
        .map_err(|reason| failed(format!("it does not decompress ({})", reason.name())))?;
    if decompressed != page {
        return Err(failed("it decompressed a page to another one".to_owned()));
    }
    Ok(())
}

/// A page that any compressor makes smaller: 128 different bytes, each 32 times.
fn page() -> Vec<u8> {
    (0..128).flat_map(|byte| [byte; PAGE / 128]).collect()
}

const PAGE: usize = 4096;
