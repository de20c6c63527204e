//! The cases of the table of interoperation, a test for each group.

use std::collections::BTreeSet;

use anyhow::Result;
use multifd_tests::interop::{cases, run_group};

macro_rules! groups {
    ($($group:ident),+ $(,)?) => {
        $(
            #[test]
            fn $group() -> Result<()> {
                run_group(stringify!($group))
            }
        )+

        const GROUPS: &[&str] = &[$(stringify!($group)),+];
    };
}

groups!(memory, saved, failures_from, failures_to, relay);

#[test]
fn every_case_is_run() {
    let groups: BTreeSet<_> = cases().iter().map(|case| case.group).collect();
    assert_eq!(groups, GROUPS.iter().copied().collect());
    let names: BTreeSet<_> = cases().iter().map(|case| case.row.name()).collect();
    assert_eq!(names.len(), cases().len(), "two cases of one name");
}
