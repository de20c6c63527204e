// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QEMU's own tests of multifd, and what here does the same.
//!
//! QEMU's are the cases of `tests/qtest/migration` in its source whose names are those of the table, each
//! with `/migration/` before it.

use std::fmt::Write as _;

/// One of QEMU's tests, or a few of one kind.
#[derive(Clone, Copy, Debug)]
pub struct QemuTest {
    /// Its name.
    pub name: &'static str,
    /// What it sets.
    pub sets: &'static str,
    /// What here does the same.
    pub here: &'static [Counterpart],
    /// What is to be said of it: why there is nothing, or what is different.
    pub remark: &'static str,
}

/// What does the same as a test of QEMU's.
#[derive(Clone, Copy, Debug)]
pub enum Counterpart {
    /// A line of the table of interoperation.
    Line {
        /// Its [group](super::Case::group).
        group: &'static str,
        /// Its method, as in the table.
        method: &'static str,
        /// Its mode, as in the table.
        mode: &'static str,
    },
    /// A test function.
    Test {
        /// Its file, from the root of the repository on.
        file: &'static str,
        /// Its name.
        function: &'static str,
    },
}

/// The tests with TCP and no compression, then those with compression.
pub const QEMU_TESTS: &[QemuTest] = &[
    QemuTest {
        name: "multifd/tcp/uri/plain/none",
        sets: "4 channels, live",
        here: &[line("tcp", "none, none", "live, TCP")],
        remark: "",
    },
    QemuTest {
        name: "multifd/tcp/channels/plain/none",
        sets: "4 channels, live, the address in a list of channels",
        here: &[line("tcp", "none, none", "live, TCP, a list of channels")],
        remark: "",
    },
    QemuTest {
        name: "multifd/tcp/plain/zero-page/legacy",
        sets: "4 channels, live, `zero-page-detection=legacy`",
        here: &[line("tcp", "none, none", "live, TCP, zero pages legacy")],
        remark: "",
    },
    QemuTest {
        name: "multifd/tcp/plain/zero-page/none",
        sets: "4 channels, live, `zero-page-detection=none`",
        here: &[line("tcp", "none, none", "live, TCP, zero pages none")],
        remark: "",
    },
    QemuTest {
        name: "multifd/tcp/plain/cancel",
        sets: "16 channels, live, a cancel while pages flow, then a second attempt",
        here: &[line("failures_from", "none", "live, TCP, migrate_cancel")],
        remark: "",
    },
    QemuTest {
        name: "cancel/src/after/setup",
        sets: "2 channels, a unix socket, live",
        here: &[line(
            "failures_from",
            "none",
            "live, migrate_cancel at once",
        )],
        remark: "as soon as the QEMU takes the command; it may be further by then",
    },
    QemuTest {
        name: "cancel/src/after/active",
        sets: "2 channels, a unix socket, live",
        here: &[
            line("failures_from", "none", "live, migrate_cancel"),
            test("tests/tests/live/failure.rs", "cancelled_at_any_moment"),
        ],
        remark: "",
    },
    QemuTest {
        name: "cancel/src/after/pre-switchover",
        sets: "2 channels, a unix socket, live, `pause-before-switchover`",
        here: &[
            line(
                "failures_from",
                "none",
                "live, migrate_cancel before the switchover",
            ),
            test("tests/tests/live/failure.rs", "cancelled_while_it_waits"),
        ],
        remark: "",
    },
    QemuTest {
        name: "cancel/src/after/none, cancelling, cancelled, completed, failed",
        sets: "no multifd",
        here: &[test(
            "tests/tests/engine/abort_sender.rs",
            "an_abort_after_the_end_does_nothing",
        )],
        remark: "a QEMU without multifd is no peer; what an abort does then here",
    },
    QemuTest {
        name: "multifd/tcp/plain/zlib",
        sets: "4 channels, `multifd-zlib-level=2`",
        here: &[line("tcp", "zlib, zlib", "stopped, TCP, level 2")],
        remark: "",
    },
    QemuTest {
        name: "multifd/tcp/plain/zstd",
        sets: "4 channels, `multifd-zstd-level=2`",
        here: &[line("tcp", "zstd, zstd", "stopped, TCP, level 2")],
        remark: "",
    },
    QemuTest {
        name: "multifd+postcopy/tcp/plain/zstd",
        sets: "`multifd-zstd-level=2`, `postcopy-ram`",
        here: &[],
        remark: "not yet: there is no postcopy here, and QEMU 10.0 takes no `postcopy-ram` together with multifd",
    },
    QemuTest {
        name: "multifd/tcp/plain/qatzip",
        sets: "4 channels, `multifd-qatzip-level=2`",
        here: &[
            test("tests/tests/vectors.rs", "qatzip"),
            test(
                "tests/tests/qatzip/library.rs",
                "the_recorded_migration_is_received",
            ),
            test("tests/tests/qatzip/library.rs", "both_sides_may_be_either"),
        ],
        remark: "Debian's QEMU has no `qatzip`: the recorded migration of a QEMU 10.2, and libqatzip on either side",
    },
    QemuTest {
        name: "multifd/tcp/plain/qpl",
        sets: "4 channels",
        here: &[
            test("tests/tests/vectors.rs", "qpl"),
            test("tests/tests/qpl_library.rs", "takes_what_a_qemu_has_sent"),
            test(
                "tests/tests/qpl_library.rs",
                "takes_what_our_software_sends_and_the_other_way_round",
            ),
        ],
        remark: "Debian's QEMU has no `qpl`: the recorded migration of a QEMU 10.2, and libqpl on either side",
    },
    QemuTest {
        name: "multifd/tcp/plain/uadk",
        sets: "4 channels, no device",
        here: &[
            test(
                "tests/tests/uadk/format.rs",
                "pages_as_they_are_are_received",
            ),
            test("tests/tests/conformance.rs", "uadk"),
        ],
        remark: "no QEMU on x86 has `uadk`, and none was recorded",
    },
    QemuTest {
        name: "precopy/unix/xbzrle",
        sets: "no multifd",
        here: &[],
        remark: "QEMU takes no XBZRLE together with multifd",
    },
];

impl Counterpart {
    fn text(self) -> String {
        match self {
            Self::Line { method, mode, .. } => format!("line *{method}*, *{mode}*"),
            Self::Test { file, function } => format!("[{function}](../{file})"),
        }
    }
}

/// The table in Markdown.
#[must_use]
pub fn table_of_tests() -> String {
    let mut text = String::from(HEAD);
    for test in QEMU_TESTS {
        let here: Vec<_> = test.here.iter().map(|here| here.text()).collect();
        let (name, sets) = (test.name, test.sets);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {name} | {sets} | {} | {} |",
            here.join("; "),
            test.remark
        );
    }
    text
}

const fn line(group: &'static str, method: &'static str, mode: &'static str) -> Counterpart {
    Counterpart::Line {
        group,
        method,
        mode,
    }
}

const fn test(file: &'static str, function: &'static str) -> Counterpart {
    Counterpart::Test { file, function }
}

const HEAD: &str = "\
| QEMU's test | sets | here |  |
|---|---|---|---|
";
