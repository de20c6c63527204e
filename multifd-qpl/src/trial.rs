// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether a device does what it is wanted for, tried on a little content of this module's own.

use std::sync::Arc;

use crate::host::Missing;
use crate::job::Operation;
use crate::library::Library;
use crate::session::Session;
use crate::status::Status;

/// Has the device compress a little, and decompress it again.
pub(crate) fn try_out(library: &Arc<Library>) -> Result<(), Missing> {
    let failed = |what: &str, status: Status| Missing {
        what: format!("{library} cannot {what} an IAA device, {status}"),
        remedy: status.remedy(),
    };
    let mut session =
        Session::new(library, 1, TRIAL, TRIAL).map_err(|status| failed("reach", status))?;
    let page = [CONTENT; TRIAL];
    let length = work(&mut session, Operation::Compress, &page)
        .map_err(|status| failed("compress with", status))?;
    let stream = session.output(0).and_then(|output| output.get(..length));
    let stream = stream.unwrap_or_default().to_vec();
    let written = work(&mut session, Operation::Decompress, &stream)
        .map_err(|status| failed("decompress with", status))?;
    let output = session.output(0).unwrap_or_default();
    if written == TRIAL && output.iter().all(|byte| *byte == CONTENT) {
        Ok(())
    } else {
        Err(Missing {
            what: format!("{library} and the IAA device gave back other data"),
            remedy: "look for the device's errors in the kernel's log",
        })
    }
}

fn work(session: &mut Session, operation: Operation, input: &[u8]) -> Result<usize, Status> {
    let room = session.input_mut()?.get_mut(..input.len());
    room.ok_or(Status::INTERNAL)?.copy_from_slice(input);
    session.submit(0, operation, 0..input.len(), TRIAL)?;
    session.wait(0)
}

/// Bytes of the trial ..
const TRIAL: usize = 4096;
/// .. each of which is this one.
const CONTENT: u8 = b'x';

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand_in;

    #[test]
    fn a_device_is_tried_before_it_is_trusted() {
        let library = stand_in::library();
        assert_eq!(try_out(&library), Ok(()));
        stand_in::set_failure(2, 503);
        let missing = try_out(&library).unwrap_err();
        assert_eq!(
            missing.what,
            "libqpl 1.9.0 cannot decompress with an IAA device, status 503"
        );
        stand_in::set_depth(0);
        let missing = try_out(&library).unwrap_err().to_string();
        assert!(missing.contains("cannot compress with"), "{missing}");
        assert!(missing.contains("configure larger ones"), "{missing}");
        assert_eq!((stand_in::at_work(), stand_in::jobs()), (0, 0));
    }
}
