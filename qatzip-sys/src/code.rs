// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the library answers.

use std::fmt;

/// What a function of libqatzip answers: a return code of `qatzip.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub i32);

impl Code {
    /// Done.
    pub const OK: Self = Self(0);
    /// Done before.
    pub const DUPLICATE: Self = Self(1);
    /// A parameter that the function does not take.
    pub const PARAMS: Self = Self(-1);
    /// Failed, for a reason that it does not say.
    pub const FAIL: Self = Self(-2);
    /// The output does not fit.
    pub const BUF_ERROR: Self = Self(-3);
    /// The input is damaged.
    pub const DATA_ERROR: Self = Self(-4);
    /// No answer in time.
    pub const TIMEOUT: Self = Self(-5);
    /// The output does not give the input back.
    pub const INTEG: Self = Self(-100);
    /// No device, or no access to it.
    pub const NOSW_NO_HW: Self = Self(-101);
    /// No driver for the device's memory.
    pub const NOSW_NO_MDRV: Self = Self(-102);
    /// No instance of the device, or none that is free.
    pub const NOSW_NO_INST_ATTACH: Self = Self(-103);
    /// Not enough memory for the device.
    pub const NOSW_LOW_MEM: Self = Self(-104);
    /// No software to fall back to.
    pub const NO_SW_AVAIL: Self = Self(-105);
    /// The device does not know the format.
    pub const NOSW_UNSUPPORTED_FMT: Self = Self(-116);

    /// Whether a call that answered this has given nothing to a device, or has waited for all of it: these
    /// are answered before anything is submitted. Of all others nobody knows: the library gives a device up to
    /// 32 requests at a time, and returns at the first that fails.
    pub(crate) fn is_settled(self) -> bool {
        [
            Self::OK,
            Self::PARAMS,
            Self::NOSW_NO_HW,
            Self::NOSW_NO_MDRV,
            Self::NOSW_NO_INST_ATTACH,
            Self::NOSW_LOW_MEM,
            Self::NOSW_UNSUPPORTED_FMT,
        ]
        .contains(&self)
    }

    /// Its name in `qatzip.h`, and what it means; `None` if nobody knows it.
    fn meaning(self) -> Option<(&'static str, &'static str)> {
        let known = MEANINGS.iter().find(|(code, ..)| *code == self);
        known.map(|(_, name, meaning)| (*name, *meaning))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some((name, meaning)) => write!(f, "{meaning} ({name}, {})", self.0),
            None => write!(f, "code {}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}

const MEANINGS: [(Code, &str, &str); 23] = [
    (Code::OK, "QZ_OK", "success"),
    (Code::DUPLICATE, "QZ_DUPLICATE", "done before"),
    (Code(2), "QZ_FORCE_SW", "changed to software"),
    (Code::PARAMS, "QZ_PARAMS", "a wrong parameter"),
    (Code::FAIL, "QZ_FAIL", "failed without a reason"),
    (Code::BUF_ERROR, "QZ_BUF_ERROR", "no room for the output"),
    (Code::DATA_ERROR, "QZ_DATA_ERROR", "damaged data"),
    (Code::TIMEOUT, "QZ_TIMEOUT", "no answer in time"),
    (Code(11), "QZ_NO_HW", "no QAT device, software instead"),
    (
        Code(12),
        "QZ_NO_MDRV",
        "no driver for memory, software instead",
    ),
    (
        Code(13),
        "QZ_NO_INST_ATTACH",
        "no instance of a QAT device, software instead",
    ),
    (
        Code(14),
        "QZ_LOW_MEM",
        "not enough pinned memory, software instead",
    ),
    (
        Code(15),
        "QZ_LOW_DEST_MEM",
        "not enough pinned memory for the output, software instead",
    ),
    (
        Code(16),
        "QZ_UNSUPPORTED_FMT",
        "a format that the QAT device does not know, software instead",
    ),
    (Code(100), "QZ_NONE", "not initialised"),
    (Code::INTEG, "QZ_INTEG", "the output was found wrong"),
    (
        Code::NOSW_NO_HW,
        "QZ_NOSW_NO_HW",
        "no QAT device, or no access to it",
    ),
    (
        Code::NOSW_NO_MDRV,
        "QZ_NOSW_NO_MDRV",
        "no driver for the device's memory",
    ),
    (
        Code::NOSW_NO_INST_ATTACH,
        "QZ_NOSW_NO_INST_ATTACH",
        "no free instance of a QAT device",
    ),
    (
        Code::NOSW_LOW_MEM,
        "QZ_NOSW_LOW_MEM",
        "not enough pinned memory",
    ),
    (Code::NO_SW_AVAIL, "QZ_NO_SW_AVAIL", "no software"),
    (
        Code::NOSW_UNSUPPORTED_FMT,
        "QZ_NOSW_UNSUPPORTED_FMT",
        "a format that the QAT device does not know",
    ),
    (Code(-200), "QZ_NOT_SUPPORTED", "not supported"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_they_mean() {
        assert_eq!(
            Code(-101).to_string(),
            "no QAT device, or no access to it (QZ_NOSW_NO_HW, -101)"
        );
        assert_eq!(Code(-7777).to_string(), "code -7777");
    }
}
