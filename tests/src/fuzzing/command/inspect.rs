// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What `multifd inspect` prints.

use std::path::Path;

use multifd_cli::readers;

use crate::fuzzing::text::check_line;

/// Looks at a path; answers whether all of it is in order, if it can be looked at.
pub(super) fn inspect(path: &Path, verify: bool) -> Option<bool> {
    let inspected = readers::inspected(path, verify)
        .inspect_err(|error| error.lines().for_each(check_line))
        .ok()?;
    for line in inspected.text.lines().filter(|line| !line.is_empty()) {
        check_line(line);
    }
    check_line(&inspected.json);
    let json = serde_json::from_str::<serde_json::Value>(&inspected.json);
    assert!(
        json.is_ok_and(|json| json.is_object()),
        "{}",
        inspected.json
    );
    Some(inspected.is_in_order)
}
