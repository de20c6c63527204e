// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a rule says that it is broken.

use crate::table::error::ParamError;

/// What a rule says.
pub type Verdict = Result<(), ParamError>;

/// A capability's name and state.
pub(super) type Named = (&'static str, bool);

/// Refuses `other` beside `this`.
pub(super) fn excludes(this: Named, other: Named, message: &'static str) -> Verdict {
    refuse_if(this.1 && other.1, message, other.0, "on", || {
        format!("off while {} is on", this.0)
    })
}

/// Refuses `this` without `other`.
pub(super) fn needs(this: Named, other: Named, message: &'static str) -> Verdict {
    refuse_if(this.1 && !other.1, message, other.0, "off", || {
        format!("on while {} is on", this.0)
    })
}

pub(super) fn refuse_if(
    broken: bool,
    message: &'static str,
    name: &'static str,
    given: &str,
    allowed: impl FnOnce() -> String,
) -> Verdict {
    if !broken {
        return Ok(());
    }
    Err(ParamError::Conflict {
        message,
        name,
        given: given.to_owned(),
        allowed: allowed(),
    })
}
