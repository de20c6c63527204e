// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From one QEMU to another.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use multifd_tests::guest::Counter;
use multifd_tests::interop::steps::{self, LIMIT, Link};
use multifd_tests::interop::{Age, Lab};
use multifd_tests::peer::Builder;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What is between the QEMUs.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// The method of each connection from the source to the destination.
    methods: &'static [&'static str],
}

/// The first is what the others are compared with.
pub(crate) const WAYS: [Way; 4] = [
    Way {
        name: "direct",
        methods: &["none"],
    },
    Way {
        name: "relay",
        methods: &["none", "none"],
    },
    Way {
        name: "two relays",
        methods: &["none", "none", "none"],
    },
    Way {
        name: "two relays, zstd",
        methods: &["none", "zstd", "none"],
    },
];

/// What migrates.
pub(crate) struct Run<'a> {
    pub(crate) bytes: u64,
    /// The guest, unless it does nothing.
    pub(crate) counter: Option<&'a Counter>,
}

/// What QEMU says that it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) down: u64,
    pub(crate) total: u64,
}

impl Run<'_> {
    /// Migrates between two new QEMUs.
    pub(crate) fn migrate(&self, lab: &Lab, way: &Way) -> Result<Time> {
        let folder = TempDir::with_prefix("multifd-relay-cost-")?;
        let mut source = self.machine(lab).start()?;
        match self.counter {
            Some(_) => drop(source.wait_passes(2)?),
            // Until its firmware has found that there is nothing to start.
            None => thread::sleep(SETTLED),
        }
        let mut destination = self.machine(lab).incoming_defer().start()?;
        for qemu in [&mut source, &mut destination] {
            Link::PLAIN.prepare(qemu, Age::Current)?;
            qemu.set_parameters(json!({"max-bandwidth": 0}))?;
        }
        let mut uri = steps::socket(folder.path(), "destination");
        destination.migrate_incoming(&uri)?;
        let link = |method| Link {
            method,
            ..Link::PLAIN
        };
        let mut relays = Vec::new();
        for (at, pair) in way.methods.windows(2).enumerate().rev() {
            let &[from, to] = pair else { continue };
            let listen = match at {
                0 => steps::socket(folder.path(), "relay"),
                _ => "tcp:127.0.0.1:0".to_owned(),
            };
            let links = (link(from), link(to));
            let (relay, at) = steps::start_relay(lab, (&listen, &uri), links, &[])?;
            relays.push(relay);
            uri = at;
        }
        source.migrate(&uri)?;
        let info = source.wait_status(&["completed"], LIMIT)?;
        for relay in relays {
            relay.finish()?.json(0)?;
        }
        let time = |name| info.get(name).and_then(Value::as_u64).context("no time");
        Ok(Time {
            down: time("downtime")?,
            total: time("total-time")?,
        })
    }

    fn machine(&self, lab: &Lab) -> Builder {
        let machine = lab.qemu(Age::Current).machine();
        let machine = machine.machine_type("q35").running();
        match self.counter {
            Some(counter) => machine.boot(counter),
            None => machine.memory(self.bytes),
        }
    }
}

const SETTLED: Duration = Duration::from_secs(1);
