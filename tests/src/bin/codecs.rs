//! Measures every method and level on files: how fast it compresses and decompresses on one core,
//! and how small the files become.
//!
//! ```sh
//! cargo run --release -p multifd-tests --bin codecs -- FILE...
//! ```
//!
//! The files are put together, cut into packets of 512 KiB, and go through the methods as they do
//! in a channel: from guest memory to a payload, and from a payload to guest memory. What counts is
//! the processor's time. Methods take turns, so that a machine that slows down does so for all of
//! them, and the best of five rounds counts.
//! `--levels LIST` measures other levels than the default, `--methods LIST` fewer methods.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use multifd_core::{MethodOptions, MultifdMethods, PageSize, Registry};
use multifd_tests::conformance::{Guest, pack, setup, unpack};
use rustix::time::{ClockId, clock_gettime};

#[derive(Parser)]
#[command(about = "Measures compression methods on files")]
struct Arguments {
    /// The files to compress.
    #[arg(required = true)]
    files: Vec<String>,
    /// The levels to measure.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    levels: Vec<u8>,
    /// The methods to measure.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "none,zlib,zstd,qatzip,uadk"
    )]
    methods: Vec<String>,
    /// Further options of the methods, as NAME=VALUE.
    #[arg(long, value_name = "NAME=VALUE", value_parser = option)]
    option: Vec<(String, String)>,
    /// How often each is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let page = PageSize::X86.bytes();
    let mut content = Vec::new();
    for file in &arguments.files {
        content.extend(fs::read(file).with_context(|| file.clone())?);
    }
    content.resize(content.len().next_multiple_of(page), 0);
    let memory = Memory {
        source: Guest::with(PageSize::X86, &content)?,
        target: Guest::new(PageSize::X86, content.len() / page)?,
        offsets: (0..content.len())
            .step_by(page)
            .map(|at| at as u64)
            .collect(),
    };

    let mut subjects = subjects(&arguments)?;
    for _ in 0..arguments.rounds {
        for subject in &mut subjects {
            subject
                .measure(&memory)
                .with_context(|| subject.name.clone())?;
        }
    }
    println!(
        "{:>12} {:>14} {:>16} {:>8} {:>12}",
        "method", "compress MB/s", "decompress MB/s", "ratio", "bytes"
    );
    for subject in &subjects {
        println!(
            "{:>12} {:>14.0} {:>16.0} {:>8.3} {:>12}",
            subject.name,
            speed(content.len(), subject.compress),
            speed(content.len(), subject.decompress),
            content.len() as f64 / subject.bytes as f64,
            subject.bytes,
        );
    }
    Ok(())
}

struct Memory {
    source: Guest,
    target: Guest,
    offsets: Vec<u64>,
}

/// A method at a level, with its best times so far.
struct Subject {
    name: String,
    method: Arc<dyn MultifdMethods>,
    compress: Duration,
    decompress: Duration,
    bytes: usize,
}

impl Subject {
    /// One round: all of the memory there and back.
    fn measure(&mut self, memory: &Memory) -> Result<()> {
        let setup = setup(PageSize::X86)?;
        let mut sender = self.method.send_setup(&setup)?;
        let mut receiver = self.method.recv_setup(&setup)?;
        let (mut compress, mut decompress, mut bytes) = (Duration::ZERO, Duration::ZERO, 0);
        for offsets in memory.offsets.chunks(PageSize::X86.pages_per_packet()) {
            let start = cpu_time();
            let payload = pack(&mut *sender, &memory.source, offsets)?;
            compress += cpu_time().saturating_sub(start);
            bytes += payload.len();

            let start = cpu_time();
            unpack(&mut *receiver, &payload, &memory.target, offsets)?.filled()?;
            decompress += cpu_time().saturating_sub(start);
        }
        for offset in &memory.offsets {
            ensure!(
                memory.target.page(*offset)? == memory.source.page(*offset)?,
                "page {offset:#x} differs"
            );
            memory.target.write(*offset, &[0; 4096])?;
        }
        self.compress = self.compress.min(compress);
        self.decompress = self.decompress.min(decompress);
        self.bytes = bytes;
        Ok(())
    }
}

fn subjects(arguments: &Arguments) -> Result<Vec<Subject>> {
    let mut registry = Registry::new();
    registry.register(multifd_none::NoneFactory)?;
    registry.register(multifd_zlib::ZlibFactory)?;
    registry.register(multifd_zstd::ZstdFactory)?;
    registry.register(multifd_qatzip::QatzipFactory)?;
    registry.register(multifd_uadk::UadkFactory::default())?;
    let mut subjects = Vec::new();
    for name in &arguments.methods {
        for level in &arguments.levels {
            let mut options = MethodOptions::new().with(format!("multifd-{name}-level"), level);
            for (name, value) in &arguments.option {
                options.set(name, value);
            }
            // A level that a method does not have is left out.
            let Ok(method) = registry.open(name, &options) else {
                continue;
            };
            subjects.push(Subject {
                name: format!("{name} {level}"),
                method,
                compress: Duration::MAX,
                decompress: Duration::MAX,
                bytes: 0,
            });
        }
    }
    ensure!(
        !subjects.is_empty(),
        "no such methods or levels; the methods are {registry:?}"
    );
    Ok(subjects)
}

fn option(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("wanted NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Time that the processor spent on this thread: what others do on the machine matters less.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn speed(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e6
}
