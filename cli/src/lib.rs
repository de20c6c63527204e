// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The `multifd` command: moves the memory of a guest to another host as QEMU's multifd live
//! migration does, and measures what each compression method makes of it.
//!
//! This library is no interface for others. It is apart from the program so that what reads files and addresses
//! can be tested with arbitrary bytes.

mod advise;
mod args;
mod config;
mod control;
mod credentials;
mod disk;
mod doctor;
#[cfg(test)]
mod documented;
mod ends;
mod inspect;
mod lab;
mod net;
mod params;
#[doc(hidden)]
pub mod readers;
mod recv;
mod relay;
mod release;
mod send;
mod show;
mod tls_setup;

use std::process::Termination;

use crate::args::Command;
use crate::config::{Given, Reading, Unusable};
use crate::lab::{bench, demo, vm};
use crate::show::{log, tell};

/// Does what the arguments of this process say; answers with what status it ends.
pub fn run() -> impl Termination {
    let given = Given::to_this_process();
    let Reading { args, in_force } = match given.read() {
        Ok(reading) => reading,
        Err(Unusable::CommandLine(error)) => error.exit(),
        Err(Unusable::File(failure)) => return tell::failure(&failure.into(), None, false),
    };
    log::install(args.log.filter(), args.log.wants_more(), args.log.format);
    let json = args.command.json();
    let result = match &args.command {
        Command::Demo(args) => demo::run(args),
        Command::Send(args) => send::run(args),
        Command::Recv(args) => recv::run(args),
        Command::Relay(args) => relay::run(args, &in_force, &given),
        Command::Status(args) => control::status(args),
        Command::Cancel(args) => control::cancel(args),
        Command::Tune(args) => control::tune(args),
        Command::Bench(args) => bench::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Release(args) => Ok(release::release(args)),
        Command::Drop(args) => Ok(release::drop_kept(args)),
        Command::Params(args) => params::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Advise(args) => advise::run(args),
        Command::TlsSetup(args) => tls_setup::run(args),
        Command::Vm(args) => vm::run(args),
    };
    result.unwrap_or_else(|error| tell::failure(&error, args.command.before(), json))
}
