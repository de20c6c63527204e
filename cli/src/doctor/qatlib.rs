// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! qatlib's service, which makes virtual functions and deals them out.

use super::finding::{Finding, Problem};
use super::host::{Access, Host};

/// What is known of the service `qat` and its process `qatmgr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    socket: Access,
    running: bool,
    unit: bool,
}

impl Service {
    pub(crate) fn of(host: &Host) -> Self {
        let is_number = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
        let runs =
            |name: String| host.read(&format!("proc/{name}/comm")).as_deref() == Some("qatmgr");
        Self {
            socket: host.access("run/qat/qatmgr.sock"),
            running: host.names("proc").into_iter().filter(is_number).any(runs),
            unit: UNITS.iter().any(|unit| host.exists(unit)),
        }
    }

    /// `wanted`: whether there is a device for it.
    pub(crate) fn finding(&self, wanted: bool) -> Finding {
        match self.socket {
            Access::Usable => Finding::ok(NAME, "runs"),
            Access::Denied => Finding::unusable(
                NAME,
                &Problem::new(
                    "runs, but this user may not open /run/qat/qatmgr.sock",
                    "usermod -a -G qat USER, log in again",
                ),
            ),
            Access::Missing if self.running => Finding::unusable(
                NAME,
                &Problem::new(
                    "qatmgr runs without its socket /run/qat/qatmgr.sock",
                    "systemctl restart qat",
                ),
            ),
            Access::Missing if !wanted => Finding::missing(NAME, "no device needs it"),
            Access::Missing if self.unit => {
                Finding::unusable(NAME, &Problem::new("is installed and does not run", START))
            }
            Access::Missing => Finding::missing(NAME, "not installed").advice(
                "install qatlib's service (Debian, Ubuntu: qatlib-service; Fedora, RHEL: qatlib)",
            ),
        }
    }
}

const NAME: &str = "qatlib's service";
const START: &str = "systemctl enable --now qat";
const UNITS: [&str; 3] = [
    "etc/systemd/system/qat.service",
    "lib/systemd/system/qat.service",
    "usr/lib/systemd/system/qat.service",
];
