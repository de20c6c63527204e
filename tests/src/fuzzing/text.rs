// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is said of an error.

use std::error::Error;

/// What a peer has sent must not steer the terminal that an error is printed on.
pub(super) fn check_error(error: &dyn Error) {
    let mut cause = Some(error);
    while let Some(error) = cause {
        check_line(&error.to_string());
        cause = error.source();
    }
}

pub(super) fn check_line(text: &str) {
    assert!(
        !text.is_empty() && !text.contains(char::is_control),
        "{text:?}"
    );
}
