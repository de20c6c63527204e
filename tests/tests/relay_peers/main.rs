// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Relays between real QEMUs: what goes wrong, and what happens then. In each case the guest runs on at
//! the source, and a relay that keeps listening passes the next migration.
//!
//! What goes right is in the table of interoperation.

mod devices;
mod failures;
mod mismatches;
mod postcopy;
mod rig;
mod several;
mod withdrawn;
