// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The program `multifd`: all of it is in the library.

use std::process::Termination;

fn main() -> impl Termination {
    multifd_cli::run()
}
