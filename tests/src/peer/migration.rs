// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a test says to a QEMU about a migration.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::Qemu;

impl Qemu {
    /// Sets migration parameters by QEMU's names, as in `json!({"multifd-channels": 4})`.
    ///
    /// # Errors
    ///
    /// As [`Qemu::execute`].
    pub fn set_parameters(&mut self, parameters: Value) -> Result<()> {
        self.execute("migrate-set-parameters", parameters)?;
        Ok(())
    }

    /// Sets migration capabilities by QEMU's names.
    ///
    /// On a destination `multifd` has to be set before [`Qemu::migrate_incoming`].
    ///
    /// # Errors
    ///
    /// As [`Qemu::execute`].
    pub fn set_capabilities(&mut self, capabilities: &[(&str, bool)]) -> Result<()> {
        let list: Vec<Value> = capabilities
            .iter()
            .map(|(name, state)| json!({"capability": name, "state": state}))
            .collect();
        self.execute("migrate-set-capabilities", json!({"capabilities": list}))?;
        Ok(())
    }

    /// Starts a migration to `uri`, such as `unix:PATH` or `tcp:HOST:PORT`, and returns at once.
    ///
    /// # Errors
    ///
    /// As [`Qemu::execute`]. An address that nobody listens on may be refused here or reported as a
    /// failed migration by [`Qemu::wait_status`].
    pub fn migrate(&mut self, uri: &str) -> Result<()> {
        self.execute("migrate", json!({"uri": uri}))?;
        Ok(())
    }

    /// The TCP port where a destination listens, which the kernel has chosen if it was 0.
    ///
    /// # Errors
    ///
    /// As [`Qemu::execute`]; or it does not listen.
    pub fn port(&mut self) -> Result<u16> {
        let info = self.query_migrate()?;
        let port = info.pointer("/socket-address/0/port");
        let port = port.and_then(Value::as_str).context("no port")?;
        Ok(port.parse()?)
    }

    /// Starts to listen on `uri`; the process has to be made with
    /// [`Builder::incoming_defer`](super::Builder::incoming_defer).
    ///
    /// # Errors
    ///
    /// As [`Qemu::execute`].
    pub fn migrate_incoming(&mut self, uri: &str) -> Result<()> {
        self.execute("migrate-incoming", json!({"uri": uri}))?;
        Ok(())
    }

    /// The state of the migration, as `query-migrate` reports it. Without a migration it is empty.
    ///
    /// # Errors
    ///
    /// As [`Qemu::execute`].
    pub fn query_migrate(&mut self) -> Result<Value> {
        self.execute("query-migrate", json!({}))
    }

    /// Waits until the migration's `status` is one of `wanted` and returns the result of
    /// `query-migrate` that said so.
    ///
    /// # Errors
    ///
    /// At once if the status becomes `failed` or `cancelled` and that is not wanted, with QEMU's
    /// reason where it gives one; after `timeout` otherwise.
    pub fn wait_status(&mut self, wanted: &[&str], timeout: Duration) -> Result<Value> {
        let deadline = Instant::now() + timeout;
        loop {
            let info = self.query_migrate()?;
            let status = info.get("status").and_then(Value::as_str).unwrap_or("none");
            if wanted.contains(&status) {
                return Ok(info);
            }
            if matches!(status, "failed" | "cancelled") {
                let reason = info.get("error-desc").and_then(Value::as_str);
                bail!(
                    "the migration is {status}, wanted {wanted:?}: {}; QEMU's stderr: {:?}",
                    reason.unwrap_or("no reason given"),
                    self.stderr()
                );
            }
            if Instant::now() >= deadline {
                bail!(
                    "the migration is not {wanted:?} after {timeout:?} but {info}; QEMU's stderr: {:?}",
                    self.stderr()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Pauses the guest.
    ///
    /// # Errors
    ///
    /// As [`Qemu::execute`].
    pub fn pause(&mut self) -> Result<()> {
        self.execute("stop", json!({}))?;
        Ok(())
    }

    /// Lets the guest run.
    ///
    /// # Errors
    ///
    /// As [`Qemu::execute`].
    pub fn cont(&mut self) -> Result<()> {
        self.execute("cont", json!({}))?;
        Ok(())
    }
}

const POLL: Duration = Duration::from_millis(10);
