// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What libqpl answers.

use std::fmt;

use multifd_core::method::Fallback;

/// A `qpl_status` that is not `QPL_STS_OK`, as `status.h` numbers them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u32);

impl Status {
    /// `QPL_STS_MORE_OUTPUT_NEEDED`: there is more output than room.
    pub(crate) const MORE_OUTPUT_NEEDED: Self = Self(2);
    /// `QPL_STS_QUEUES_ARE_BUSY_ERR`.
    pub(crate) const QUEUES_ARE_BUSY: Self = Self(5);
    /// `QPL_STS_LIBRARY_INTERNAL_ERR`; also for an answer that cannot be.
    pub(crate) const INTERNAL: Self = Self(6);
    /// `QPL_STS_NOT_SUPPORTED_BY_WQ`.
    pub(crate) const NOT_SUPPORTED_BY_QUEUE: Self = Self(8);
    /// `QPL_STS_BAD_DIST_ERR`: a distance of more than 4 KiB.
    pub(crate) const BAD_DISTANCE: Self = Self(217);
    /// `QPL_STS_DST_IS_SHORT_ERR`.
    pub(crate) const TARGET_IS_SHORT: Self = Self(225);
    /// `QPL_STS_INTL_OUTPUT_OVERFLOW`.
    pub(crate) const OUTPUT_OVERFLOW: Self = Self(311);
    /// `QPL_STS_INIT_HW_NOT_SUPPORTED`.
    pub(crate) const NO_HARDWARE_PATH: Self = Self(500);
    /// `QPL_STS_INIT_LIBACCEL_NOT_FOUND`.
    pub(crate) const NO_LIBACCEL: Self = Self(501);
    /// `QPL_STS_INIT_LIBACCEL_ERROR`.
    pub(crate) const LIBACCEL_FAILED: Self = Self(502);
    /// `QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE`.
    pub(crate) const NO_WORK_QUEUES: Self = Self(503);

    /// `QPL_STS_BEING_PROCESSED`, which is no end.
    pub(crate) const BEING_PROCESSED: u32 = 1;
    /// None of the library's: a device has not done a job within the limit.
    pub(crate) const SILENT: Self = Self(u32::MAX);

    /// As the library returns it.
    pub(crate) fn check(status: u32) -> Result<(), Self> {
        if status == OK {
            Ok(())
        } else {
            Err(Self(status))
        }
    }

    /// Whether the output did not fit, which is no failure.
    pub(crate) fn is_no_room(self) -> bool {
        [
            Self::MORE_OUTPUT_NEEDED,
            Self::TARGET_IS_SHORT,
            Self::OUTPUT_OVERFLOW,
        ]
        .contains(&self)
    }

    /// Why a page has to be done otherwise.
    pub(crate) fn fallback(self) -> Fallback {
        match self {
            Self::QUEUES_ARE_BUSY => Fallback::Busy,
            Self::BAD_DISTANCE | Self::NOT_SUPPORTED_BY_QUEUE => Fallback::Unsupported,
            Self::SILENT
            | Self::NO_HARDWARE_PATH
            | Self::NO_LIBACCEL
            | Self::LIBACCEL_FAILED
            | Self::NO_WORK_QUEUES => Fallback::NoDevice,
            _ => Fallback::Failed,
        }
    }

    /// What to do if a device cannot be used for that reason.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::QUEUES_ARE_BUSY => "end other users of its work queues, or configure larger ones",
            Self::NOT_SUPPORTED_BY_QUEUE => "configure a work queue for all operations",
            Self::NO_HARDWARE_PATH => "install a libqpl that is built with its hardware path",
            Self::NO_LIBACCEL => {
                "install libaccel-config, of which libqpl needs libaccel-config.so.1"
            }
            // A driver that is missing is told by `host::look`, which comes first.
            Self::LIBACCEL_FAILED => {
                "the driver is there, but the kernel may refuse this user the mapping of a work queue: take \
                 libqpl 1.6 or later, which writes to it instead, and let a filter of system calls allow that"
            }
            Self::NO_WORK_QUEUES => {
                "configure a shared work queue of type user with accel-config, which this user may open, on \
                 each socket: libqpl before 1.6 uses those of the thread's own only"
            }
            _ => "look for the device's errors in the kernel's log",
        }
    }
}

/// `QPL_STS_OK`.
const OK: u32 = 0;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SILENT => f.write_str("no answer within the limit"),
            Self(status) => write!(f, "status {status}"),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_say_what_to_do() {
        assert_eq!(Status::check(0), Ok(()));
        assert_eq!(Status::check(217), Err(Status::BAD_DISTANCE));
        assert_eq!(Status(204).to_string(), "status 204");
        assert!(Status(501).remedy().contains("install libaccel-config"));
        let refused = Status(502).remedy();
        assert!(refused.starts_with("the driver is there, but") && refused.contains("libqpl 1.6"));
        let none = Status(503).remedy();
        assert!(none.contains("each socket") && none.contains("libqpl before 1.6"));
        assert!(Status(2).is_no_room() && !Status(5).is_no_room());
        assert_eq!(Status(5).fallback(), Fallback::Busy);
        assert_eq!(Status(503).fallback(), Fallback::NoDevice);
        assert_eq!(Status(217).fallback(), Fallback::Unsupported);
        assert_eq!(Status(303).fallback(), Fallback::Failed);
    }
}
