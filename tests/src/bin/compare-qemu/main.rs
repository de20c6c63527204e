//! Two real QEMUs and two processes of ours migrate the same memory in turn, over unix sockets.
//!
//! Prints the medians of wall time, CPU time of each side and bytes sent, and QEMU's figures
//! divided by ours: above 1 is better than QEMU.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

mod ours;
mod run;
mod table;
mod theirs;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use migration_params::Compression;
use multifd_tests::arena::Arena;
use multifd_tests::peer::Qemu;

use run::{Case, Rival, Run};

/// Compares with a real QEMU, in one run, on the same memory.
#[derive(Debug, Parser)]
struct Args {
    /// Where the two memory files go: a hugetlbfs mount with twice the memory reserved, or a tmpfs.
    #[arg(long, default_value = "/dev/shm")]
    folder: PathBuf,
    /// Files that fill the memory, over and over; 15 % of it stays zero.
    #[arg(long, required = true, num_args = 1..)]
    fill: Vec<PathBuf>,
    /// Guest memory in MiB.
    #[arg(long, default_value_t = 2048)]
    memory: u64,
    /// Methods that both have.
    #[arg(long, value_delimiter = ',', default_value = "none,zstd,zlib")]
    methods: Vec<Compression>,
    /// A method of ours that QEMU does not have, compared with QEMU's zlib.
    #[arg(long, value_delimiter = ',', num_args = 0.., default_value = "qatzip")]
    against_zlib: Vec<Compression>,
    /// A libqpl: our qpl with it is compared with our qpl without it. QEMU, without a device, has this
    /// library's software do its qpl, page by page.
    #[arg(long, value_name = "PATH")]
    libqpl: Option<String>,
    /// multifd-channels.
    #[arg(long, default_value_t = 2)]
    channels: u8,
    /// Pairs of runs that count; one more of each comes before.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Only ours, for a profiler.
    #[arg(long)]
    ours_only: bool,
}

impl Args {
    /// Each method of ours, and what it is compared with.
    fn comparisons(&self) -> Vec<(Compression, Rival<'_>)> {
        let same = self.methods.iter().map(|method| (*method, *method));
        let zlib = |method: &Compression| (*method, Compression::Zlib);
        let other = self.against_zlib.iter().map(zlib);
        let qemu = same.chain(other);
        let library = self.libqpl.as_deref().map(Rival::Libqpl);
        qemu.map(|(ours, theirs)| (ours, Rival::Qemu(theirs)))
            .chain(library.map(|rival| (Compression::Qpl, rival)))
            .collect()
    }
}

fn main() -> Result<()> {
    if let Some(role) = ours::Role::from_arguments()? {
        return role.run();
    }
    let args = Args::parse();
    ensure!(args.pairs > 0, "--pairs is 0");
    let binary = Qemu::available();
    let qemu = match &binary {
        Ok(binary) => Some(binary),
        Err(_) if args.ours_only => None,
        Err(reason) => anyhow::bail!("{reason}"),
    };
    let arena = Arena::new(&args.folder, args.memory << 20).context("guest memory")?;
    let non_zero = arena.fill(&args.fill).context("filling the guest memory")?;
    println!(
        "{} MiB of guest memory in {}, {:.1} % of it not zero; {} channels; {} pairs",
        args.memory,
        args.folder.display(),
        100.0 * non_zero as f64 / (args.memory << 20) as f64,
        args.channels,
        args.pairs
    );
    table::print_head();
    for (ours, rival) in args.comparisons() {
        let mut runs: (Vec<Run>, Vec<Run>) = Default::default();
        let case = |method, libqpl| Case {
            arena: &arena,
            method,
            channels: args.channels,
            libqpl,
        };
        for pair in 0..=args.pairs {
            let theirs = match (rival, qemu) {
                _ if args.ours_only => None,
                (Rival::Qemu(method), Some(qemu)) => {
                    let case = case(method, None);
                    Some(arena.checked(|| theirs::run(qemu, &case)))
                }
                (Rival::Qemu(_), None) => None,
                (Rival::Libqpl(path), _) => {
                    let case = case(ours, Some(path));
                    Some(arena.checked(|| ours::run(&case)))
                }
            };
            if let Some(run) = theirs {
                let run = run.with_context(|| format!("{rival:?}, pair {pair}"))?;
                runs.0.push(run);
            }
            let run = arena.checked(|| ours::run(&case(ours, None)));
            runs.1
                .push(run.with_context(|| format!("ours, {ours}, pair {pair}"))?);
        }
        table::print(
            ours,
            rival,
            runs.0.get(1..).unwrap_or_default(),
            runs.1.get(1..).unwrap_or_default(),
            non_zero,
        );
    }
    Ok(())
}
