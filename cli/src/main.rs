//! The `multifd` command: moves the memory of a guest to another host as QEMU's multifd live
//! migration does, and measures what each compression method makes of it.

mod advise;
mod args;
mod disk;
mod doctor;
mod ends;
mod inspect;
mod lab;
mod net;
mod params;
mod recv;
mod relay;
mod release;
mod send;
mod show;

use clap::Parser;

use crate::args::{Args, Command};
use crate::lab::{bench, demo, vm};
use crate::show::exit_code::ExitCode;
use crate::show::{logger, tell};

fn main() -> ExitCode {
    let args = Args::parse();
    logger::install(args.verbose);
    let json = args.command.json();
    let result = match &args.command {
        Command::Demo(args) => demo::run(args),
        Command::Send(args) => send::run(args),
        Command::Recv(args) => recv::run(args),
        Command::Relay(args) => relay::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Release(args) => Ok(release::release(args)),
        Command::Drop(args) => Ok(release::drop_kept(args)),
        Command::Params(args) => params::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Advise(args) => advise::run(args),
        Command::Vm(args) => vm::run(args),
    };
    result.unwrap_or_else(|error| tell::failure(&error, args.command.before(), json))
}
