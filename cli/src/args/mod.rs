// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command line: one file per command.

mod accelerator;
mod adapt;
mod advise;
mod allow;
mod bench;
mod control;
mod demo;
mod doctor;
mod guest;
mod inspect;
mod kept;
mod log;
mod migration;
mod params;
mod recv;
mod relay;
mod send;
mod side;
mod tls;
mod tls_setup;
mod vm;
mod workload;

pub(crate) use accelerator::{AcceleratorArgs, LibraryArgs};
pub(crate) use adapt::{AdaptArgs, Cpus};
pub(crate) use advise::AdviseArgs;
pub(crate) use allow::AllowArgs;
pub(crate) use bench::BenchArgs;
pub(crate) use control::{CancelArgs, ControlArgs, RelayChoice, StatusArgs, TuneArgs, Which};
pub(crate) use demo::DemoArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use guest::GuestArgs;
pub(crate) use inspect::InspectArgs;
pub(crate) use kept::KeptArgs;
pub(crate) use log::LogArgs;
pub(crate) use migration::MigrationArgs;
pub(crate) use params::ParamsArgs;
pub(crate) use recv::RecvArgs;
pub(crate) use relay::RelayArgs;
pub(crate) use send::SendArgs;
pub(crate) use side::pair;
pub(crate) use tls::{Switch, TlsClientArgs, TlsPeerArgs, TlsServerArgs};
pub(crate) use tls_setup::TlsSetupArgs;
pub(crate) use vm::VmArgs;
pub(crate) use workload::WorkloadArgs;

use clap::{Parser, Subcommand};

use crate::show::exit_code;
use crate::show::whereabouts::Whereabouts;

/// Move the memory of a guest to another host as QEMU's multifd live migration does, compressed or
/// not, and measure what each compression method makes of it.
///
/// The other side may be this command, a real QEMU, or any program with the same wire format.
#[derive(Debug, Parser)]
#[command(name = "multifd", version, after_help = exit_code::HELP, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Migrate a running guest between two processes of this host, with each method, and check it
    Demo(DemoArgs),
    /// Send memory to a destination
    Send(SendArgs),
    /// Receive memory from a source
    Recv(RecvArgs),
    /// Pass migrations on while they run, with other methods, channels and bandwidths on each side
    Relay(RelayArgs),
    /// Say what a running relay does: the migrations under way, who waits, what has ended
    Status(StatusArgs),
    /// Cancel a migration that a relay passes on: its guest runs on at the source
    Cancel(CancelArgs),
    /// Change the bandwidth of a migration that a relay passes on
    Tune(TuneArgs),
    /// Measure methods, levels and numbers of channels between two processes of this host
    Bench(BenchArgs),
    /// Say what is in a saved migration, or in the recorded bytes of a connection
    Inspect(InspectArgs),
    /// Take a guest that is kept unreleased: it does not run at its source any more
    Release(KeptArgs),
    /// Throw a guest away that is kept unreleased: it runs on at its source
    Drop(KeptArgs),
    /// List every parameter and capability of QEMU
    Params(ParamsArgs),
    /// Say what this host has for each method, and what to do about what cannot be used
    Doctor(DoctorArgs),
    /// Say which method, which level and how many channels to take, and why
    Advise(AdviseArgs),
    /// Make certificates for a first try with TLS between a few hosts
    TlsSetup(TlsSetupArgs),
    /// Be one side of a demo: a small hypervisor
    #[command(hide = true)]
    Vm(VmArgs),
}

impl Command {
    /// Whether the result is wanted as JSON.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Send(args) => args.migration.json,
            Self::Recv(args) => args.migration.json,
            Self::Inspect(args) => args.json,
            Self::Relay(args) => args.json,
            Self::Status(args) => args.json,
            Self::Cancel(_) | Self::Tune(_) => false,
            Self::Release(_) | Self::Drop(_) | Self::TlsSetup(_) => false,
            Self::Params(args) => args.json,
            Self::Doctor(args) => args.json,
            Self::Advise(args) => args.json,
            Self::Vm(args) => args.migration.json,
            Self::Demo(args) => args.guest.json,
            Self::Bench(args) => args.guest.json,
        }
    }

    /// Where the guest is before the command has done anything with it.
    pub(crate) fn before(&self) -> Option<Whereabouts> {
        match self {
            Self::Send(_) => Some(Whereabouts::Stayed),
            Self::Recv(_) => Some(Whereabouts::NotHere),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
