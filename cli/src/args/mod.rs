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
mod help;
mod inspect;
mod kept;
mod log;
mod migration;
mod params;
mod recv;
mod relay;
mod send;
mod short;
mod side;
#[cfg(test)]
mod tested;
mod tls;
mod tls_setup;
mod version;
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

use kept::{DROP_EXAMPLES, RELEASE_EXAMPLES};

use crate::show::exit_code::ExitCode;
use crate::show::whereabouts::Whereabouts;

/// Move a guest's memory to another host with QEMU's multifd live migration, compressed or not, and
/// measure what each compression method achieves
///
/// The peer may be this command, QEMU, or any program that speaks the same wire format.
#[derive(Debug, Parser)]
#[command(name = "multifd", version = version::SHORT, long_version = version::LONG)]
#[command(max_term_width = 100)]
#[command(after_long_help = help::table(ExitCode::ALL.map(|code| (code as u8, code.meaning()))))]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Send(SendArgs),
    Recv(RecvArgs),
    Relay(RelayArgs),
    Status(StatusArgs),
    Cancel(CancelArgs),
    Tune(TuneArgs),
    Bench(BenchArgs),
    Inspect(InspectArgs),
    /// Release a guest that was kept: it no longer runs at its source
    ///
    /// A guest is kept if all of it has arrived, but not the source's word that it has given the
    /// guest up: `multifd recv` ends with status 8 then. The guest is marked by the file `unreleased`
    /// in its folder, or by FILE.unreleased beside a file, and `multifd send` refuses it.
    #[command(after_long_help = help::below(RELEASE_EXAMPLES, &[&help::LOOKS]))]
    Release(KeptArgs),
    /// Delete a guest that was kept: it still runs at its source
    ///
    /// A guest is kept if all of it has arrived, but not the source's word that it has given the
    /// guest up: `multifd recv` ends with status 8 then. The guest is marked by the file `unreleased`
    /// in its folder, or by FILE.unreleased beside a file, and `multifd send` refuses it.
    #[command(after_long_help = help::below(DROP_EXAMPLES, &[&help::LOOKS]))]
    Drop(KeptArgs),
    Params(ParamsArgs),
    Doctor(DoctorArgs),
    Advise(AdviseArgs),
    TlsSetup(TlsSetupArgs),
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
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    /// The commands that help lists, with what stands below their options.
    fn with_help() -> Vec<(String, String)> {
        let mut command = Args::command();
        command.build();
        let shown = command.get_subcommands();
        let shown = shown.filter(|one| !one.is_hide_set() && one.get_name() != "help");
        shown
            .map(|one| {
                let below = one.get_after_long_help().map(ToString::to_string);
                (one.get_name().to_owned(), below.unwrap_or_default())
            })
            .collect()
    }

    #[test]
    fn every_command_tells_its_exit_statuses() {
        assert!(with_help().len() >= 15);
        for (name, below) in with_help() {
            assert!(below.contains("Exit status:\n    0  "), "{name}: {below}");
            for line in below.lines() {
                assert!(line.len() <= 40, "{name}: {line}");
            }
        }
    }

    #[test]
    fn examples_can_be_typed() {
        for (name, below) in with_help() {
            let (examples, _) = below.split_once("Exit status:").unwrap();
            let examples = examples.replace("\\\n", " ");
            let lines = examples.lines().map(str::trim);
            let typed: Vec<_> = lines.filter(|line| line.starts_with("multifd ")).collect();
            assert!(!typed.is_empty(), "{name}: {below}");
            for line in typed {
                assert!(line.starts_with(&format!("multifd {name}")), "{line}");
                if let Err(error) = Args::try_parse_from(line.split_whitespace()) {
                    // A relay's address may be in its file.
                    assert!(line.contains("--config"), "{line}: {error}");
                }
            }
        }
    }
}
