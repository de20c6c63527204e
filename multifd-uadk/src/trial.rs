// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether a device does what it is wanted for, tried on a page of this module's own.

use std::time::Duration;

use multifd_core::method::Fallback;
use multifd_deflate::Deflate;

use crate::process::{Driver, Unusable};
use crate::request::{Operation, Requests, Way};
use crate::zlib::Stream;

/// Has the device compress a page and decompress it again, and says how it is asked. That it was opened does not say
/// that it can reach the process's memory, nor that the library is of a known kind.
///
/// # Errors
/// What it did wrong.
pub(crate) fn run(driver: &Driver, deflate: &Deflate) -> Result<Way, Unusable> {
    match round_trip(driver, Way::Queued, deflate) {
        Ok(()) => Ok(Way::Queued),
        Err(Trouble::NoQueues) => match round_trip(driver, Way::WaitedFor, deflate) {
            Ok(()) => Ok(Way::WaitedFor),
            Err(trouble) => Err(trouble.into()),
        },
        Err(trouble) => Err(trouble.into()),
    }
}

fn round_trip(driver: &Driver, way: Way, deflate: &Deflate) -> Result<(), Trouble> {
    let session = |operation| {
        Requests::new(driver, operation, (1, way), (PAGE, 2 * PAGE), LIMIT)
            .ok_or(Trouble::Other(Unusable::NoSession))
    };
    let page = page();
    let mut compress = session(Operation::Compress)?;
    let stream = work(&mut compress, &page, "compress")?;
    let mut decoded = vec![0; PAGE];
    Stream::parse(stream)
        .and_then(|stream| stream.decode(&mut deflate.decoder(), &mut decoded))
        .map_err(|what| failed(format!("it compressed a page to {what}")))?;
    if decoded != page {
        return Err(failed("it compressed a page to another one".to_owned()));
    }
    let mut decompress = session(Operation::Decompress)?;
    if work(&mut decompress, stream, "decompress")? != page {
        return Err(failed("it decompressed a page to another one".to_owned()));
    }
    Ok(())
}

fn work<'s>(session: &'s mut Requests, source: &[u8], what: &str) -> Result<&'s [u8], Trouble> {
    match session.submit(0, source) {
        Err(Fallback::Unsupported) => return Err(Trouble::NoQueues),
        submitted => submitted.and_then(|()| session.wait(0)),
    }
    .map_err(|reason| failed(format!("it does not {what} ({})", reason.name())))
}

fn failed(what: String) -> Trouble {
    Trouble::Other(Unusable::Trial { what })
}

enum Trouble {
    /// The library does not take requests this way.
    NoQueues,
    Other(Unusable),
}

impl From<Trouble> for Unusable {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoQueues => Self::Trial {
                what: "the library has no queues for it".to_owned(),
            },
            Trouble::Other(unusable) => unusable,
        }
    }
}

/// A page that any compressor makes smaller: 128 different bytes, each 32 times.
fn page() -> Vec<u8> {
    (0..128).flat_map(|byte| [byte; PAGE / 128]).collect()
}

const PAGE: usize = 4096;
/// How long a page of the trial may take.
const LIMIT: Duration = Duration::from_secs(10);
