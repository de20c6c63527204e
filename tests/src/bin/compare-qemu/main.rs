// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Two real QEMUs and two processes of ours migrate the same memory in turn, over unix sockets.
//!
//! Prints the medians of wall time, CPU time of each side and bytes sent, and QEMU's figures
//! divided by ours: above 1 is better than QEMU. Beside `none` stand its system calls in a loop that does nothing else,
//! beside the methods in deflate's format the same with ISA-L, if one is named. With `--tls` all of them encrypt
//! everything, and two rows say what that costs: ours without TLS, and the cipher alone.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

mod cipher;
mod rival;
mod table;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use migration_params::Compression;
use multifd_tests::arena::Arena;
use multifd_tests::certificates::{Authority, Credentials};
use multifd_tests::measured::{self, Case, HOST, Role, Run};
use multifd_tests::peer::{Binary, Qemu};

use rival::Rival;
use table::Runs;

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
    /// An ISA-L: methods in deflate's format are compared with it and without.
    #[arg(long, value_name = "PATH")]
    isal: Option<String>,
    /// multifd-channels.
    #[arg(long, default_value_t = 2)]
    channels: u8,
    /// Pairs of runs that count; one more of each comes before.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Both with TLS 1.3, with the same certificates.
    #[arg(long)]
    tls: bool,
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
    if let Some(role) = Role::from_arguments()? {
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
    println!("{}", processor()?);
    println!(
        "{} MiB of guest memory in {}, {:.1} % of it not zero; {} channels; {} pairs\n",
        args.memory,
        args.folder.display(),
        100.0 * non_zero as f64 / (args.memory << 20) as f64,
        args.channels,
        args.pairs
    );
    let credentials = match args.tls {
        true => Some(Authority::new("authority")?.host(HOST)?),
        false => None,
    };
    let bench = Bench {
        args: &args,
        arena: &arena,
        qemu,
        tls: credentials.as_ref(),
    };
    table::print_head();
    for (ours, rival) in args.comparisons() {
        let runs = bench.compare(ours, rival)?;
        table::print(ours, rival, &runs, non_zero);
    }
    Ok(())
}

/// What it is measured on.
fn processor() -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let mut models = cpuinfo
        .lines()
        .filter(|line| line.starts_with("model name"));
    let (cores, model) = (models.clone().count(), models.next().unwrap_or_default());
    let model = model
        .split_once(':')
        .map_or("unknown", |(_, model)| model.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} cores of {model}, Linux {}", kernel.trim()))
}

struct Bench<'a> {
    args: &'a Args,
    arena: &'a Arena,
    qemu: Option<&'a Binary>,
    tls: Option<&'a Credentials>,
}

impl<'a> Bench<'a> {
    /// Runs everybody in turn; the first turn does not count.
    fn compare(&self, ours: Compression, rival: Rival<'a>) -> Result<Runs> {
        let mut runs = Runs::default();
        for pair in 0..=self.args.pairs {
            let theirs = self.theirs(ours, rival);
            let theirs = theirs.with_context(|| format!("{rival:?}, pair {pair}"))?;
            let context = || format!("ours, {ours}, pair {pair}");
            let own = self.ours(self.case(ours, None)).with_context(context)?;
            let bare = self.bare(ours).with_context(context)?;
            let isal = self.with_isal(ours, rival).with_context(context)?;
            let price = match self.tls {
                Some(_) => Some(self.price(ours, own.bytes).with_context(context)?),
                None => None,
            };
            if pair > 0 {
                runs.theirs.extend(theirs);
                runs.own.push(own);
                runs.bare.extend(bare);
                runs.isal.extend(isal);
                if let Some((plain, cipher)) = price {
                    runs.plain.push(plain);
                    runs.cipher.push(cipher);
                }
            }
        }
        Ok(runs)
    }

    fn theirs(&self, ours: Compression, rival: Rival<'a>) -> Result<Option<Run>> {
        let run = match (rival, self.qemu) {
            _ if self.args.ours_only => return Ok(None),
            (Rival::Qemu(_), None) => return Ok(None),
            (Rival::Qemu(method), Some(qemu)) => {
                let case = self.case(method, None);
                self.arena.checked(|| measured::between_qemus(qemu, &case))
            }
            (Rival::Libqpl(path), _) => self.ours(self.case(ours, Some(path))),
        };
        run.map(Some)
    }

    fn ours(&self, case: Case<'_>) -> Result<Run> {
        self.arena.checked(|| measured::between_ours(&case))
    }

    /// The system calls of `none`, for comparison.
    fn bare(&self, ours: Compression) -> Result<Option<Run>> {
        let bare = (ours == Compression::None && !self.args.tls).then(|| Case {
            bare: true,
            ..self.case(ours, None)
        });
        bare.map(|case| self.ours(case)).transpose()
    }

    /// Ours with ISA-L, where it can help.
    fn with_isal(&self, ours: Compression, rival: Rival<'a>) -> Result<Option<Run>> {
        let helps = matches!(ours, Compression::Zlib | Compression::Qatzip);
        let library = self.args.isal.as_deref();
        let library = library.filter(|_| helps && matches!(rival, Rival::Qemu(_)));
        let case = library.map(|library| Case {
            isal: Some(library),
            ..self.case(ours, None)
        });
        case.map(|case| self.ours(case)).transpose()
    }

    /// Ours without TLS, and the cipher's time for as many bytes.
    fn price(&self, ours: Compression, bytes: u64) -> Result<(Run, Duration)> {
        let plain = Case {
            tls: None,
            ..self.case(ours, None)
        };
        Ok((self.ours(plain)?, cipher::own_time(bytes)?))
    }

    fn case(&self, method: Compression, libqpl: Option<&'a str>) -> Case<'a> {
        Case {
            libqpl,
            isal: None,
            bare: false,
            tls: self.tls,
            ..Case::new(self.arena, method, self.args.channels)
        }
    }
}
