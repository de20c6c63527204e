// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command and real QEMUs over TLS.

mod destinations;
mod endings;
mod memory;
mod relayed;
mod rig;
mod sources;
mod subjects;
