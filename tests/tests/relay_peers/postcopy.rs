// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A source that switches to postcopy while its guest goes through a relay.

use anyhow::{Result, ensure};
use multifd_tests::interop::Age;
use multifd_tests::interop::steps::{self, LIMIT, Link};
use serde_json::json;

use crate::rig::{Rig, assert_runs_on, migrate_for_ever};

#[test]
fn a_switch_is_refused() -> Result<()> {
    let Some(rig) = Rig::require()? else {
        return Ok(());
    };
    if !rig.lab.has(Age::New)? {
        // Said on stderr.
        return Ok(());
    }
    let counter = &rig.counter;
    let capability = [("postcopy-ram", true)];
    let mut destination = steps::start_destination(&rig.lab, Age::New, "pc", counter, None)?;
    Link::PLAIN.prepare(&mut destination, Age::New)?;
    destination.set_capabilities(&capability)?;
    destination.execute(
        "migrate-incoming",
        json!({"uri": rig.uri("to"), "exit-on-error": false}),
    )?;
    let mut source = steps::start_guest(&rig.lab, Age::New, "pc", counter, None)?;
    Link::PLAIN.prepare(&mut source, Age::New)?;
    source.set_capabilities(&capability)?;
    let out = ["--out", "multifd-channels=2"];
    let (relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri("to"), &out)?;
    migrate_for_ever(&mut source, &uri)?;
    source.execute("migrate-start-postcopy", json!({}))?;
    let words = ["command POSTCOPY_RAM_DISCARD", "migrate-start-postcopy"];
    relay.finish()?.failed(&[3], &words)?;
    assert_runs_on(&mut source, "failed")?;
    destination.wait_status(&["failed"], LIMIT)?;
    ensure!(
        destination.passes()?.count == 0,
        "the guest runs there, too"
    );
    Ok(())
}
