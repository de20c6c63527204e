//! The `multifd` command: moves the memory of a guest to another host as QEMU's multifd live
//! migration does, and measures what each compression method makes of it.

mod advise;
mod args;
mod bench;
mod connect;
mod demo;
mod descriptors;
mod doctor;
mod exit_code;
mod failure;
mod files;
mod fill;
mod guest;
mod hint;
mod inspect;
mod interrupt;
mod laboratory;
mod listen;
mod live_view;
mod logger;
mod measurement;
mod methods;
mod output;
mod page;
mod pair;
mod params;
mod paths;
mod peer;
mod progress;
mod ram;
mod receiving;
mod reception;
mod recv;
mod relay;
mod report;
mod saved;
mod send;
mod sending;
mod settings;
mod size;
mod sparse;
mod store;
mod table;
mod tcp;
mod timeline;
mod uri;
mod vm;

use clap::Parser;

use crate::args::{Args, Command};
use crate::exit_code::ExitCode;

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
        Command::Params(args) => params::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Advise(args) => advise::run(args),
        Command::Vm(args) => vm::run(args),
    };
    result.unwrap_or_else(|error| failure::report(&error, json))
}
